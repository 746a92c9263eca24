"""Overlay videos, decoded again: light where attention is, the panel below, playable anywhere."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import av
import numpy as np
import pytest

from glimpses import video
from glimpses.utils.errors import GlimpsesError
from glimpses.viz import draw_overlay
from tests.viz.clips import grey_clip, output


def drawn(clip: Path, **said: object) -> video.Video:
    out = clip.with_name("overlay.mp4")
    draw_overlay(clip, out, **said)
    return video.read(out, fps="native", size=None)


def test_light_follows_attention(tmp_path: Path) -> None:
    """It rests on one place for the first half of the clip and on another for the second."""
    clip = tmp_path / "clip.mp4"
    video.write(clip, (np.full((240, 320, 3), 120, np.uint8) for _ in range(50)), fps=25)
    said = output(steps=20)
    said["attention"] = np.zeros((20, 7, 7))
    said["attention"][:10, 1, 5] = said["attention"][10:, 5, 2] = 1

    frames = drawn(clip, **said).frames

    # The picture is enlarged to 480 x 360: a place is 69 x 51 pixels.
    for frame, bright, dark in (
        (frames[5], (77, 377), (283, 171)),
        (frames[45], (283, 171), (77, 377)),
    ):
        light = frame[:360].mean(axis=2)
        assert light[bright] > 120, "full light and a glow"
        assert light[dark] < 0.4 * 120
        assert light.mean() < 0.5 * 120
        y, x = np.unravel_index(light.argmax(), light.shape)
        assert abs(y - bright[0]) < 30
        assert abs(x - bright[1]) < 40


def test_a_model_without_attention_leaves_the_picture_alone(tmp_path: Path) -> None:
    clip = grey_clip(tmp_path / "clip.mp4", count=5)

    overlay = drawn(clip, **output(steps=5) | {"attention": None})

    source = video.read(clip, fps="native", size=(540, 360)).frames
    difference = np.abs(overlay.frames[:, :360].astype(int) - source)
    assert difference.mean() < 2.5
    assert difference.max() < 12


def test_plays_in_browsers(tmp_path: Path) -> None:
    clip = grey_clip(tmp_path / "clip.mp4", count=30, fps=25)
    drawn(clip, **output(steps=12))
    out = tmp_path / "overlay.mp4"

    with av.open(str(out)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.pix_fmt) == ("h264", "yuv420p")
        assert stream.frames == 30
        assert float(container.duration / av.time_base) == pytest.approx(1.2, abs=0.05)
    content = out.read_bytes()
    assert 0 < content.index(b"moov") < content.index(b"mdat"), "the index comes first"


@pytest.mark.parametrize(
    ("width", "height", "picture"),
    [(36, 64, (202, 360)), (16, 12, (480, 360)), (96, 10, (1280, 134)), (1920, 1080, (1280, 720))],
    ids=["portrait", "tiny", "wide", "large"],
)
def test_any_shape_keeps_its_shape(
    tmp_path: Path, width: int, height: int, picture: tuple[int, int]
) -> None:
    clip = tmp_path / "clip.mp4"
    video.write(clip, (np.full((height, width, 3), 250, np.uint8) for _ in range(3)), fps=10)

    overlay = drawn(clip, **output(steps=3) | {"attention": None}).frames[1]

    light = overlay[: picture[1]].mean(axis=2) > 200
    assert light[:, light.any(axis=0)].mean() > 0.97
    assert light.any(axis=0).sum() == pytest.approx(picture[0], abs=4)
    assert overlay.shape[1] == max(480, picture[0])
    assert overlay.shape[0] >= picture[1] + 120
    assert overlay[picture[1] + 2 :].mean() < 60, "the panel is dark"


@pytest.mark.parametrize(("steps", "classes"), [(1, 3), (20, 1), (20, 2), (20, 100)])
def test_any_number_of_steps_and_classes(tmp_path: Path, steps: int, classes: int) -> None:
    clip = grey_clip(tmp_path / "clip.mp4", count=4)

    overlay = drawn(clip, **output(steps=steps, classes=classes), truth="something else")

    assert len(overlay.frames) == 4


def test_fast_clips_keep_their_length(tmp_path: Path) -> None:
    clip = grey_clip(tmp_path / "clip.mp4", count=60, fps=60)

    overlay = drawn(clip, **output(steps=10))

    assert len(overlay.frames) == 30
    assert video.probe(tmp_path / "overlay.mp4").seconds == pytest.approx(1, abs=0.04)


def test_a_clip_that_breaks_off_gives_what_it_had(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    clip = tmp_path / "clip.avi"
    video.write(clip, random.integers(0, 256, (40, 48, 64, 3), np.uint8), fps=10)
    clip.write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])
    there = len(video.read(clip, fps="native").frames)
    assert 5 < there < 35

    assert len(drawn(clip, **output(steps=there)).frames) == there


def test_memory_does_not_grow_with_the_clip(tmp_path: Path) -> None:
    """A frame of the overlay takes 0.8 MB; all 150 would take more than 110."""
    clip = grey_clip(tmp_path / "clip.mp4", count=150, fps=30)
    said = output(steps=50)
    tracemalloc.start()

    draw_overlay(clip, tmp_path / "overlay.mp4", **said)

    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 30e6


def test_what_is_no_video_leaves_nothing(tmp_path: Path) -> None:
    clip = tmp_path / "clip.mp4"
    clip.write_bytes(b"no video")

    with pytest.raises(GlimpsesError, match=r"clip\.mp4"):
        draw_overlay(clip, tmp_path / "overlay.mp4", **output())

    assert list(tmp_path.iterdir()) == [clip]
