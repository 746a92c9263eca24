"""Tests of the HMDB-51 layout: official lists, and errors that name the damaged line."""

from __future__ import annotations

import logging
import re
import shutil
from collections import defaultdict
from pathlib import Path

import pytest

from glimpses import datasets
from glimpses.datasets import split
from glimpses.utils.errors import GlimpsesError
from tests.datasets.trees import make

LISTS = "testTrainMulti_7030_splits"


@pytest.fixture
def official(shared: Path) -> Path:
    return shared / "data/annotations/hmdb51_splits"


def write(root: Path, lists: dict[str, str]) -> Path:
    """Lists of small classes, `{"wave 1": "a.avi 1\\n"}`."""
    for name, text in lists.items():
        label, number = name.split()
        file = root / LISTS / f"{label}_test_split{number}.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text.encode())
    return root


SMALL = {
    "clap 1": "a.avi 1 \nb.avi 2 \nc.avi 0 \n",
    "wave 1": "a.avi 1 \nb.avi 2 \n",
}


@pytest.fixture
def small(tmp_path: Path) -> Path:
    clips = ("clap/a.avi", "clap/b.avi", "clap/c.avi", "wave/a.avi", "wave/b.avi")
    return write(make(tmp_path, *clips), SMALL)


def sides(root: Path, name: str = "1") -> dict[str, set[str]]:
    return {side: set(ids) for side, ids in datasets.load(root).splits[name].items()}


def test_official_lists_give_official_splits(tmp_path: Path, official: Path) -> None:
    expected: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for file in official.glob("*_test_split*.txt"):
        label, _, number = file.stem.rpartition("_test_split")
        for line in file.read_text().splitlines():
            name, mark = line.split()
            expected[number][mark].add(f"{label}/{name}")
    everyone = [id for ids in expected["1"].values() for id in ids]
    make(tmp_path / "hmdb51_org", *everyone)
    shutil.copytree(official, tmp_path / LISTS)
    data = datasets.load(tmp_path)
    assert data.layout == "hmdb51"
    assert len(data.classes) == 51
    assert [clip.id for clip in data.clips] == sorted(everyone)
    assert list(data.splits) == ["1", "2", "3"]
    for number, listed in data.splits.items():
        assert listed == {"train": expected[number]["1"], "test": expected[number]["2"]}
        assert (len(listed["train"]), len(listed["test"])) == (3570, 1530)
    division = split(data, "2")
    assert {clip.id for clip in division.test} == expected["2"]["2"]
    assert {clip.id for clip in (*division.train, *division.validation)} == expected["2"]["1"]
    assert not {c.group for c in division.train} & {c.group for c in division.validation}
    assert {clip.labels[0] for clip in division.validation} == set(range(51))


def test_real_clips_are_found_with_lists_beside_them(
    tmp_path: Path, shared: Path, official: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clips = shutil.copytree(shared / "data/hmdb51-clips", tmp_path / "videos")
    shutil.copytree(official, tmp_path / "test_train_splits" / LISTS)
    data = datasets.load(clips)
    assert data.layout == "hmdb51"
    assert data.classes == ("cartwheel", "wave")
    assert [clip.group for clip in data.clips] == [
        "Turnk_r_Pippi_Michel",
        "RATRACE",
        "SchoolRulesHowTheyHelpUs",
        "TrumanShow",
    ]
    assert datasets.load(tmp_path) == data
    assert "6762 of 6766 listed clips are missing" in caplog.records[0].getMessage()
    assert len(caplog.records) == 2


@pytest.mark.parametrize("place", ["splits", "lists/official", "a/b/c"])
def test_lists_may_be_in_several_places(small: Path, place: str) -> None:
    (small / place).parent.mkdir(parents=True, exist_ok=True)
    (small / LISTS).rename(small / place)
    assert sides(small) == {
        "train": {"clap/a.avi", "wave/a.avi"},
        "test": {"clap/b.avi", "wave/b.avi"},
    }


def test_names_with_unusual_characters(tmp_path: Path) -> None:
    odd = [
        "-one_(2005).avi",
        "two #1 & more.avi",
        "[3];@!+~.avi",
        "Übergröße.avi",
        "cinq e\u0301.avi",
    ]
    make(tmp_path, *(f"wave/{name}" for name in odd), "clap/x.avi")
    # The accent is one character in the list, and two on disk.
    lines = "".join(f"{name} 1 \n" for name in odd).replace("e\u0301", "é")
    write(tmp_path, {"wave 1": lines, "clap 1": "x.avi 2\n"})
    assert sides(tmp_path)["train"] == {f"wave/{name}" for name in odd}


def test_line_endings_bom_and_blank_lines_do_not_matter(small: Path) -> None:
    before = sides(small)
    write(small, {"clap 1": "\ufeffa.avi\t1  \r\n\r\nb.avi 2\r\n   \r\n c.avi   0"})
    assert sides(small) == before


def test_clips_in_another_container_are_the_same_clips(small: Path) -> None:
    (small / "clap/a.avi").rename(small / "clap/a.mp4")
    assert "clap/a.mp4" in sides(small)["train"]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("a.avi 1\nb.avi two\n", r"clap_test_split1\.txt: line 2 is 'b\.avi two'"),
        ("a.avi 1\nb.avi 3\n", "line 2 is 'b.avi 3'"),
        ("a.avi 1\nb.avi\n", "line 2 is 'b.avi'"),
        ("1\n", "line 1 is '1'"),
        ("a.avi 1\nb.avi 2\n\na.avi 2\n", "line 1 marks a with 1, line 4 with 2"),
    ],
)
def test_bad_lines_are_refused_by_number(small: Path, text: str, complaint: str) -> None:
    write(small, {"clap 1": text})
    with pytest.raises(GlimpsesError, match=complaint):
        datasets.load(small)


def test_refuses_lists_that_are_not_text(small: Path) -> None:
    (small / LISTS / "clap_test_split1.txt").write_bytes(b"a.avi 1\n\xe9.avi 2\n")
    with pytest.raises(GlimpsesError, match=r"clap_test_split1\.txt: is not text in UTF-8"):
        datasets.load(small)


@pytest.mark.parametrize(
    ("text", "warning"),
    [
        (
            "a.avi 1\nb.avi 2\nc.avi 0\na.avi 1\n",
            "1 line is repeated (line 4",
        ),
        ("a.avi 1\nb.avi 2\n", "1 clip is in no list (clap/c.avi)"),
        (
            "a.avi 1\nb.avi 2\nc.avi 0\nz.avi 1\ny.avi 2\n",
            "2 of 7 listed clips are missing (clap/y)",
        ),
    ],
)
def test_warns_once_about_missing_and_repeated_entries(
    small: Path, text: str, warning: str, caplog: pytest.LogCaptureFixture
) -> None:
    before = sides(small)
    # There is a warning that these lists are not the distributor's.
    assert [text in caplog.text for text in ("no lists of split", "do not have 70 training")] == [
        1,
        1,
    ]
    usual = len(caplog.records)
    caplog.clear()
    write(small, {"clap 1": text})
    assert sides(small) == before
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * (usual + 1)
    assert warning in caplog.text


@pytest.mark.parametrize(
    ("text", "said"), [("", "is empty"), ("a.avi 1\nb.avi 2 2\nc.avi 0\n", "line 2 is 'b.avi 2 2'")]
)
def test_lists_that_would_change_the_score_are_refused(small: Path, text: str, said: str) -> None:
    write(small, {"clap 1": text})
    with pytest.raises(GlimpsesError, match=re.escape(said)):
        datasets.load(small)


def test_a_class_without_its_list_is_refused(small: Path) -> None:
    write(small, {"clap 2": SMALL["clap 1"]})
    with pytest.raises(GlimpsesError, match=r"wave_test_split2\.txt: is missing"):
        datasets.load(small)
    make(small, "unlisted/x.avi")
    with pytest.raises(GlimpsesError, match=r"unlisted_test_split1\.txt: is missing"):
        datasets.load(small)


def test_lists_without_clips_and_clips_without_lists_do_not_match(
    tmp_path: Path, official: Path
) -> None:
    make(tmp_path / "mine", "run_fast/a.avi", "splits/readme")
    shutil.copytree(official, tmp_path / "mine/official")
    assert datasets.load(tmp_path / "mine").layout == "folder"
    # A data set beside the lists of another one, with one class of the same name.
    make(tmp_path / "own", "wave/a.avi", "bow/a.avi", "nod/a.avi")
    (tmp_path / "mine/official").rename(tmp_path / "test_train_splits")
    assert datasets.load(tmp_path / "own").layout == "folder"
    (tmp_path / "test_train_splits").rename(tmp_path / "elsewhere")
    make(tmp_path / "theirs", "wave/a.avi")
    with pytest.raises(GlimpsesError, match="does not have the layout of HMDB-51"):
        datasets.load(tmp_path / "theirs", "hmdb51")
