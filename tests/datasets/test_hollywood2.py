"""Tests of the Hollywood2 layout."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from glimpses import datasets
from glimpses.datasets import split
from glimpses.datasets.layouts import hollywood2
from glimpses.utils.errors import GlimpsesError
from tests.datasets.trees import make

SIZES = {"train": ("actioncliptrain", 823), "test": ("actioncliptest", 884)}


def write(root: Path, shown: dict[str, dict[str, tuple[str, ...]]], actions: list[str]) -> Path:
    """Clips and lists, from the actions of each clip by side."""
    (root / "ClipSets").mkdir(parents=True)
    for side, clips in shown.items():
        make(root, *(f"AVIClips/{name}.avi" for name in clips))
        for action in actions:
            (root / f"ClipSets/{action}_{side}.txt").write_text(
                "".join(f"{name}  {1 if action in own else -1}\n" for name, own in clips.items())
            )
    return root


@pytest.fixture
def small(tmp_path: Path) -> Path:
    shown: dict[str, dict[str, tuple[str, ...]]] = {
        "train": {
            "actioncliptrain00001": ("Kiss",),
            "actioncliptrain00002": ("HugPerson", "Kiss"),
            "actioncliptrain00003": (),
        },
        "test": {"actioncliptest00001": ("HugPerson",), "actioncliptest00002": ("Kiss",)},
    }
    return write(tmp_path, shown, ["HugPerson", "Kiss"])


def test_a_set_of_the_official_size(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    random = np.random.default_rng(0)
    actions = np.array(hollywood2.ACTIONS)
    shown = {
        side: {
            f"{prefix}{number:05}": tuple(actions[random.random(12) < 0.1])
            for number in range(1, count + 1)
        }
        for side, (prefix, count) in SIZES.items()
    }
    root = write(tmp_path / "Hollywood2", shown, list(hollywood2.ACTIONS))
    # The lists of scenes, which the distributor ships in the same folder.
    (root / "ClipSets/EXT-House_test.txt").write_text("sceneclipautoautotrain00001  1\n")
    make(root, "ShotBounds/actioncliptrain00001.sht")
    data = datasets.load(tmp_path)
    assert (data.layout, data.multi_label, data.classes) == (
        "hollywood2",
        True,
        hollywood2.ACTIONS,
    )
    assert {clip.path.stem: tuple(data.classes[i] for i in clip.labels) for clip in data.clips} == {
        **shown["train"],
        **shown["test"],
    }
    division = split(data)
    assert division.name == "clean"
    assert len(division.train) + len(division.validation) == 823
    assert len(division.test) == 884
    for side in (division.train, division.validation):
        assert {label for clip in side for label in clip.labels} == set(range(12))
    assert not caplog.records


def test_several_actions_and_none(small: Path) -> None:
    data = datasets.load(small)
    assert data.classes == ("HugPerson", "Kiss")
    assert {clip.path.stem: clip.labels for clip in data.clips} == {
        "actioncliptrain00001": (1,),
        "actioncliptrain00002": (0, 1),
        "actioncliptrain00003": (),
        "actioncliptest00001": (0,),
        "actioncliptest00002": (1,),
    }


def test_automatic_labels_are_a_split_of_their_own(tmp_path: Path) -> None:
    names = {
        "autotrain": "actionclipautoautotrain",
        "train": "actioncliptrain",
        "test": "actioncliptest",
    }
    shown: dict[str, dict[str, tuple[str, ...]]] = {
        side: {f"{name}00001": ("Run",), f"{name}00002": ("Eat",)} for side, name in names.items()
    }
    splits = datasets.load(write(tmp_path, shown, ["Run", "Eat"])).splits
    assert list(splits) == ["clean", "automatic"]
    assert all("autotrain" not in id for ids in splits["clean"].values() for id in ids)
    assert splits["automatic"]["train"] == {
        f"AVIClips/actionclipautoautotrain{number:05}.avi" for number in (1, 2)
    }
    assert splits["automatic"]["test"] == splits["clean"]["test"]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("actioncliptrain00001  yes\n", r"Kiss_train\.txt: line 1 is 'actioncliptrain00001  yes'"),
        ("actioncliptrain00001  0\n", "line 1 is"),
        (
            "actioncliptrain00001  1\nactioncliptrain00001  -1\n",
            "line 1 marks actioncliptrain00001 with 1, line 2 with -1",
        ),
        (
            "actioncliptrain00001  1\nactioncliptrain00002  1\n",
            "does not list actioncliptrain00003, although HugPerson_train.txt does",
        ),
        (
            "".join(f"actioncliptrain0000{n}  1\n" for n in (1, 2, 3)) + "actioncliptest00001  1\n",
            "although Kiss_train.txt does",
        ),
    ],
)
def test_lists_that_leave_an_action_unknown_are_refused(
    small: Path, text: str, complaint: str
) -> None:
    (small / "ClipSets/Kiss_train.txt").write_text(text)
    with pytest.raises(GlimpsesError, match=complaint):
        datasets.load(small)


def test_refuses_a_clip_in_two_subsets(small: Path) -> None:
    for action in ("HugPerson", "Kiss"):
        with (small / f"ClipSets/{action}_test.txt").open("a") as file:
            file.write("actioncliptrain00001  -1\n")
    with pytest.raises(
        GlimpsesError, match="actioncliptrain00001 is in lists of train and of test"
    ):
        datasets.load(small)


def test_an_action_without_one_of_its_lists_is_refused(small: Path) -> None:
    (small / "ClipSets/Kiss_test.txt").unlink()
    with pytest.raises(GlimpsesError, match=r"Kiss_test\.txt: cannot be read"):
        datasets.load(small)


def test_refuses_lists_that_are_not_text(small: Path) -> None:
    (small / "ClipSets/Kiss_test.txt").write_bytes(b"\xff\xfea\x00")
    with pytest.raises(GlimpsesError, match=r"Kiss_test\.txt: is not text in UTF-8"):
        datasets.load(small)


def test_warns_once_about_missing_and_unlisted_clips(
    small: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (small / "AVIClips/actioncliptrain00003.avi").unlink()
    make(small, "AVIClips/extra.avi")
    assert len(datasets.load(small).clips) == 4
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 3
    assert "has no list of AnswerPhone, DriveCar" in said[0]
    assert "1 of 5 listed clips are missing (actioncliptrain00003)" in said[1]
    assert "1 clip is in no list (extra); ignored" in said[2]


def test_line_endings_and_repeated_lines_do_not_matter(
    small: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = datasets.load(small)
    caplog.clear()
    file = small / "ClipSets/Kiss_test.txt"
    file.write_bytes(
        b"\xef\xbb\xbfactioncliptest00001  -1 \r\n\r\nactioncliptest00002 1\r\n"
        b"actioncliptest00002  1\r\n"
    )
    assert datasets.load(small) == before
    assert "Kiss_test.txt: 1 line is repeated (line 4" in caplog.text


def test_another_folder_is_refused_by_name(tmp_path: Path) -> None:
    make(tmp_path, "AVIClips/a.avi", "ClipSets/notes.txt")
    assert datasets.load(tmp_path).layout == "folder"
    with pytest.raises(GlimpsesError, match="does not have the layout of Hollywood2"):
        datasets.load(tmp_path, "hollywood2")
