"""Tests of identical files: contradictions are refused, and copies stay on one side of a split."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import pytest

from glimpses import datasets
from glimpses.datasets import ActionDataset, Clip
from glimpses.datasets.copies import join_copies, join_groups
from glimpses.utils.errors import GlimpsesError

ROOT = Path("data")


def clip(id: str, label: int, group: str | None = None) -> Clip:
    return Clip(id, ROOT / id, (label,), group or id)


@pytest.fixture
def dataset() -> ActionDataset:
    clips = [clip(f"{name}/{n}.mp4", label) for label, name in enumerate("ab") for n in range(9)]
    return ActionDataset(ROOT, ("a", "b"), tuple(clips), grouped=False)


def digests(dataset: ActionDataset, **same: str) -> dict[str, str]:
    """Return digests that differ, but for `name=digest` of clips by name, such as `a0`."""
    return {clip.id: same.get(clip.id[0] + clip.id[2], clip.id) for clip in dataset.clips}


def test_without_copies_nothing_changes(dataset: ActionDataset) -> None:
    assert join_copies(dataset, digests(dataset)) is dataset


def test_copies_are_in_one_subset_of_every_fold(
    dataset: ActionDataset, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "glimpses")
    joined = join_copies(dataset, digests(dataset, a0="x", a4="x", a8="x", b1="y", b2="y"))
    assert "data: 3 clips are identical to others; copies stay in one subset" in caplog.text
    for fold in range(5):
        split = datasets.split(joined, fold=fold)
        for copies in ({"a/0.mp4", "a/4.mp4", "a/8.mp4"}, {"b/1.mp4", "b/2.mp4"}):
            subsets = [
                {clip.id for clip in subset} & copies
                for subset in (split.train, split.validation, split.test)
            ]
            assert copies in subsets


def test_one_file_with_two_labels_is_refused(dataset: ActionDataset) -> None:
    message = (
        r"data: a/0\.mp4 \('a'\) and b/3\.mp4 \('b'\) are the same file with different labels; "
        r"remove the wrong one \(1 more case\)"
    )
    with pytest.raises(GlimpsesError, match=message):
        join_copies(dataset, digests(dataset, a0="x", b3="x", a5="y", b7="y"))


def test_copies_on_both_sides_of_a_list_are_refused(dataset: ActionDataset) -> None:
    listed = {"listed": {"train": frozenset({"a/0.mp4"}), "test": frozenset({"a/1.mp4"})}}
    dataset = replace(dataset, splits=listed)
    same = digests(dataset, a0="x", a1="x")
    with pytest.raises(GlimpsesError, match=r"same file in train \(a/0\.mp4\) and in test \(a/1"):
        join_copies(dataset, same)
    assert join_copies(dataset, same, "folds").clips[1].group == "a/0.mp4"
    # A copy that no list has is not used.
    assert join_copies(dataset, digests(dataset, a0="x", a5="x"))


def test_official_sets_are_used_unchanged(
    dataset: ActionDataset, caplog: pytest.LogCaptureFixture
) -> None:
    official = replace(dataset, layout="hmdb51")
    assert join_copies(official, digests(dataset, a0="x", b0="x")) is official
    assert "are the same file with different labels" in caplog.text


def test_groups_are_joined_transitively() -> None:
    clips = [clip(name, 0, group) for name, group in zip("abcdef", "123342", strict=True)]
    a, b, c, _d, e, _f = clips
    joined = join_groups(clips, [(b, a), (c, e), (a, a)])
    # 1 with 2, so also f; 3 with 4, so also d.
    assert [clip.group for clip in joined] == ["1", "1", "3", "3", "3", "1"]
    assert join_groups(clips, [(a, b), (b, c), (c, e)])[4].group == "1"
