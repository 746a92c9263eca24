"""Film strips: correct frames of a known clip, and correct marks."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from glimpses.viz import draw_filmstrip
from tests.viz.clips import grey_clip, model_output


def test_frames_are_on_display_at_the_steps(tmp_path: Path) -> None:
    """At 25 fps, the frame on display at second t is number floor(25 t)."""
    clip = grey_clip(tmp_path / "clip.mp4", count=20, fps=25)
    outputs = model_output(steps=8) | {"attention": None}

    strip = draw_filmstrip(clip, **outputs, count=4)

    assert [frame.time for frame in strip.frames] == pytest.approx([0, 0.2, 0.5, 0.7])
    for frame, number in zip(strip.frames, (0, 5, 12, 17), strict=True):
        assert frame.image.mean() == pytest.approx(40 + 10 * number, abs=4)
        assert frame.image.shape == (200, 300, 3)


def test_attended_places_are_brighter(tmp_path: Path) -> None:
    clip = grey_clip(tmp_path / "clip.mp4")
    outputs = model_output()
    outputs["attention"] = np.eye(49)[np.full(20, 48)].reshape(20, 7, 7)

    image = draw_filmstrip(clip, **outputs).frames[3].image.mean(axis=2)

    assert image[-20:, -30:].mean() > 2 * image[:100, :150].mean()


def test_frames_are_marked_as_correct_or_not(tmp_path: Path) -> None:
    clip = grey_clip(tmp_path / "clip.mp4", count=4)
    outputs = model_output(steps=4) | {
        "step_probabilities": np.array([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3], [0.6, 0.4]]),
        "probabilities": np.array([0.6, 0.4]),
        "classes": ["jump", "wave"],
    }

    correct, wrong, several, unknown = (
        draw_filmstrip(clip, **outputs, labels=labels)
        for labels in ("jump", "wave", ["wave", "jump"], None)
    )

    assert (correct.name, correct.predicted, correct.probability) == ("clip.mp4", "jump", 0.6)
    assert [frame.label for frame in correct.frames] == ["jump", "wave", "jump", "jump"]
    assert [frame.correct for frame in correct.frames] == [True, False, True, True]
    assert [frame.correct for frame in wrong.frames] == [False, True, False, False]
    assert [strip.correct for strip in (correct, wrong, several, unknown)] == [
        True,
        False,
        True,
        None,
    ]
    assert {frame.correct for frame in unknown.frames} == {None}


def test_one_step_gives_one_frame(tmp_path: Path) -> None:
    clip = grey_clip(tmp_path / "clip.mp4", count=3)

    (frame,) = draw_filmstrip(clip, **model_output(steps=1)).frames

    with Image.open(io.BytesIO(frame.to_jpeg())) as file:
        assert file.format == "JPEG"
        assert np.abs(np.asarray(file).astype(int) - frame.image).mean() < 3


def test_a_clip_that_ends_before_its_last_step_repeats_its_last_frame(tmp_path: Path) -> None:
    clip = grey_clip(tmp_path / "clip.mp4", count=5, fps=10)

    strip = draw_filmstrip(clip, **model_output(steps=10) | {"attention": None}, count=2)

    assert strip.frames[1].image.mean() == pytest.approx(80, abs=4)
