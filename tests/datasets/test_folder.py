"""Tests of the layout with one folder of clips for each action."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from glimpses import datasets
from glimpses.utils.errors import GlimpsesError


def make(root: Path, *ids: str) -> Path:
    for id in ids:
        (root / id).parent.mkdir(parents=True, exist_ok=True)
        (root / id).write_bytes(b"")
    return root


def write_groups(root: Path, *rows: tuple[str, str, str]) -> None:
    with (root / "groups.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("clip", "label", "group"))
        writer.writerows(rows)


def groups_of(root: Path) -> dict[str, str]:
    return {clip.id: clip.group for clip in datasets.load(root).clips}


def test_folders_are_classes_and_videos_are_clips(tmp_path: Path) -> None:
    make(tmp_path, "run/b.MP4", "run/a.avi", "jump/deep/er/c.webm", "jump/notes.txt")
    data = datasets.load(tmp_path)
    assert data.classes == ("jump", "run")
    assert [(clip.id, clip.labels) for clip in data.clips] == [
        ("jump/deep/er/c.webm", (0,)),
        ("run/a.avi", (1,)),
        ("run/b.MP4", (1,)),
    ]


def test_annotations_and_hidden_files_are_not_clips(tmp_path: Path) -> None:
    make(
        tmp_path,
        "run/a.avi",
        "run/._a.avi",
        "run/Annotation/a.avi",
        ".trash/b.avi",
        "annotations/run/a.mp4",
        "splits/b/a.mp4",
    )
    assert [clip.id for clip in datasets.load(tmp_path).clips] == ["run/a.avi"]


def test_ucf11_groups_come_from_the_official_names(tmp_path: Path, shared: Path) -> None:
    names = (shared / "data/annotations/ucf11_files.txt").read_text().split()
    data = datasets.load(make(tmp_path, *names), "folder")
    assert len(data.classes) == 11
    assert len(data.clips) == 1600
    assert data.grouped
    for name in data.classes:
        of_class = {clip.group for clip in data.clips if clip.id.startswith(f"{name}/")}
        assert len(of_class) == 25
    # In the distributor's layout, the folder of a clip is its group.
    folders = {clip.id.rsplit("/", 1)[0] for clip in data.clips}
    assert len({clip.group for clip in data.clips}) == len(folders)


def test_hmdb51_groups_are_the_films(tmp_path: Path, shared: Path) -> None:
    lines = (shared / "data/annotations/hmdb51_splits/wave_test_split1.txt").read_text()
    names = [line.split()[0] for line in lines.splitlines()]
    groups = groups_of(make(tmp_path, *(f"wave/{name}" for name in names)))
    assert 1 < len(set(groups.values())) < len(names)
    film = "50_FIRST_DATES_wave_f_cm_np1_fr_med_"
    of_film = {group for id, group in groups.items() if film in id}
    assert len(of_film) <= 1


def test_plain_names_give_no_groups(tmp_path: Path) -> None:
    data = datasets.load(make(tmp_path, "a/001.mp4", "a/002.mp4", "b/003.mp4"))
    assert not data.grouped
    assert len({clip.group for clip in data.clips}) == 3


def test_groups_come_from_groups_csv(tmp_path: Path) -> None:
    make(tmp_path, "a/1.mp4", "b/2.mp4", "b/3.mp4")
    write_groups(tmp_path, ("a/1.mp4", "a", "x"), ("b/2.mp4", "b", "x"), ("b/3.mp4", "b", "y"))
    assert groups_of(tmp_path) == {"a/1.mp4": "x", "b/2.mp4": "x", "b/3.mp4": "y"}


def test_warns_about_unlisted_clips(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    make(tmp_path, "a/1.mp4", "b/2.mp4")
    write_groups(tmp_path, ("a/1.mp4", "a", "x"), ("a/gone.mp4", "a", "x"))
    assert groups_of(tmp_path)["b/2.mp4"] == "b/2.mp4"
    assert "does not list 1 clip (b/2.mp4)" in caplog.text
    assert "a/gone.mp4" in caplog.text


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([("a/1.mp4", "a", "x"), ("a/1.mp4", "a", "y")], "line 3 puts a/1.mp4 into group y"),
        ([("a/1.mp4", "b", "x")], "line 2 labels a/1.mp4 'b'"),
        ([("a/1.mp4", "a", "")], "line 2 has no group"),
    ],
)
def test_contradicting_groups_are_refused(
    tmp_path: Path, rows: list[tuple[str, str, str]], message: str
) -> None:
    make(tmp_path, "a/1.mp4", "b/2.mp4")
    write_groups(tmp_path, *rows)
    with pytest.raises(GlimpsesError, match=r"groups\.csv") as error:
        datasets.load(tmp_path)
    assert message in str(error.value)


@pytest.mark.parametrize("content", [b"\xff\xfe\x00bad", b"name;group\n1;2\n", b""])
def test_a_groups_file_of_another_form_is_refused(tmp_path: Path, content: bytes) -> None:
    make(tmp_path, "a/1.mp4", "b/2.mp4")
    (tmp_path / "groups.csv").write_bytes(content)
    with pytest.raises(GlimpsesError, match=r"groups\.csv"):
        datasets.load(tmp_path)


def test_listed_splits_are_used_and_may_not_overlap(tmp_path: Path) -> None:
    make(tmp_path, "a/1.mp4", "a/2.mp4", "b/1.mp4", "b/2.mp4", "splits/readme")
    (tmp_path / "splits/train.txt").write_text("a/1.mp4\nb/1.mp4\n")
    (tmp_path / "splits/test.txt").write_text("a/2.mp4\nb/2.mp4\n")
    assert datasets.load(tmp_path).splits == {
        "listed": {"train": {"a/1.mp4", "b/1.mp4"}, "test": {"a/2.mp4", "b/2.mp4"}}
    }
    (tmp_path / "splits/test.txt").write_text("a/1.mp4\n")
    with pytest.raises(GlimpsesError, match=r"a/1\.mp4 is listed in both"):
        datasets.load(tmp_path)


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ((), "no class folder with a video"),
        (("loose.mp4",), "clips but no class folders"),
        (("a/text.txt",), "no class folder with a video"),
    ],
)
def test_error_for_a_folder_without_classes_gives_advice(
    tmp_path: Path, ids: tuple[str, ...], message: str
) -> None:
    with pytest.raises(GlimpsesError, match=message) as error:
        datasets.load(make(tmp_path, *ids))
    assert "put the clips of each action into a folder" in str(error.value)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(GlimpsesError, match="nowhere: no such folder"):
        datasets.load(tmp_path / "nowhere")


def test_warns_about_an_empty_class_folder(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    make(tmp_path, "a/1.mp4", "empty/readme.txt")
    assert datasets.load(tmp_path).classes == ("a",)
    assert "empty: no video in this folder" in caplog.text
