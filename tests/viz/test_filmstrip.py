"""Strips: the right frames of a known clip, and the right marks."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from glimpses.viz import strip
from tests.viz.clips import grey_clip, output


def test_frames_are_those_on_display_at_the_steps(tmp_path: Path) -> None:
    """At 25 fps, the frame on display at second t is number floor(25 t)."""
    clip = grey_clip(tmp_path / "clip.mp4", count=20, fps=25)
    said = output(steps=8) | {"attention": None}

    drawn = strip(clip, **said, count=4)

    assert [glimpse.time for glimpse in drawn.glimpses] == pytest.approx([0, 0.2, 0.5, 0.7])
    for glimpse, number in zip(drawn.glimpses, (0, 5, 12, 17), strict=True):
        assert glimpse.picture.mean() == pytest.approx(40 + 10 * number, abs=4)
        assert glimpse.picture.shape == (200, 300, 3)


def test_attention_lights_the_place(tmp_path: Path) -> None:
    clip = grey_clip(tmp_path / "clip.mp4")
    said = output()
    said["attention"] = np.eye(49)[np.full(20, 48)].reshape(20, 7, 7)

    picture = strip(clip, **said).glimpses[3].picture.mean(axis=2)

    assert picture[-20:, -30:].mean() > 2 * picture[:100, :150].mean()


def test_marks_right_and_wrong(tmp_path: Path) -> None:
    clip = grey_clip(tmp_path / "clip.mp4", count=4)
    said = output(steps=4) | {
        "step_probabilities": np.array([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3], [0.6, 0.4]]),
        "probabilities": np.array([0.6, 0.4]),
        "classes": ["jump", "wave"],
    }

    right, wrong, several, unknown = (
        strip(clip, **said, truth=truth) for truth in ("jump", "wave", ["wave", "jump"], None)
    )

    assert (right.name, right.predicted, right.probability) == ("clip.mp4", "jump", 0.6)
    assert [glimpse.label for glimpse in right.glimpses] == ["jump", "wave", "jump", "jump"]
    assert [glimpse.right for glimpse in right.glimpses] == [True, False, True, True]
    assert [glimpse.right for glimpse in wrong.glimpses] == [False, True, False, False]
    assert [drawn.right for drawn in (right, wrong, several, unknown)] == [True, False, True, None]
    assert {glimpse.right for glimpse in unknown.glimpses} == {None}


def test_one_step_gives_one_frame(tmp_path: Path) -> None:
    clip = grey_clip(tmp_path / "clip.mp4", count=3)

    (glimpse,) = strip(clip, **output(steps=1)).glimpses

    with Image.open(io.BytesIO(glimpse.jpeg())) as file:
        assert file.format == "JPEG"
        assert np.abs(np.asarray(file).astype(int) - glimpse.picture).mean() < 3


def test_a_clip_that_ends_before_its_last_step_repeats_its_last_frame(tmp_path: Path) -> None:
    clip = grey_clip(tmp_path / "clip.mp4", count=5, fps=10)

    drawn = strip(clip, **output(steps=10) | {"attention": None}, count=2)

    assert drawn.glimpses[1].picture.mean() == pytest.approx(80, abs=4)
