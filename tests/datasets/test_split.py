"""Tests of splits: disjoint groups, and every class in every subset."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from glimpses.datasets import ActionDataset, Clip, Split, cross_validation, load, split
from glimpses.utils.errors import GlimpsesError
from tests.datasets.trees import make


def dataset(groups: dict[str, list[str]], **rest: object) -> ActionDataset:
    """Clips by class; each entry is a clip's group."""
    classes = tuple(sorted(groups))
    clips = tuple(
        Clip(f"{name}/{number:03}.mp4", Path(), (classes.index(name),), group)
        for name in classes
        for number, group in enumerate(groups[name])
    )
    return ActionDataset(Path("data"), classes, clips, **rest)  # type: ignore[arg-type]


def random_dataset(seed: int) -> ActionDataset:
    random = np.random.default_rng(seed)
    return dataset(
        {
            name: [f"{name if random.random() < 0.5 else ''}{g}" for g in random.integers(0, 9, n)]
            for name, n in (("a", 40), ("b", 25), ("c", 60))
        }
    )


def subsets(division: Split) -> list[tuple[Clip, ...]]:
    return [division.train, division.validation, division.test]


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("fold", range(3))
def test_groups_are_disjoint_classes_complete_clips_all_used(seed: int, fold: int) -> None:
    data = random_dataset(seed)
    division = split(data, folds=3, fold=fold, seed=seed)
    groups = [{clip.group for clip in subset} for subset in subsets(division)]
    assert not groups[0] & groups[1]
    assert not groups[0] & groups[2]
    assert not groups[1] & groups[2]
    assert all({clip.labels[0] for clip in subset} == {0, 1, 2} for subset in subsets(division))
    assert sorted(clip.id for subset in subsets(division) for clip in subset) == [
        clip.id for clip in data.clips
    ]


def test_the_folds_test_every_clip_once() -> None:
    data = random_dataset(0)
    tested = [clip.id for fold in range(4) for clip in split(data, folds=4, fold=fold).test]
    assert sorted(tested) == [clip.id for clip in data.clips]


def test_same_seed_same_split() -> None:
    data = random_dataset(1)
    assert split(data, seed=3) == split(data, seed=3)
    assert split(data, seed=3) != split(data, seed=4)


def test_names_a_class_with_too_few_groups() -> None:
    data = dataset({"many": list("abcdef"), "few": list("gghh")})
    with pytest.raises(GlimpsesError, match=r"class 'few' come from 2 group"):
        split(data)


def test_three_groups_are_enough() -> None:
    division = split(dataset({"x": list("abc"), "y": list("def")}))
    assert [len(subset) for subset in subsets(division)] == [2, 2, 2]


def test_one_class_is_not_enough() -> None:
    with pytest.raises(GlimpsesError, match="only one class, alone"):
        split(dataset({"alone": list("abc")}))


@pytest.mark.parametrize(("folds", "fold"), [(5, 5), (5, -1), (1, 0), (9, 8)])
def test_refuses_a_fold_out_of_range(folds: int, fold: int) -> None:
    with pytest.raises(GlimpsesError, match="fold"):
        split(dataset({"x": list("abc"), "y": list("def")}), folds=folds, fold=fold)


def test_listed_splits_take_precedence() -> None:
    data = dataset({"x": list("aabc"), "y": list("ddef")})
    listed = {
        "train": frozenset({"x/000.mp4", "x/001.mp4", "y/000.mp4", "y/001.mp4"}),
        "validation": frozenset({"x/002.mp4", "y/002.mp4"}),
        "test": frozenset({"x/003.mp4", "y/003.mp4"}),
    }
    data = ActionDataset(data.root, data.classes, data.clips, splits={"listed": listed})
    division = split(data)
    assert [{clip.id for clip in subset} for subset in subsets(division)] == [
        listed["train"],
        listed["validation"],
        listed["test"],
    ]


def test_folds_share_no_test_clip_and_leave_none_out() -> None:
    data = random_dataset(3)
    tested = [clip.id for fold in range(4) for clip in split(data, folds=4, fold=fold).test]
    assert sorted(tested) == [clip.id for clip in data.clips]


def test_refuses_lists_that_share_a_group_within_a_class() -> None:
    groups = {"a": ["g1", "g2", "g1"], "b": ["g3", "g4", "g5"]}
    lists = {
        "train": frozenset({"a/000.mp4", "b/000.mp4"}),
        "test": frozenset({"a/002.mp4", "b/001.mp4"}),
    }
    shared = dataset(groups, splits={"listed": lists})
    with pytest.raises(GlimpsesError, match="class 'a' and group g1 in both train and test"):
        split(shared)
    division = split(dataset(groups, splits={"1": {**lists, "validation": frozenset()}},
                             layout="hmdb51"))  # fmt: skip
    assert {clip.id for clip in division.test} == lists["test"]
    with pytest.raises(GlimpsesError, match="needs both"):
        split(dataset(groups, splits={"listed": {"train": lists["train"]}}))
    apart = {**lists, "test": frozenset({"a/001.mp4", "b/001.mp4"})}
    with pytest.raises(GlimpsesError, match="no fold 1"):
        split(dataset(groups, splits={"listed": apart}), fold=1)


def test_shared_groups_can_be_allowed(caplog: pytest.LogCaptureFixture) -> None:
    groups = {"a": ["g1", "g2", "g1"], "b": ["g3", "g4", "g5"]}
    lists = {
        "train": frozenset({"a/000.mp4", "a/001.mp4", "b/000.mp4", "b/001.mp4"}),
        "test": frozenset({"a/002.mp4", "b/002.mp4"}),
    }
    division = split(dataset(groups, splits={"listed": lists}), allow_shared_groups=True)
    assert {clip.id for clip in division.test} == lists["test"]
    assert "1 of 5 groups have clips in several subsets of split 'listed', such as g1" in (
        caplog.text
    )


def test_a_group_may_be_divided_between_classes(caplog: pytest.LogCaptureFixture) -> None:
    groups = {"a": ["film", "g2", "g3"], "b": ["g4", "g5", "film"]}
    lists = {
        "train": frozenset({"a/000.mp4", "a/001.mp4", "b/000.mp4", "b/001.mp4"}),
        "test": frozenset({"a/002.mp4", "b/002.mp4"}),
    }
    division = split(dataset(groups, splits={"listed": lists}))
    assert {clip.id for clip in division.test} == lists["test"]
    assert "1 of 5 groups" in caplog.text
    assert "such as film; the scores may be too high" in caplog.text
    caplog.clear()
    split(dataset(groups, splits={"listed": lists}, grouped=False))
    assert not caplog.text


@pytest.mark.parametrize("number", [1, 2, 3])
def test_official_lists_in_a_plain_folder_are_accepted(
    tmp_path: Path, shared: Path, number: int, caplog: pytest.LogCaptureFixture
) -> None:
    """A user's `splits/` made from HMDB-51's lists, in which films are shared between classes."""
    subsets: dict[str, list[str]] = {"1": [], "2": []}
    for file in sorted((shared / "data/annotations/hmdb51_splits").glob(f"*_split{number}.txt")):
        for line in file.read_text().splitlines():
            name, mark = line.split()
            subsets.get(mark, []).append(f"{file.name.rpartition('_test_')[0]}/{name}")
    make(tmp_path, *subsets["1"], *subsets["2"])
    (tmp_path / "splits").mkdir()
    for mark, subset in (("1", "train"), ("2", "test")):
        (tmp_path / f"splits/{subset}.txt").write_text("\n".join(subsets[mark]))
    division = split(load(tmp_path))
    assert {clip.id for clip in division.test} == set(subsets["2"])
    assert caplog.text.count("groups have clips in several subsets") == 1


def test_unknown_split_names_the_splits() -> None:
    lists = {"train": frozenset({"x/000.mp4"}), "test": frozenset({"x/001.mp4"})}
    data = dataset({"x": list("abc"), "y": list("def")}, splits={"listed": lists})
    with pytest.raises(GlimpsesError, match="has the splits listed, folds; did you mean listed"):
        split(data, "lsted")


def test_folds_can_replace_listed_splits() -> None:
    data = random_dataset(0)
    lists = {"train": frozenset({"a/000.mp4"}), "test": frozenset({"a/001.mp4"})}
    listed = ActionDataset(data.root, data.classes, data.clips, splits={"listed": lists})
    assert split(listed, "folds", fold=1) == split(data, fold=1)


def test_official_lists_may_share_a_group(caplog: pytest.LogCaptureFixture) -> None:
    groups = {"a": ["g1", "g2", "g1"], "b": ["g3", "g4", "g5"]}
    lists = {
        "train": frozenset({"a/000.mp4", "a/001.mp4", "b/000.mp4", "b/001.mp4"}),
        "test": frozenset({"a/002.mp4", "b/002.mp4"}),
    }
    data = dataset(groups, splits={"1": lists}, layout="hmdb51")
    with caplog.at_level("INFO"):
        division = split(data)
    assert {clip.id for clip in division.test} == lists["test"]
    assert division.name == "1"
    assert caplog.text.count("1 of 5 groups have clips in several subsets") == 1


def test_class_with_one_training_group_has_no_validation_clips(
    caplog: pytest.LogCaptureFixture,
) -> None:
    lists = {
        "train": frozenset({"x/000.mp4", "x/001.mp4", "y/000.mp4"}),
        "test": frozenset({"x/002.mp4", "y/001.mp4"}),
    }
    data = dataset({"x": list("abc"), "y": list("de")}, splits={"1": lists}, layout="hmdb51")
    division = split(data)
    assert {clip.labels[0] for clip in division.train} == {0, 1}
    assert {clip.labels[0] for clip in division.validation} == {0}
    assert "has no clips of y" in caplog.text


@pytest.mark.parametrize("seed", range(5))
def test_multi_label_clips_are_split(seed: int) -> None:
    random = np.random.default_rng(seed)
    shown = random.random((80, 5)) < (0.4, 0.3, 0.2, 0.1, 0.1)
    clips = tuple(
        Clip(f"{number:03}.avi", Path(), tuple(np.flatnonzero(row).tolist()), f"{number}")
        for number, row in enumerate(shown)
    )
    assert any(not clip.labels for clip in clips)
    data = ActionDataset(Path("data"), tuple("abcde"), clips, multi_label=True)
    division = split(data, seed=seed)
    assert sum(map(len, subsets(division))) == 80
    for subset in subsets(division):
        assert {label for clip in subset for label in clip.labels} == set(range(5))


@pytest.mark.parametrize("seed", range(4))
def test_cross_validation_tests_every_clip_once(seed: int) -> None:
    data = random_dataset(seed)
    divisions = cross_validation(data, folds=4, seed=seed)
    assert sorted(clip.id for division in divisions for clip in division.test) == [
        clip.id for clip in data.clips
    ]
    for fold, division in enumerate(divisions):
        assert division == split(data, folds=len(divisions), fold=fold, seed=seed)
        seen = {clip.group for clip in (*division.train, *division.validation)}
        assert not seen & {clip.group for clip in division.test}


def test_cross_validation_has_no_more_folds_than_recordings_of_a_class() -> None:
    data = dataset({"a": ["1", "2", "3", "3"], "b": [*"456789"]})
    divisions = cross_validation(data, folds=5)
    assert len(divisions) == 3
    assert all({c.labels[0] for c in division.train} == {0, 1} for division in divisions)
    with pytest.raises(GlimpsesError, match="come from 2 group"):
        cross_validation(dataset({"a": ["1", "2"], "b": [*"3456"]}))
    with pytest.raises(GlimpsesError, match="--folds 1"):
        cross_validation(data, folds=1)
