"""Overlay videos, decoded again: brightness, panel, size and compatibility."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import av
import numpy as np
import pytest

from glimpses import video
from glimpses.utils.errors import GlimpsesError
from glimpses.viz import draw_overlay
from tests.viz.clips import grey_clip, model_output


def read_overlay(clip: Path, **outputs: object) -> video.Video:
    out = clip.with_name("overlay.mp4")
    draw_overlay(clip, out, **outputs)
    return video.read(out, fps="native", size=None)


def test_brightness_follows_attention(tmp_path: Path) -> None:
    """Attention is on one place in the first half of the clip and on another in the second."""
    clip = tmp_path / "clip.mp4"
    video.write(clip, (np.full((240, 320, 3), 120, np.uint8) for _ in range(50)), fps=25)
    outputs = model_output(steps=20)
    outputs["attention"] = np.zeros((20, 7, 7))
    outputs["attention"][:10, 1, 5] = outputs["attention"][10:, 5, 2] = 1

    frames = read_overlay(clip, **outputs).frames

    # Frames are enlarged to 480 x 360: a place is 69 x 51 pixels.
    for frame, bright, dark in (
        (frames[5], (77, 377), (283, 171)),
        (frames[45], (283, 171), (77, 377)),
    ):
        light = frame[:360].mean(axis=2)
        assert light[bright] > 120, "full brightness and a glow"
        assert light[dark] < 0.4 * 120
        assert light.mean() < 0.5 * 120
        y, x = np.unravel_index(light.argmax(), light.shape)
        assert abs(y - bright[0]) < 30
        assert abs(x - bright[1]) < 40


def test_only_the_segment_of_a_recording_is_drawn(tmp_path: Path) -> None:
    clip = tmp_path / "recording.mp4"
    levels = np.repeat([40, 120, 200], 25)
    video.write(clip, (np.full((240, 320, 3), level, np.uint8) for level in levels), fps=25)
    outputs = {**model_output(steps=10), "attention": None}
    # The second of three seconds.
    outputs["times"] = 1 + np.arange(10) / 10
    frames = read_overlay(clip, **outputs).frames
    assert abs(len(frames) - 25) <= 1
    shown = frames[:-1, :360].mean((1, 2, 3))
    assert shown == pytest.approx(120, abs=5)


def test_a_model_without_attention_leaves_frames_unchanged(tmp_path: Path) -> None:
    clip = grey_clip(tmp_path / "clip.mp4", count=5)

    overlay = read_overlay(clip, **model_output(steps=5) | {"attention": None})

    source = video.read(clip, fps="native", size=(540, 360)).frames
    difference = np.abs(overlay.frames[:, :360].astype(int) - source)
    assert difference.mean() < 2.5
    assert difference.max() < 12


def test_the_video_plays_in_browsers(tmp_path: Path) -> None:
    clip = grey_clip(tmp_path / "clip.mp4", count=30, fps=25)
    read_overlay(clip, **model_output(steps=12))
    out = tmp_path / "overlay.mp4"

    with av.open(str(out)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.pix_fmt) == ("h264", "yuv420p")
        assert stream.frames == 30
        assert float(container.duration / av.time_base) == pytest.approx(1.2, abs=0.05)
    content = out.read_bytes()
    assert 0 < content.index(b"moov") < content.index(b"mdat"), "the index comes first"


@pytest.mark.parametrize(
    ("width", "height", "size"),
    [(36, 64, (202, 360)), (16, 12, (480, 360)), (96, 10, (1280, 134)), (1920, 1080, (1280, 720))],
    ids=["portrait", "tiny", "wide", "large"],
)
def test_any_aspect_ratio_is_kept(
    tmp_path: Path, width: int, height: int, size: tuple[int, int]
) -> None:
    clip = tmp_path / "clip.mp4"
    video.write(clip, (np.full((height, width, 3), 250, np.uint8) for _ in range(3)), fps=10)

    overlay = read_overlay(clip, **model_output(steps=3) | {"attention": None}).frames[1]

    light = overlay[: size[1]].mean(axis=2) > 200
    assert light[:, light.any(axis=0)].mean() > 0.97
    assert light.any(axis=0).sum() == pytest.approx(size[0], abs=4)
    assert overlay.shape[1] == max(480, size[0])
    assert overlay.shape[0] >= size[1] + 120
    assert overlay[size[1] + 2 :].mean() < 60, "the panel is dark"


@pytest.mark.parametrize(("steps", "classes"), [(1, 3), (20, 1), (20, 2), (20, 100)])
def test_any_number_of_steps_and_classes(tmp_path: Path, steps: int, classes: int) -> None:
    clip = grey_clip(tmp_path / "clip.mp4", count=4)

    overlay = read_overlay(
        clip, **model_output(steps=steps, classes=classes), labels="something else"
    )

    assert len(overlay.frames) == 4


def test_clips_of_high_frame_rate_keep_their_length(tmp_path: Path) -> None:
    clip = grey_clip(tmp_path / "clip.mp4", count=60, fps=60)

    overlay = read_overlay(clip, **model_output(steps=10))

    assert len(overlay.frames) == 30
    assert video.probe(tmp_path / "overlay.mp4").seconds == pytest.approx(1, abs=0.04)


def test_of_a_truncated_clip_the_readable_part_is_drawn(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    clip = tmp_path / "clip.avi"
    video.write(clip, random.integers(0, 256, (40, 48, 64, 3), np.uint8), fps=10)
    clip.write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])
    readable = len(video.read(clip, fps="native").frames)
    assert 5 < readable < 35

    assert len(read_overlay(clip, **model_output(steps=readable)).frames) == readable


def test_memory_does_not_grow_with_the_clip(tmp_path: Path) -> None:
    """A frame of the overlay takes 0.8 MB; all 150 would take more than 110."""
    clip = grey_clip(tmp_path / "clip.mp4", count=150, fps=30)
    outputs = model_output(steps=50)
    tracemalloc.start()

    draw_overlay(clip, tmp_path / "overlay.mp4", **outputs)

    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 30e6


def test_an_invalid_video_leaves_no_files(tmp_path: Path) -> None:
    clip = tmp_path / "clip.mp4"
    clip.write_bytes(b"no video")

    with pytest.raises(GlimpsesError, match=r"clip\.mp4"):
        draw_overlay(clip, tmp_path / "overlay.mp4", **model_output())

    assert list(tmp_path.iterdir()) == [clip]
