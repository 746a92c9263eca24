"""Tests of the layout with folders of subsets, and of files that are left out."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from glimpses import datasets
from glimpses.utils.errors import GlimpsesError
from tests.datasets.trees import make


def names(*subsets: str, per_class: int = 2, classes: str = "ab") -> list[str]:
    return [
        f"{subset}/{label}/{subset}{n}.mp4"
        for subset in subsets
        for label in classes
        for n in range(per_class)
    ]


@pytest.mark.parametrize(
    ("train", "validation", "test"),
    [("train", "val", "test"), ("training", "valid", "testing"), ("Train", "validation", "TEST")],
)
def test_folders_of_subsets_are_a_split_and_no_classes(
    tmp_path: Path, train: str, validation: str, test: str
) -> None:
    data = datasets.load(make(tmp_path, *names(train, validation, test)))
    assert data.layout == "subsets"
    assert data.classes == ("a", "b")
    division = datasets.split(data)
    for subset, folder in ((division.train, train), (division.test, test)):
        assert [clip.id for clip in subset] == sorted(names(folder))
        assert [data.classes[clip.labels[0]] for clip in subset] == ["a", "a", "b", "b"]
    assert {clip.id for clip in division.validation} == set(names(validation))


def test_validation_is_drawn_from_train_if_there_is_no_val(tmp_path: Path) -> None:
    make(tmp_path, *names("train", per_class=8), *names("test"))
    division = datasets.split(datasets.load(tmp_path))
    assert {clip.id for clip in division.test} == set(names("test"))
    assert {clip.labels for clip in division.validation} == {(0,), (1,)}
    drawn = {clip.id for clip in (*division.train, *division.validation)}
    assert drawn == set(names("train", per_class=8))


def test_val_is_the_test_subset_if_there_is_no_test(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    make(tmp_path, *names("train", per_class=8), *names("val"))
    division = datasets.split(datasets.load(tmp_path))
    assert {clip.id for clip in division.test} == set(names("val"))
    assert division.validation
    assert "no test subset, so its validation clips are the test subset" in caplog.text


@pytest.mark.parametrize("subset", ["train", "test"])
def test_a_single_subset_is_split_into_folds(tmp_path: Path, subset: str) -> None:
    data = datasets.load(make(tmp_path, *names(subset, per_class=6)))
    assert data.classes == ("a", "b")
    assert datasets.split(data).name == "folds"


def test_the_folder_around_the_subsets_may_be_given(tmp_path: Path) -> None:
    make(tmp_path / "unpacked", *names("train", "test"))
    data = datasets.load(tmp_path)
    assert data.root == tmp_path / "unpacked"
    assert data.classes == ("a", "b")


def test_other_folders_beside_the_subsets_are_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = datasets.load(make(tmp_path, *names("train", "test"), "unlabelled/x.mp4"))
    assert data.classes == ("a", "b")
    assert "left out 1 video outside the class folders (unlabelled/x.mp4)" in caplog.text


def test_an_action_called_train_stays_an_action(tmp_path: Path) -> None:
    data = datasets.load(make(tmp_path, "train/1.mp4", "bus/2.mp4", "test/3.mp4"))
    assert data.classes == ("bus", "test", "train")


def test_subsets_without_class_folders_are_refused(tmp_path: Path) -> None:
    make(tmp_path, "train/1.mp4", "test/2.mp4")
    with pytest.raises(GlimpsesError, match=r"train: has clips but no class folders.*labels\.csv"):
        datasets.load(tmp_path)


def test_two_folders_of_one_subset_are_refused(tmp_path: Path) -> None:
    make(tmp_path, *names("train", "val", "valid"))
    with pytest.raises(GlimpsesError, match="valid: val holds the validation clips, too"):
        datasets.load(tmp_path)


def test_a_class_in_test_only_is_told_and_refused_in_training(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = datasets.load(make(tmp_path, *names("train", "val"), *names("test", classes="abc")))
    assert data.classes == ("a", "b", "c")
    assert "has no clips of c among its train clips" in caplog.text
    with pytest.raises(GlimpsesError, match="class 'c' has no training clips in split 'listed'"):
        datasets.split(data)


def test_a_class_with_one_clip_can_be_trained_on(tmp_path: Path) -> None:
    make(tmp_path, *names("train", "val", "test"), "train/c/only.mp4")
    division = datasets.split(datasets.load(tmp_path))
    assert [clip.id for clip in division.train if clip.labels == (2,)] == ["train/c/only.mp4"]


def test_recordings_in_two_subsets_give_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # UCF-101's subset of ten classes, as it is passed around, shares groups like this.
    make(
        tmp_path,
        *(f"train/{label}/v_{label}_g01_c0{n}.avi" for label in "AB" for n in (1, 2)),
        *(f"test/{label}/v_{label}_g0{n}_c03.avi" for label in "AB" for n in (1, 2)),
        *(f"val/{label}/v_{label}_g03_c03.avi" for label in "AB"),
    )
    data = datasets.load(tmp_path)
    assert {clip.group for clip in data.clips} >= {"A/v_A_g01", "B/v_B_g02"}
    assert datasets.split(data).name == "listed"
    assert "scores may be too high" in caplog.text


def test_every_video_is_read_whatever_its_suffix(tmp_path: Path) -> None:
    videos = [
        "a.MTS", "b.m2ts", "c.wmv", "d.3gp", "e.TS", "f.flv", "g.M4V", "h.mpeg", "i.VOB", "j.ogv",
        "k.asf", "l.MP4",
    ]  # fmt: skip
    data = datasets.load(make(tmp_path, *(f"run/{name}" for name in videos), "jump/a.mp4"))
    assert len(data.clips) == len(videos) + 1


def test_links_to_folders_are_followed_but_not_in_circles(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    make(tmp_path / "elsewhere", "1.mp4", "deep/2.mp4")
    root = make(tmp_path / "data", "jump/3.mp4")
    (root / "run").symlink_to(tmp_path / "elsewhere")
    (root / "jump/again").symlink_to(root)
    ids = [clip.id for clip in datasets.load(root).clips]
    assert ids == ["jump/3.mp4", "run/1.mp4", "run/deep/2.mp4"]
    assert "jump/again: links to a folder that contains it" in caplog.text


def test_actions_may_be_called_splits_or_annotations(tmp_path: Path) -> None:
    make(tmp_path, "splits/1.mp4", "annotations/2.mp4", "jump/3.mp4")
    assert datasets.load(tmp_path).classes == ("annotations", "jump", "splits")


def test_left_out_files_are_counted_in_one_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    make(
        tmp_path, "run/a.mp4", "run/._a.mp4", ".trash/b.mp4", "loose.mp4", "run/c.docx",
        "annotations/run/a.mp4", "run/notes.txt", "run/d.npz",
    )  # fmt: skip
    assert [clip.id for clip in datasets.load(tmp_path).clips] == ["run/a.mp4"]
    (line,) = [record.getMessage() for record in caplog.records if "left out" in record.msg]
    assert line == (
        f"{tmp_path}: left out 1 video outside the class folders (loose.mp4), 2 videos with a "
        "hidden name or folder (.trash/b.mp4), 1 video in folders of annotations "
        "(annotations/run/a.mp4), 1 file of type .docx (run/c.docx)"
    )


@pytest.mark.skipif(os.name != "posix", reason="needs named pipes")
def test_files_that_cannot_be_opened_are_clips(tmp_path: Path) -> None:
    make(tmp_path, "run/a.mp4", "run/folder.mp4/b.mp4", "run/notes.mp4/c.txt")
    (tmp_path / "run/gone.mp4").symlink_to(tmp_path / "nowhere.mp4")
    (tmp_path / "run/empty.mp4").mkdir()
    os.mkfifo(tmp_path / "run/pipe.mp4")
    ids = ["run/a.mp4", "run/empty.mp4", "run/folder.mp4/b.mp4", "run/gone.mp4"]
    ids += ["run/notes.mp4", "run/pipe.mp4"]
    assert [clip.id for clip in datasets.load(tmp_path).clips] == ids


@pytest.mark.parametrize("name", ["val.txt", "valid.txt", "validation.txt"])
def test_lists_of_validation_clips_have_several_names(tmp_path: Path, name: str) -> None:
    make(tmp_path, *(f"{label}/{n}.mp4" for label in "ab" for n in range(3)), "splits/readme")
    for number, file in enumerate(("train.txt", name, "test.txt")):
        (tmp_path / "splits" / file).write_text(f"a/{number}.mp4\nb/{number}.mp4\n")
    division = datasets.split(datasets.load(tmp_path))
    assert [clip.id for clip in division.validation] == ["a/1.mp4", "b/1.mp4"]


def test_two_lists_of_one_subset_are_refused(tmp_path: Path) -> None:
    make(tmp_path, "a/1.mp4", "b/1.mp4", "splits/val.txt", "splits/validation.txt")
    with pytest.raises(GlimpsesError, match=r"val\.txt lists the validation clips, too"):
        datasets.load(tmp_path)


@pytest.mark.parametrize("name", ["nowhere", "clip.mp4"])
def test_a_path_that_is_no_data_set_is_refused(tmp_path: Path, name: str) -> None:
    make(tmp_path, "clip.mp4")
    with pytest.raises(GlimpsesError, match=name):
        datasets.load(tmp_path / name)


def test_youtube_ids_in_names_are_groups(tmp_path: Path) -> None:
    make(tmp_path, "run/abc-_fghijk_000010_000020.mp4", "run/abc-_fghijk_000030_000040.mp4")
    make(tmp_path, "jump/0bc-_fghijk_000010_000020.mp4")
    data = datasets.load(tmp_path)
    assert data.grouped
    assert {clip.group for clip in data.clips} == {"abc-_fghijk", "0bc-_fghijk"}
