"""Exported graphs equal PyTorch and do not need Glimpses."""

from __future__ import annotations

import importlib
import json
import struct
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import onnxruntime
import pytest
import torch

from glimpses import Recogniser, cli, models, runs, video
from glimpses.models import ModelConfig
from glimpses.runs import Calibration
from glimpses.runs.onnx import export
from glimpses.runs.onnx.graphs import decoder_graphs
from glimpses.utils.errors import GlimpsesError
from tests.configs import model_config, run_config

CLASSES = ("jump", "run", "sit")
# Packages that are absent on a machine without Glimpses.
ABSENT = ("glimpses", "torch", "safetensors", "PIL", "matplotlib", "scipy", "jinja2", "onnx")


def build_model(config: ModelConfig) -> models.ActionModel:
    """Return a model whose attention and predictions are not uniform."""
    model = models.build_model(config).eval()
    model.channel_norm.set(
        torch.linspace(-1, 1, config.cube.channels), torch.full((config.cube.channels,), 0.7)
    )
    with torch.no_grad():
        for parameter in model.parameters():
            if config.options.model == "authors":
                parameter.normal_(std=0.5)
            # Larger ones saturate the tanh of attention, and places tie for the hard choice.
            elif config.options.attention_mode == "soft":
                parameter.mul_(2.5)
    return model


def make_run(run: Path, backbone: str, shape: dict[str, Any], **settings: Any) -> Path:
    """Write a run with random weights."""
    config = model_config(num_classes=len(CLASSES), hidden_size=8, attention_size=6, **shape)
    values = {
        "size": 224, "block_length": 4, "stride": 3, "data_dir": "/home/somebody/private/clips",
        "clips": {"train": ("jump/a.avi",), "validation": (), "test": ()},
    } | settings  # fmt: skip
    values |= {"classes": CLASSES, "backbone": backbone, "weights": "579344248a93"}
    runs.write_config(run, run_config(model=config, **values))
    runs.save_model(run, build_model(config))
    return run


@pytest.mark.parametrize(
    "shape",
    [
        {
            "attention": "content",
            "motion": True,
            "fine_channels": 2,
            "fine_ratio": 2,
            "num_layers": 2,
        },
        {"attention": "location", "attention_mode": "hard", "num_layers": 1},
        {"motion": True, "motion_only": True, "num_layers": 1},
        {"model": "max", "num_layers": 1},
        {"model": "softmax"},
        {"model": "authors"},
    ],
    ids=str,
)
def test_the_graphs_step_by_step_equal_forward(shape: dict[str, Any]) -> None:
    config = model_config(
        num_classes=3, places=9, channels=12, hidden_size=8, attention_size=6, **shape
    )
    model = build_model(config)
    graphs = decoder_graphs(model, multi_label=False)
    step = onnxruntime.InferenceSession(graphs.step)
    inputs = [one.name for one in step.get_inputs()]
    outputs = [one.name for one in step.get_outputs()]
    assert (graphs.start is None) == (config.options.model == "softmax")
    for size in (1, 5):
        cubes = torch.randn(size, 4, 9, 12)
        with torch.inference_mode():
            expected = model(cubes)
        state: dict[str, np.ndarray] = {}
        if graphs.start is not None:
            start = onnxruntime.InferenceSession(graphs.start)
            names = list(model.state_spec)
            found = start.run(names, {"mean": cubes.mean((1, 2)).numpy()})
            state = dict(zip(names, found, strict=True))
        for time in range(4):
            given = {"cube": cubes[:, time].numpy(), **state}
            assert set(given) == set(inputs)
            found = dict(zip(outputs, step.run(outputs, given), strict=True))
            state = {name: found[f"next_{name}"] for name in state}
            logits = expected.logits[:, time]
            np.testing.assert_allclose(found["logits"], logits, atol=1e-4)
            np.testing.assert_allclose(found["probabilities"], logits.softmax(-1), atol=1e-4)
            if expected.attention is None:
                assert "attention" not in found
            else:
                looked = expected.attention[:, time]
                np.testing.assert_allclose(found["attention"], looked, atol=1e-4)
                assert looked.std() > 0.02


def run_example(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the example of an export in a Python without Glimpses and its dependencies."""
    program = (
        "import runpy, sys\n"
        f"sys.modules.update(dict.fromkeys({ABSENT!r}))\n"
        f"sys.argv = ['example.py', *{arguments!r}]\n"
        f"runpy.run_path({str(folder / 'example.py')!r}, run_name='__main__')\n"
    )
    return subprocess.run(
        [sys.executable, "-I", "-c", program], capture_output=True, text=True, cwd=folder
    )


def write_video(path: Path, frames: int = 30, fps: float = 25) -> Path:
    random = np.random.default_rng(frames)
    coarse = random.integers(0, 256, (frames, 6, 8, 3), np.uint8)
    video.write(path, coarse.repeat(10, 1).repeat(10, 2), fps=fps)
    return path


@pytest.mark.parametrize(
    ("backbone", "shape", "settings", "frames"),
    [
        ("efficientnet_lite0:4:7", {"places": 49, "channels": 48, "model": "softmax"},
         {"aggregate": "majority", "last_steps": 2, "fps": "native"}, 3),
        ("efficientnet_lite0:block_5+8",
         {"places": 196, "channels": 80 + 4 * 40, "fine_channels": 40, "fine_ratio": 2,
          "motion": True, "num_layers": 1},
         {"multi_label": True, "last_steps": 3, "calibration": Calibration(0.5)}, 30),
        ("efficientnet_lite0:4:7", {"places": 49, "channels": 48, "num_layers": 1},
         {"calibration": Calibration(4.0, threshold=0.99)}, 5),
    ],
)  # fmt: skip
def test_the_example_equals_predict(
    tmp_path: Path, backbone: str, shape: dict[str, Any], settings: dict[str, Any], frames: int
) -> None:
    run, clip = make_run(tmp_path / "run", backbone, shape, **settings), tmp_path / "clip.mp4"
    write_video(clip, frames)
    expected = Recogniser.load(run).predict(clip)
    out = export(run).out
    has_attention = expected.attention is not None
    drawn = ["--overlay", str(tmp_path / "overlay.mp4")] if has_attention else []
    done = run_example(out, str(clip), "--maps", str(tmp_path / "maps.npz"), *drawn)
    assert done.returncode == 0, done.stderr
    decision, first, *_ = done.stdout.splitlines()
    assert decision == expected.decision
    assert first.split() == [f"{expected.probabilities.max():.4f}", expected.label]
    found = np.load(tmp_path / "maps.npz")
    assert found["classes"].tolist() == list(CLASSES)
    assert ("attention" in found) == has_attention
    np.testing.assert_allclose(found["times"], expected.times, atol=1e-9)
    np.testing.assert_allclose(found["probabilities"], expected.probabilities, atol=1e-4)
    np.testing.assert_allclose(found["step_probabilities"], expected.step_probabilities, atol=1e-4)
    if expected.attention is not None:
        np.testing.assert_allclose(found["attention"], expected.attention, atol=1e-4)
        overlay = video.examine(tmp_path / "overlay.mp4")
        assert (overlay.frames, overlay.info.width) == (len(expected.times), 224)


def write_broken_timestamps(path: Path) -> Path:
    """Write a video with repeated and decreasing time stamps."""
    with av.open(path, "w") as out:
        stream = out.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuvj420p"
        for number, stamp in enumerate((0, 200, 120, 120, 300, 80, 400)):
            pixels = np.full((64, 64, 3), 30 * number, np.uint8)
            for packet in stream.encode(av.VideoFrame.from_ndarray(pixels)):
                packet.time_base, packet.pts, packet.dts = Fraction(1, 1000), stamp, number
                out.mux(packet)
    return path


def write_b_frames(path: Path) -> Path:
    """Write H.264 with frames that refer to later ones."""
    with av.open(path, "w") as out:
        stream = out.add_stream("libx264", rate=25, options={"bf": "3"})
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        for number in range(20):
            pixels = np.full((64, 64, 3), 12 * number, np.uint8)
            out.mux(stream.encode(av.VideoFrame.from_ndarray(pixels)))
        out.mux(stream.encode(None))
    return path


def test_the_example_reports_unreadable_files(
    small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    export(small)
    example = importlib.import_module("glimpses.runs.onnx.example")
    monkeypatch.setattr(example, "FOLDER", small / "exported")
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    for name in ("missing.mp4", "broken.mp4"):
        monkeypatch.setattr(sys, "argv", ["example.py", str(tmp_path / name)])
        with pytest.raises(SystemExit, match=f"error: .*{name}"):
            example.main()


def test_the_example_samples_the_same_frames(tmp_path: Path) -> None:
    example = importlib.import_module("glimpses.runs.onnx.example")
    plain = write_video(tmp_path / "plain.mp4")
    # A quarter turn in the matrix of the track header, as written by phones.
    content = plain.read_bytes()
    at = content.index(b"tkhd") + 4 + 40
    turned = tmp_path / "turned.mp4"
    matrix = struct.pack(">9i", 0, 65536, 0, -65536, 0, 0, 0, 0, 1 << 30)
    turned.write_bytes(content[:at] + matrix + content[at + 36 :])
    for path, fps in ((plain, 10.0), (plain, 60.0), (plain, "native"), (turned, 10.0),
                      (write_video(tmp_path / "f.avi", 7, 29.97), 12.5),
                      (write_b_frames(tmp_path / "b.avi"), 10.0), (tmp_path / "b.avi", "native"),
                      (write_broken_timestamps(tmp_path / "falling.mkv"), 10.0),
                      (tmp_path / "falling.mkv", "native")):  # fmt: skip
        expected = list(video.FrameReader(path, fps=fps, size=64))
        found = list(example.frames(str(path), fps, 64))
        assert [time for time, _ in found] == [frame.time for frame in expected]
        for (_, pixels), frame in zip(found, expected, strict=True):
            assert (pixels == frame.pixels).all()
    upright, lying = (next(iter(example.frames(str(p), 10.0, 64)))[1] for p in (turned, plain))
    assert (upright == lying).mean() < 0.9


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("small")
    return make_run(
        folder / "run", "efficientnet_lite0:4:7", {"places": 49, "channels": 48, "model": "softmax"}
    )


def test_the_export_describes_itself(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = small.parent / "out"
    assert cli.run(["export", str(small), "--to", "onnx", "--out", str(out)]) == 0
    shown = capsys.readouterr().out
    assert f"{out}: backbone.onnx" in shown
    assert "--overlay" not in shown
    names = {"backbone.onnx", "step.onnx", "model.json", "example.py", "requirements.txt",
             "README.md"}  # fmt: skip
    assert {file.name for file in out.iterdir()} == names
    about = json.loads((out / "model.json").read_text())
    assert about["classes"] == list(CLASSES)
    assert about["attention_grid"] is None
    for graph in about["graphs"].values():
        session = onnxruntime.InferenceSession(out / graph["file"])
        for side, tensors in (("inputs", session.get_inputs()), ("outputs", session.get_outputs())):
            shapes = {one.name: ["N", *one.shape[1:]] for one in tensors}
            assert {name: one["shape"] for name, one in graph[side].items()} == shapes
    text = "".join(f.read_text() for f in out.iterdir() if f.suffix != ".onnx")
    assert "somebody" not in text
    # The exporter writes paths of this machine into the graphs; they must be removed.
    content = b"".join(file.read_bytes() for file in out.iterdir())
    assert b"site-packages" not in content
    assert str(Path(runs.__file__).parent).encode() not in content
    assert "Apache-2.0" in (out / "README.md").read_text()
    # Export again: files of another kind of model are removed.
    (out / "start.onnx").touch()
    export(small, out=out)
    assert {file.name for file in out.iterdir()} == names


def test_other_folders_are_refused(small: Path, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("mine")
    with pytest.raises(GlimpsesError, match="is not empty and not an export"):
        export(small, out=tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["README.md"]


def test_runs_that_cannot_be_exported_are_refused(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run(
        tmp_path / "run", "authors:googlenet", {"places": 49, "channels": 8, "model": "authors"}
    )
    assert cli.run(["export", str(run)]) == 1
    assert "no network here can compute them from video" in capsys.readouterr().err
    assert cli.run(["export", str(tmp_path)]) == 1
    assert "is not a run" in capsys.readouterr().err

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("no such operator\nand a long story")

    monkeypatch.setattr("glimpses.runs.onnx.graphs.to_onnx", fail)
    assert cli.run(["export", str(small), "--out", str(tmp_path / "out")]) == 1
    assert "cannot be exported to ONNX: no such operator\n" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_graphs_with_other_outputs_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    config = model_config(num_classes=3, places=9, channels=12, model="softmax")
    model, other = models.build_model(config).eval(), models.build_model(config).eval()
    real = importlib.import_module("glimpses.runs.onnx.graphs").to_onnx

    def export_another(module: Any, *rest: Any) -> bytes:
        module.model, mine = other, module.model
        try:
            return bytes(real(module, *rest))
        finally:
            module.model = mine

    monkeypatch.setattr("glimpses.runs.onnx.graphs.to_onnx", export_another)
    with pytest.raises(GlimpsesError, match=r"differs from PyTorch by .* in logits"):
        decoder_graphs(model, multi_label=False)


def test_attention_that_follows_motion_cannot_be_exported() -> None:
    config = model_config(num_classes=2, places=4, channels=3, hidden_size=4, motion_bias=True)
    with pytest.raises(GlimpsesError, match="train one with --motion-span past"):
        decoder_graphs(models.build_model(config).eval(), multi_label=False)
