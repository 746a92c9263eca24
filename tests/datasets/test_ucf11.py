"""Tests of the UCF-11 layout with official names, real clips and a miniature."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from glimpses import datasets
from glimpses.datasets import split
from glimpses.datasets.layouts import ucf11
from glimpses.utils.errors import GlimpsesError
from tests.datasets.trees import make


@pytest.fixture
def names(shared: Path) -> list[str]:
    return (shared / "data/annotations/ucf11_files.txt").read_text().split()


@pytest.fixture
def official(tmp_path: Path, names: list[str]) -> Path:
    base = make(tmp_path / "UCF11_updated_mpg", *names)
    make(base, "biking/Annotation/v_biking_01_01.xgtf", "biking/Annotation/v_biking_01_01.mpg")
    return base


def test_all_official_names_are_clips_of_their_groups(official: Path, names: list[str]) -> None:
    data = datasets.load(official)
    assert data.layout == "ucf11"
    assert len(data.classes) == 11
    assert [clip.id for clip in data.clips] == sorted(names)
    assert all(data.classes[clip.labels[0]] == clip.id.split("/")[0] for clip in data.clips)
    # In the distributor's layout, the folder of a clip is its group.
    by_folder = {(clip.id.rsplit("/", 1)[0], clip.group) for clip in data.clips}
    assert len(by_folder) == len({clip.group for clip in data.clips}) == 11 * 25


def test_the_papers_split_has_its_sizes_and_shares_no_group(official: Path) -> None:
    data = datasets.load(official)
    assert next(iter(data.splits)) == "paper"
    assert {side: len(ids) for side, ids in data.splits["paper"].items()} == {
        "train": 975,
        "test": 625,
    }
    division = split(data)
    groups = [
        {clip.group for clip in side}
        for side in (division.train, division.validation, division.test)
    ]
    assert sum(map(len, groups)) == len(set().union(*groups)) == 11 * 25
    for side in (division.train, division.validation, division.test):
        assert {clip.labels[0] for clip in side} == set(range(11))


def test_no_other_run_of_groups_has_the_papers_sizes(names: list[str]) -> None:
    sizes = Counter(int(name.split("/")[1][-2:]) for name in names)
    fitting = [
        set(range(first, last + 1))
        for first in range(1, 26)
        for last in range(first, 26)
        if sum(sizes[group] for group in range(first, last + 1)) == 625
    ]
    assert fitting == [ucf11.PAPER_TEST_GROUPS]


def test_leaving_one_group_out_tests_every_clip_once(official: Path) -> None:
    data = datasets.load(official)
    folds = [f"group{number:02}" for number in range(1, 26)]
    assert list(data.splits) == ["paper", *folds]
    tested = [id for fold in folds for id in data.splits[fold]["test"]]
    assert sorted(tested) == [clip.id for clip in data.clips]
    for fold in folds:
        assert {id.split("/")[1][-2:] for id in data.splits[fold]["test"]} == {fold[-2:]}
        assert len(data.splits[fold]["train"] | data.splits[fold]["test"]) == 1600


def test_parent_folder_gives_the_same_data_set(official: Path) -> None:
    assert datasets.load(official.parent) == datasets.load(official)


def test_real_clips_are_found(shared: Path) -> None:
    data = datasets.load(shared / "data/ucf11-clips")
    assert data.layout == "ucf11"
    assert [clip.id for clip in data.clips] == [
        "basketball/v_shooting_01/v_shooting_01_01.mpg",
        "basketball/v_shooting_01/v_shooting_01_02.mpg",
        "biking/v_biking_01/v_biking_01_01.mpg",
    ]
    with pytest.raises(GlimpsesError, match="has none of the test clips of split 'paper'"):
        split(data)


@pytest.mark.parametrize(
    "ids",
    [
        ("diving/a.avi", "walking/b.avi"),
        ("diving/v_diving_01/v_diving_01_01.avi", "cooking/v_cooking_01/v_cooking_01_01.avi"),
        ("walking/v_walking_01/v_walking_01_01.avi", "diving/v_jump_01/v_jump_01_01.avi"),
        ("mine/walking/v_walk_dog_01/v_walk_dog_01_01.mpg", "other/a.avi"),
    ],
)
def test_other_class_folders_do_not_match(tmp_path: Path, ids: tuple[str, ...]) -> None:
    assert datasets.load(make(tmp_path, *ids)).layout == "folder"


def test_user_lists_take_precedence(tmp_path: Path) -> None:
    make(tmp_path, "diving/v_diving_01/v_diving_01_01.avi", "walking/v_walk_dog_01/a.avi")
    (tmp_path / "groups.csv").write_text("clip,label,group\n")
    assert datasets.load(tmp_path).layout == "folder"
    assert datasets.load(tmp_path, "ucf11").layout == "ucf11"


def test_warns_about_clips_with_other_names(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    official = (f"diving/v_diving_01/v_diving_01_{take:02}.mpg" for take in range(1, 4))
    data = datasets.load(make(tmp_path, *official, "diving/v_diving_01/copy.mpg"))
    assert len(data.clips) == 3
    assert "ignored 1 clip without an official name (diving/v_diving_01/copy.mpg)" in (caplog.text)


def test_refuses_another_folder(tmp_path: Path) -> None:
    make(tmp_path, "run/a.avi")
    with pytest.raises(GlimpsesError, match="does not have the layout of UCF-11"):
        datasets.load(tmp_path, "ucf11")
    with pytest.raises(GlimpsesError, match="nowhere: no such folder"):
        datasets.load(tmp_path / "nowhere", "ucf11")
