"""Tests that all engines compute the numbers of PyTorch, and of the graph cache and specs."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from glimpses import backbones, video
from glimpses.backbones import efficientnet_lite
from glimpses.backbones.onnx_engine import EngineName
from glimpses.backbones.stages import CubeNetwork
from glimpses.features import extract
from glimpses.utils.errors import GlimpsesError

FRAMES = np.random.default_rng(0).integers(0, 256, (17, 224, 224, 3), np.uint8)


def assert_same(cubes: torch.Tensor, expected: torch.Tensor) -> None:
    """Assert that no value differs by more than rounding, 1e-5 of the largest value."""
    assert cubes.shape == expected.shape
    assert cubes.dtype == expected.dtype == torch.float32
    assert (cubes - expected).abs().max() < 1e-5 * expected.abs().max()


@torch.inference_mode()
def eager(stage: str | None, grid: int | None) -> torch.Tensor:
    """Return the cubes of `FRAMES` by eager PyTorch."""
    network = CubeNetwork(efficientnet_lite.build(stage), grid).eval()
    return torch.cat([network(frames) for frames in torch.tensor(FRAMES).split(8)])


@pytest.mark.parametrize(
    ("spec", "stage", "grid", "shape"),
    [
        ("efficientnet_lite0", None, None, (49, 1280)),
        ("efficientnet_lite0:16:7", "16", 7, (49, 224)),
        ("efficientnet_lite0:4", "4", None, (56 * 56, 24)),
    ],
)
def test_engines_agree(
    spec: str, stage: str | None, grid: int | None, shape: tuple[int, int]
) -> None:
    expected = eager(stage, grid)
    for engine in ("onnxruntime", "torch"):
        backbone = backbones.load(spec, engine=engine)
        assert backbone.engine == engine
        assert (backbone.grid**2, backbone.channels) == shape
        assert_same(backbone(FRAMES), expected)


@pytest.mark.parametrize(
    ("late", "early", "late_shape", "early_shape"),
    [("head", "16", (7, 1280), (14, 112)), ("16", "8", (14, 112), (28, 40)),
     ("head", "32", (7, 1280), (7, 320))],
)  # fmt: skip
def test_joined_stages_equal_the_single_stages(
    late: str, early: str, late_shape: tuple[int, int], early_shape: tuple[int, int]
) -> None:
    coarse, fine = eager(late, None), eager(early, None)
    (grid, channels), (fine_grid, fine_channels) = late_shape, early_shape
    ratio = fine_grid // grid
    for engine in ("onnxruntime", "torch"):
        backbone = backbones.load(f"efficientnet_lite0:{late}+{early}", engine=engine)
        assert (backbone.grid, backbone.fine_ratio) == (grid, ratio)
        assert backbone.fine_channels == fine_channels
        assert backbone.channels == channels + ratio**2 * fine_channels
        cubes = backbone(FRAMES)
        assert_same(cubes[..., :channels], coarse)
        separated = torch.full_like(fine, torch.nan)
        for place in range(grid**2):
            for within in range(ratio**2):
                row = place // grid * ratio + within // ratio
                column = place % grid * ratio + within % ratio
                begin = channels + within * fine_channels
                separated[:, row * fine_grid + column] = cubes[
                    :, place, begin : begin + fine_channels
                ]
        assert_same(separated, fine)


@pytest.mark.parametrize("engine", ["onnxruntime", "torch"])
def test_an_earlier_stage_can_be_pooled_to_the_grid_of_the_later_one(engine: EngineName) -> None:
    backbone = backbones.load("efficientnet_lite0:head+16:7", engine=engine)
    assert backbone.name == "efficientnet_lite0:head+16:7"
    assert (backbone.fine_channels, backbone.fine_ratio) == (224, 1)
    cubes = backbone(FRAMES)
    assert_same(cubes[..., :1280], eager("head", None))
    assert_same(cubes[..., 1280:], eager("16", 7))


@pytest.mark.parametrize("engine", ["onnxruntime", "torch"])
def test_a_cube_does_not_depend_on_the_other_frames_of_the_batch(engine: EngineName) -> None:
    backbone = backbones.load("efficientnet_lite0:16:7", engine=engine)
    together = backbone(FRAMES)
    for start, end in ((0, 1), (3, 6), (16, 17)):
        assert_same(backbone(FRAMES[start:end]), together[start:end])
    assert backbone(FRAMES[:0]).shape == (0, 49, 224)


@pytest.mark.parametrize("engine", ["onnxruntime", "torch"])
def test_threads_may_share_a_backbone(engine: EngineName) -> None:
    backbone = backbones.load("efficientnet_lite0:16:7", engine=engine, threads=2)
    starts = range(0, 16, 2)
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda start: backbone(FRAMES[start : start + 3]), starts))
    together = backbone(FRAMES)
    for start, cubes in zip(starts, results, strict=True):
        assert_same(cubes, together[start : start + 3])


def test_frames_may_be_views() -> None:
    mirrored = FRAMES[:2, :, ::-1]
    for engine in ("onnxruntime", "torch"):
        backbone = backbones.load("efficientnet_lite0:16:7", engine=engine)
        assert_same(backbone(mirrored), backbone(mirrored.copy()))


def test_auto_is_onnx_runtime_on_a_cpu() -> None:
    assert backbones.load("efficientnet_lite0:16:7").engine == "onnxruntime"


def test_a_graph_is_built_once_and_again_when_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("GLIMPSES_CACHE", str(tmp_path))
    expected = backbones.load("efficientnet_lite0:block_0")(FRAMES[:2])
    (graph,) = (file for file in tmp_path.rglob("*") if file.is_file())
    built = graph.stat().st_mtime_ns
    backbones.load("efficientnet_lite0:block_0")
    assert graph.stat().st_mtime_ns == built
    whole = graph.read_bytes()
    graph.write_bytes(whole[:1000])
    again = backbones.load("efficientnet_lite0:block_0")
    assert again.engine == "onnxruntime"
    assert f"{graph}: is damaged" in caplog.text
    assert len(graph.read_bytes()) == len(whole)
    assert_same(again(FRAMES[:2]), expected)


def test_extraction_with_a_cached_graph_does_not_import_pytorch(tmp_path: Path) -> None:
    """This runs the whole command, because it is the start of the process that must be fast."""
    moving = np.random.default_rng(0).integers(0, 256, (5, 64, 64, 3), np.uint8)
    video.write(tmp_path / "clips" / "noise" / "a.avi", moving, fps=10)
    backbones.load("efficientnet_lite0:block_0:7")
    command = ["extract", f"{tmp_path}/clips", "--backbone", "efficientnet_lite0:block_0:7"]
    script = (
        "import sys; from glimpses.cli import run; "
        "assert run(sys.argv[1:]) == 0; assert 'torch' not in sys.modules"
    )
    subprocess.run(
        [sys.executable, "-c", script, *command, "--feature-dir", f"{tmp_path}/store"], check=True
    )
    features = extract(
        tmp_path / "clips", backbone="efficientnet_lite0:block_0:7", feature_dir=tmp_path / "store"
    )
    (clip,) = features.clips.values()
    frames = video.read(tmp_path / "clips" / "noise" / "a.avi", fps=10.0, size=224).frames
    expected = backbones.load("efficientnet_lite0:block_0:7", engine="torch")(frames)
    assert (clip.block(0, 5) - expected).abs().max() < 1e-3 * expected.abs().max()


@pytest.mark.parametrize("engine", ["onnxruntime", "torch"])
def test_half_precision_is_single_precision_rounded(engine: EngineName) -> None:
    backbone = backbones.load("efficientnet_lite0:16:7", engine=engine)
    half = backbone.half(FRAMES)
    assert half.dtype == np.float16
    assert np.array_equal(half, backbone(FRAMES).half().numpy())
    assert backbone.half(FRAMES[:0]).shape == (0, 49, 224)


def test_a_graph_with_other_weights_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("GLIMPSES_CACHE", str(tmp_path))
    expected = backbones.load("efficientnet_lite0:block_0")(FRAMES[:2])
    (graph,) = tmp_path.rglob("*.onnx")
    model = onnx.load(graph)
    kernel = next(tensor for tensor in model.graph.initializer if len(tensor.dims) == 4)
    wrong = onnx.numpy_helper.to_array(kernel) * 1.1
    kernel.CopyFrom(onnx.numpy_helper.from_array(wrong, kernel.name))
    onnx.save(model, graph)
    again = backbones.load("efficientnet_lite0:block_0")
    assert f"{graph}: is damaged" in caplog.text
    assert_same(again(FRAMES[:2]), expected)


def test_a_cache_that_cannot_be_written_is_not_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("GLIMPSES_CACHE", str(tmp_path / "file"))
    backbone = backbones.load("efficientnet_lite0:block_0")
    assert backbone.engine == "onnxruntime"
    assert "cannot be written" in caplog.text
    assert backbone(FRAMES[:1]).shape == (1, 112 * 112, 16)


def test_a_network_that_onnx_runtime_cannot_run_runs_in_pytorch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("no such operator\nand a long story")

    monkeypatch.setenv("GLIMPSES_CACHE", str(tmp_path))
    monkeypatch.setattr(torch.onnx, "export", fail)
    assert backbones.load("efficientnet_lite0:block_0").engine == "torch"
    assert "cannot run it (no such operator); using PyTorch instead" in caplog.text
    with pytest.raises(GlimpsesError, match=r"no such operator\); choose engine torch$"):
        backbones.load("efficientnet_lite0:block_0", engine="onnxruntime")


def test_a_spec_has_one_short_form() -> None:
    for spec, short in (
        ("efficientnet_lite0:head:7", "efficientnet_lite0"),
        ("efficientnet_lite0:block_10:14", "efficientnet_lite0:16"),
        ("efficientnet_lite0:block_10:7", "efficientnet_lite0:16:7"),
        ("efficientnet_lite0:head+block_10", "efficientnet_lite0:head+16"),
        ("efficientnet_lite0:head+32:7", "efficientnet_lite0:head+32"),
    ):
        assert backbones.load(spec, engine="torch").name == short


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("efficientnet_lite1", "did you mean efficientnet_lite0"),
        ("resnet50", "there are efficientnet_lite0|there are googlenet"),
        ("efficientnet_lite0:64", "no such stage"),
        ("efficientnet_lite0:16:5", "14x14 places, which 5x5 does not divide"),
        ("efficientnet_lite0:16+head", "head is not an earlier stage than 16"),
        ("efficientnet_lite0:16+block_10", "block_10 is not an earlier stage than 16"),
        ("efficientnet_lite0:head+17", "efficientnet_lite0:17: no such stage; there are 4"),
        ("efficientnet_lite0:head+16+8", "no such stage"),
        ("efficientnet_lite0:head+16:14", "joined stages can be pooled to :7 only"),
        ("", "is not a backbone"),
        ("a:b:c:d", "is not a backbone"),
    ],
)
def test_invalid_specs_are_refused(spec: str, message: str) -> None:
    with pytest.raises(GlimpsesError, match=message):
        backbones.load(spec)


def test_frames_of_another_type_or_size_are_refused() -> None:
    backbone = backbones.load("efficientnet_lite0:block_0", engine="torch")
    for frames in (FRAMES.astype(np.float32), FRAMES[:, :100], FRAMES[0]):
        with pytest.raises(GlimpsesError, match="takes uint8 frames"):
            backbone(frames)


def test_unknown_engines_and_devices_are_refused() -> None:
    with pytest.raises(GlimpsesError, match="did you mean onnxruntime"):
        backbones.load("efficientnet_lite0", engine="onnx-runtime")  # type: ignore[arg-type]
    for device, message in (
        ("gpu", "device gpu: is not a device"),
        ("meta", "device meta: is not supported"),
        (
            f"cuda:{torch.cuda.device_count()}",
            "device cuda:.: PyTorch cannot use such a device here",
        ),
    ):
        with pytest.raises(GlimpsesError, match=message):
            backbones.load("efficientnet_lite0", device=device)


@pytest.mark.parametrize("spec", ["efficientnet_lite0:4:7", "efficientnet_lite0:4:7@flow"])
def test_a_frame_that_stands_still_is_computed_once(
    spec: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    backbone = backbones.load(spec)
    order = [0, 1, 1, 1, 2, 1, 1]
    shown = [FRAMES[index] for index in order]
    one_by_one = [
        backbone.half([frame], before)
        for frame, before in zip(shown, [None, *shown[:-1]], strict=True)
    ]
    counts = []
    half = backbone._engine.half
    monkeypatch.setattr(
        backbone._engine, "half", lambda frames: counts.append(len(frames)) or half(frames)
    )
    np.testing.assert_array_equal(backbone.half(shown), np.concatenate(one_by_one))
    assert counts == [4]
