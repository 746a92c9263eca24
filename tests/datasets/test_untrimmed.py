"""Tests of synthetic recordings with several actions: their table is exact."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from glimpses import datasets, video
from glimpses.datasets import synthetic
from glimpses.datasets.annotations.masks import load_masks
from glimpses.datasets.synthetic.motions import ACTIONS
from glimpses.datasets.synthetic.untrimmed import LENGTH
from glimpses.segments import Segment, read_segments


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("untrimmed") / "set"
    synthetic.generate(out, untrimmed=True, preset="easy", groups=3, workers=1)
    return out


def test_is_a_data_set_of_recordings(made: Path) -> None:
    data = datasets.load(made)
    assert data.layout == "segments"
    assert data.classes == tuple(sorted([*ACTIONS, "background"]))
    assert {clip.recording for clip in data.clips} == {"000.avi", "001.avi", "002.avi"}
    subsets = {
        name: {id.partition("#")[0] for id in ids} for name, ids in data.splits["listed"].items()
    }
    assert subsets == {"train": {"000.avi"}, "validation": {"001.avi"}, "test": {"002.avi"}}


def test_pauses_and_actions_fill_the_recording(made: Path) -> None:
    for name in ("000.avi", "001.avi", "002.avi"):
        segments = [one for one in read_segments(made / "segments.csv") if one.file == name]
        assert len(segments) >= 4
        edges = [0.0, *(time for one in segments for time in (one.start, one.end)), LENGTH / 10]
        pauses, actions = np.diff(edges)[::2], np.diff(edges)[1::2]
        assert (pauses[:-1] >= 1).all()
        assert (pauses[:-1] <= 3).all()
        assert ((actions > 1.99) & (actions < 4.01)).all()
        assert len({one.label for one in segments[:6]}) == len(segments[:6])


def test_the_body_moves_while_the_table_has_an_action(made: Path) -> None:
    """The masks do not depend on the table: they change in actions more than in pauses."""
    moved: dict[bool, list[float]] = {True: [], False: []}
    for name in ("000", "001", "002"):
        frames = video.read(made / f"{name}.avi", fps="native", size=None).frames
        masks = load_masks(made / "annotations" / f"{name}.npz")
        assert len(frames) == len(masks.times) == LENGTH
        segments = [
            one for one in read_segments(made / "segments.csv") if one.file == f"{name}.avi"
        ]
        # Of width and height: the camera moves.
        sizes = masks.boxes[:, 2:] - masks.boxes[:, :2]
        change = np.abs(np.diff(sizes, axis=0)).sum(-1)
        for frame in range(4, LENGTH):
            near = any(abs(frame / 10 - edge) < 0.45 for one in segments for edge in ends(one))
            if not near:
                active = any(one.start <= frame / 10 < one.end for one in segments)
                moved[active].append(change[frame - 1])
    assert np.mean(moved[True]) > 2.5 * np.mean(moved[False])


def ends(one: Segment) -> tuple[float, float]:
    return one.start, one.end
