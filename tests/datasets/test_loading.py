"""Tests of loading by layout, and of strings as paths in the public functions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from glimpses import datasets, video
from glimpses.check import check
from glimpses.datasets.annotations import annotations_for, load_masks
from glimpses.datasets.synthetic import generate
from glimpses.utils.errors import GlimpsesError
from tests.datasets.trees import make


def test_public_functions_accept_strings(tmp_path: Path) -> None:
    folder = tmp_path / "clips"
    generate(str(folder), groups=3, workers=1)
    data = datasets.load(str(folder))
    assert data == datasets.load(folder)
    assert data.root == folder
    assert datasets.detect_layout(str(folder)) == "folder"
    assert check(str(folder / "wave")) == check(folder / "wave")
    clip = data.clips[0]
    assert clip.annotation is not None
    assert load_masks(str(clip.annotation)).masks.shape == (30, 224, 224)
    assert list(annotations_for(data.clips, str(folder / "annotations"))) == [
        clip.id for clip in data.clips
    ]
    with pytest.raises(GlimpsesError, match="needs two or more folders"):
        generate(str(tmp_path / "more"), groups=3, motions=str(tmp_path))


def test_video_functions_accept_strings(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    video.write(str(path), [np.full((32, 32, 3), 50, np.uint8)] * 5, fps=10)
    assert video.probe(str(path)) == video.probe(path)
    assert video.examine(str(path)).frames == 5
    assert video.read_header(str(path)) == video.read_header(path)
    assert np.array_equal(video.frame_edges(str(path)), video.frame_edges(path))
    assert len(video.read(str(path)).frames) == 5
    with video.Prefetcher([str(path)], fps=10, size=32) as prefetcher:
        assert [len(list(frames)) for _, frames in prefetcher] == [5]


def test_unknown_layout_names_the_layouts(tmp_path: Path) -> None:
    make(tmp_path, "run/a.mp4")
    with pytest.raises(GlimpsesError, match=r"did you mean ucf11.* hollywood2"):
        datasets.load(tmp_path, "ucf-11")
