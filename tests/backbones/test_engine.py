"""Whatever runs a backbone, the numbers are PyTorch's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from glimpses import backbones
from glimpses.errors import GlimpsesError

FRAMES = np.random.default_rng(0).integers(0, 256, (17, 224, 224, 3), np.uint8)


@pytest.mark.parametrize(
    ("spec", "places", "channels"),
    [
        ("efficientnet_lite0", 49, 1280),
        ("efficientnet_lite0:16", 196, 112),
        ("efficientnet_lite0:16:7", 49, 224),
    ],
)
def test_engines_agree(spec: str, places: int, channels: int) -> None:
    fast = backbones.load(spec)
    reference = backbones.load(spec, engine="torch")
    assert (fast.engine, reference.engine) == ("onnxruntime", "torch")
    assert fast.name == reference.name
    found, expected = fast(FRAMES), reference(FRAMES)
    assert found.shape == (17, places, channels)
    assert found.dtype == expected.dtype == torch.float32
    assert (found - expected).abs().max() < 2e-5 * expected.abs().max()


def test_a_frames_cube_does_not_depend_on_its_company() -> None:
    backbone = backbones.load("efficientnet_lite0:16:7")
    together = backbone(FRAMES)
    for start, end in ((0, 1), (3, 6), (16, 17)):
        torch.testing.assert_close(backbone(FRAMES[start:end]), together[start:end])
    assert backbone(FRAMES[:0]).shape == (0, 49, 224)


def test_graph_is_made_once_and_made_again_when_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("GLIMPSES_CACHE", str(tmp_path))
    expected = backbones.load("efficientnet_lite0:16:7")(FRAMES[:2])
    (graph,) = tmp_path.rglob("*.onnx")
    made = graph.stat().st_mtime_ns
    backbones.load("efficientnet_lite0:16:7")
    assert graph.stat().st_mtime_ns == made
    graph.write_bytes(graph.read_bytes()[:1000])
    again = backbones.load("efficientnet_lite0:16:7")
    assert again.engine == "onnxruntime"
    assert "is damaged" in caplog.text
    torch.testing.assert_close(again(FRAMES[:2]), expected)


def test_cache_that_cannot_be_written_costs_only_speed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("GLIMPSES_CACHE", str(tmp_path / "file"))
    assert backbones.load("efficientnet_lite0:16:7").engine == "torch"
    assert "PyTorch is slower" in caplog.text


def test_spec_has_one_short_form() -> None:
    assert backbones.load("efficientnet_lite0:16:14").name == "efficientnet_lite0:16"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("efficientnet_lite1", "did you mean efficientnet_lite0"),
        ("resnet50", "there are efficientnet_lite0|there are googlenet"),
        ("efficientnet_lite0:64", "no such stage"),
        ("efficientnet_lite0:16:5", "14x14 places, which 5x5 does not divide"),
        ("", "is no backbone"),
        ("a:b:c:d", "is no backbone"),
    ],
)
def test_what_there_is_not(spec: str, message: str) -> None:
    with pytest.raises(GlimpsesError, match=message):
        backbones.load(spec)


def test_wrong_frames_and_devices() -> None:
    backbone = backbones.load("efficientnet_lite0:16:7")
    with pytest.raises(GlimpsesError, match="takes uint8 frames"):
        backbone(FRAMES.astype(np.float32))
    with pytest.raises(GlimpsesError, match="takes uint8 frames"):
        backbone(FRAMES[:, :100])
    with pytest.raises(GlimpsesError, match="device gpu"):
        backbones.load("efficientnet_lite0", device="gpu")
    if not torch.cuda.is_available():
        with pytest.raises(GlimpsesError, match="device cuda: there is none"):
            backbones.load("efficientnet_lite0", device="cuda")
