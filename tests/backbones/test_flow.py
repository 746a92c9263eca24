"""Optical flow per place, against pictures that move by a known number of pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from glimpses import backbones, features, video
from glimpses.backbones.flow import CHANNELS, flow_cubes
from glimpses.datasets import Clip
from glimpses.features import FrameEncoder, extract_clips
from glimpses.utils.errors import GlimpsesError

SPEC = "efficientnet_lite0:head+16:7@flow"


def texture(seed: int = 0) -> np.ndarray:
    """Smooth random RGB picture of 224 x 224."""
    noise = np.random.default_rng(seed).normal(size=(300, 300, 3))
    smooth = ndimage.gaussian_filter(noise, (4, 4, 0))
    return np.uint8(np.clip(128 + 40 * smooth / smooth.std(), 0, 255))


def moving_square(dx: int, dy: int) -> list[np.ndarray]:
    """Two frames in which the four central places of a 7x7 grid move, and nothing else."""
    wide, inner = texture(0), texture(1)
    frames = [wide[:224, :224].copy() for _ in range(2)]
    for step, frame in enumerate(frames):
        y, x = 64 + dy * step, 64 + dx * step
        frame[y : y + 96, x : x + 96] = inner[:96, :96]
    return frames


@pytest.mark.parametrize(("dx", "dy", "direction"), [(4, 0, 0), (0, 4, 2), (-4, 0, 4), (0, -4, 6)])
def test_direction_of_the_flow_where_something_moves(dx: int, dy: int, direction: int) -> None:
    first, second = flow_cubes(moving_square(dx, dy), None, 7)
    assert first.shape == (49, CHANNELS)
    assert first.dtype == np.float16
    centre, corner = second[3 * 7 + 3], second[0]
    # Channels are square roots; directions are multiples of 45 degrees, y points down.
    assert centre[:8].argmax() == direction
    assert float(centre[direction]) ** 2 == pytest.approx(4, rel=0.25)
    assert float(centre[8]) == pytest.approx(0, abs=0.1)  # share of still pixels
    assert float(corner[8]) == pytest.approx(1, abs=0.1)
    assert np.abs(corner[:8]).max() < 0.3
    # Motion boundaries are at the square's edge, not inside it.
    boundary = second[:, 9:25].astype(float).sum(1).reshape(7, 7)
    assert boundary[3, 2:5:2].min() > 2 * boundary[0, 0]


def test_the_motion_of_the_camera_is_subtracted_and_reported() -> None:
    wide = texture()
    _, cubes = flow_cubes([wide[:224, :224], wide[3 : 3 + 224, 5 : 5 + 224]], None, 7)
    inner = cubes.reshape(7, 7, CHANNELS)[1:6, 1:6]
    assert np.abs(inner[..., :8]).max() < 0.6
    # The picture moves by (-5, -3): signed square roots in the last two channels.
    np.testing.assert_allclose(inner[..., 25:], [[[-(5**0.5), -(3**0.5)]] * 5] * 5, rtol=0.1)


def test_the_first_frame_and_equal_frames_have_no_flow() -> None:
    frame = texture()[:224, :224]
    for cubes in (flow_cubes([frame], None, 7), flow_cubes([frame], frame, 7)):
        still = np.zeros((1, 49, CHANNELS))
        still[..., 8] = 1
        np.testing.assert_allclose(cubes, still, atol=1e-3)


def test_frames_in_several_calls_are_those_of_one_call() -> None:
    frames = [texture(seed)[:224, :224] for seed in range(4)]
    backbone = backbones.load(SPEC, engine="torch")
    assert (backbone.channels, backbone.flow_channels) == (1280 + 224 + CHANNELS, CHANNELS)
    whole = backbone.half(frames)
    encode = FrameEncoder(backbone, 0)
    parts = np.concatenate([encode(frames[:1]), encode(frames[1:3]), encode(frames[3:])])
    np.testing.assert_allclose(parts.astype(float), whole.astype(float), atol=0.02)
    np.testing.assert_array_equal(parts[..., -CHANNELS:], whole[..., -CHANNELS:])
    called = backbone(np.stack(frames)).numpy()
    np.testing.assert_allclose(called[..., -CHANNELS:], whole[..., -CHANNELS:].astype(float))


class Flow:
    """Backbone whose cubes are the optical flow alone."""

    name, weights, size, grid, batch, threads = "flow", "0" * 12, 224, 7, 4, 2
    channels = flow_channels = CHANNELS
    fine_channels, fine_ratio = 0, 1

    def half(self, frames: list[np.ndarray], previous: np.ndarray | None) -> np.ndarray:
        return flow_cubes(frames, previous, self.grid)


def test_a_resumed_extraction_knows_the_frame_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wide = texture()
    frames = [wide[2 * n : 2 * n + 224, n : n + 224] for n in range(30)]
    path = tmp_path / "clip.mp4"
    video.write(path, iter(frames), fps=10)
    clips = [Clip("clip", path, (0,), "g")]
    for module in ("fill", "frame_dedup", "store"):
        monkeypatch.setattr(f"glimpses.features.{module}.FRAMES_PER_PART", 8)

    def cubes(store: Path) -> np.ndarray:
        found = extract_clips(clips, Flow(), fps=10, feature_dir=store)  # type: ignore[arg-type]
        clip = found.clips["clip"]
        return clip.block(0, len(clip)).numpy()

    whole = cubes(tmp_path / "a")
    assert len(whole) == 30
    cubes(tmp_path / "b")
    # As after a kill: the index and all parts but the first two are missing.
    for file in (tmp_path / "b").rglob("*"):
        if file.is_file() and not any(part in file.name for part in ("00000", "00001")):
            file.unlink()
    np.testing.assert_array_equal(cubes(tmp_path / "b"), whole)


def test_flow_is_refused_where_it_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(GlimpsesError, match="write efficientnet_lite0:head\\+16:7@flow"):
        backbones.load("efficientnet_lite0:head+16@flow", engine="torch")
    with pytest.raises(GlimpsesError, match="leave out --skip-static"):
        features.extract_clips([], Flow(), fps=10, skip_static=2.0, feature_dir=tmp_path)  # type: ignore[arg-type]
    with pytest.raises(GlimpsesError, match="no ONNX graph"):
        backbones.load(SPEC, engine="torch").to_onnx()
