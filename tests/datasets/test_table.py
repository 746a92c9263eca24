"""Tests of labels in tables: CSV, lists without a header, JSON and JSON Lines."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from glimpses import datasets
from glimpses.datasets import ActionDataset
from glimpses.datasets.layouts import table_rows
from glimpses.utils.errors import GlimpsesError
from tests.datasets.trees import make

ABCD = ("a.mp4", "b.mp4", "c.mp4", "d.mp4")


def write(root: Path, name: str, text: str | bytes) -> Path:
    file = root / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(text.replace("ROOT", str(root)).encode() if isinstance(text, str) else text)
    return file


def labels(data: ActionDataset) -> dict[str, str]:
    return {clip.id: "|".join(data.classes[n] for n in clip.labels) for clip in data.clips}


def subsets(data: ActionDataset) -> dict[str, list[str]]:
    return {name: sorted(ids) for name, ids in data.splits.get("listed", {}).items()}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("labels.csv", "path,label\na.mp4,run\nb.mp4,jump\n"),
        ("metadata.csv", "file_name,label\na.mp4,run\nb.mp4,jump\n"),
        ("labels.csv", b'\xef\xbb\xbfVideo Path;Class\r\n"a.mp4";run\r\nb.mp4;"jump"\r\n'),
        ("labels.tsv", "clip\taction\textra\na.mp4\trun\t1\nb.mp4\tjump\t2\n"),
        ("labels.csv", "category,filename\nrun,ROOT/a.mp4\njump,b.mp4\n"),
        ("labels.csv", "a.mp4,run\nb.mp4,jump\n"),
        ("labels.csv", "id,label\na,run\nb,jump\n"),
        ("labels.csv", "path,label\n.\\a.mp4,run\nB.MP4,jump\n"),
        ("labels.csv", "path,label\n/moved/away/a.mp4,run\nC:\\clips\\b.mp4,jump\n"),
        ("labels.txt", "a.mp4 run\nb.mp4 jump\n"),
        ("metadata.jsonl", '{"file_name": "a.mp4", "label": "run"}\n{"file": "b.mp4"}\n'),
        ("labels.json", '{"a.mp4": "run", "b.mp4": "jump"}'),
        ("annotations.json", '[{"path": "a.mp4", "label": "run"}, {"path": "b", "class": "x"}]'),
        ("data/metadata.csv", None),
    ],
)
def test_tables_of_many_forms(tmp_path: Path, name: str, text: str | bytes | None) -> None:
    make(tmp_path, "a.mp4", "b.mp4")
    if name == "metadata.jsonl":
        text = '{"file_name": "a.mp4", "label": "run"}\n{"file_name": "b.mp4", "label": "jump"}\n'
    if name == "annotations.json":
        text = json.dumps([{"path": "a.mp4", "label": "run"}, {"path": "b", "label": "jump"}])
    if text is None:
        name, text = "lists/metadata.csv", "path,label\na.mp4,run\n../b.mp4,jump\n"
    write(tmp_path, name, text)
    data = datasets.load(tmp_path)
    assert data.layout == "table"
    assert labels(data) == {"a.mp4": "run", "b.mp4": "jump"}
    assert not data.multi_label
    assert not data.splits


def test_hugging_face_metadata_in_each_subset(tmp_path: Path) -> None:
    make(tmp_path, "train/a.mp4", "train/b.mp4", "validation/a.mp4", "test/a.mp4")
    write(tmp_path, "train/metadata.csv", "file_name,label\na.mp4,run\nb.mp4,jump\n")
    write(tmp_path, "validation/metadata.csv", "file_name,label\na.mp4,jump\n")
    write(tmp_path, "test/metadata.jsonl", '{"file_name": "a.mp4", "label": "run"}\n')
    data = datasets.load(tmp_path)
    assert labels(data) == {
        "test/a.mp4": "run", "train/a.mp4": "run", "train/b.mp4": "jump",
        "validation/a.mp4": "jump",
    }  # fmt: skip
    assert subsets(data) == {
        "train": ["train/a.mp4", "train/b.mp4"],
        "validation": ["validation/a.mp4"],
        "test": ["test/a.mp4"],
    }


def test_kinetics(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    one, two = "abcdefghijk_000001_000011.mp4", "-bcdefghij__000120_000130.mp4"
    make(tmp_path, f"train/{one}", f"train/run/{two}", f"val/{one.replace('k', 'x')}")
    header = "label,youtube_id,time_start,time_end,split\n"
    write(
        tmp_path, "annotations/train.csv",
        header + f'"playing, badly",{one[:11]},1,11,train\nrun,{two[:11]},120,130,train\n'
        + "".join(f"run,missing{n:04},1,11,train\n" for n in range(20)),
    )  # fmt: skip
    write(tmp_path, "annotations/val.csv", header + "run,abcdefghijx,1,11,val\n")
    data = datasets.load(tmp_path)
    assert labels(data) == {
        f"train/{one}": "playing, badly", f"train/run/{two}": "run",
        f"val/{one.replace('k', 'x')}": "run",
    }  # fmt: skip
    assert {clip.group for clip in data.clips} == {"abcdefghijk", "-bcdefghij_", "abcdefghijx"}
    assert data.grouped
    # A part of the set is enough, and without a test list, val is the test subset.
    assert "20 of 22 rows name no video that exists (line 4: missing0000)" in caplog.text
    assert set(subsets(data)) == {"train", "test"}


@pytest.mark.parametrize("separator", [" ", ",", "\t"])
def test_lists_of_videomae_and_mmaction(tmp_path: Path, separator: str) -> None:
    make(tmp_path, *(f"clips/my {n}.mp4" for n in "abcd"))
    for subset, (one, two) in {"train": "ab", "val": "cd"}.items():
        write(
            tmp_path, f"ucf_{subset}_list_videos.txt",
            f"ROOT/clips/my {one}.mp4{separator}1\nclips/my {two}.mp4{separator}0\n",
        )  # fmt: skip
    data = datasets.load(tmp_path)
    assert data.classes == ("0", "1")
    assert list(labels(data).values()) == ["1", "0", "1", "0"]
    write(tmp_path, "label_map.txt", "juggle\nbike\n")
    assert labels(datasets.load(tmp_path))["clips/my a.mp4"] == "bike"


def test_numbers_are_sorted_as_numbers_and_named_after_folders(tmp_path: Path) -> None:
    make(tmp_path, *(f"{n}.mp4" for n in range(12)), *(f"of/{name}/x.mp4" for name in "pqr"))
    write(tmp_path, "train.csv", "".join(f"{n}.mp4,{n}\n" for n in range(12)))
    assert datasets.load(tmp_path).classes == tuple(map(str, range(12)))
    write(tmp_path, "train.csv", "of/q/x.mp4,0\nof/p/x.mp4,1\nof/r/x.mp4,2\n")
    assert labels(datasets.load(tmp_path)) == {f"of/{n}/x.mp4": n for n in "pqr"}


def test_something_something(tmp_path: Path) -> None:
    make(tmp_path, *(f"20bn-something-something-v2/{n}.webm" for n in (1, 2, 3, 4)))
    pushing, holding = "Pushing [something]", "Holding [something] next to [something]"
    names = {"Pushing something": "0", "Holding something next to something": "1"}
    write(tmp_path, "labels/labels.json", json.dumps(names))
    for name, entries in {
        "train": [(1, pushing), (2, holding)], "validation": [(3, pushing)]
    }.items():  # fmt: skip
        rows = [{"id": str(n), "label": "pushing it", "template": text} for n, text in entries]
        write(tmp_path, f"labels/{name}.json", json.dumps(rows))
    write(tmp_path, "labels/test.json", '[{"id": "4"}]')
    write(tmp_path, "labels/test-answers.csv", "4;Pushing something\n")
    data = datasets.load(tmp_path)
    assert set(data.classes) == set(names)
    assert [clip.id[-6] for clip in data.clips if clip.labels == (1,)] == ["1", "3", "4"]
    assert {name: len(ids) for name, ids in subsets(data).items()} == {
        "train": 2, "validation": 1, "test": 1
    }  # fmt: skip


def test_columns_of_subsets_and_groups(tmp_path: Path) -> None:
    make(tmp_path, *ABCD)
    write(
        tmp_path, "labels.csv",
        "file,label,Split,Recording\na.mp4,run,train,x\nb.mp4,jump,Training,y\nc.mp4,run,val,z\n"
        "d.mp4,jump,TEST,x\n",
    )  # fmt: skip
    data = datasets.load(tmp_path)
    assert subsets(data) == {
        "train": ["a.mp4", "b.mp4"], "validation": ["c.mp4"], "test": ["d.mp4"]
    }  # fmt: skip
    assert [clip.group for clip in data.clips] == ["x", "y", "z", "x"]


def test_groups_csv_beside_a_table(tmp_path: Path) -> None:
    make(tmp_path, *ABCD[:2])
    write(tmp_path, "labels.csv", "path,label\na.mp4,run\nb.mp4,jump\n")
    write(tmp_path, "groups.csv", "clip,group\na.mp4,x\nb.mp4,x\n")
    assert [clip.group for clip in datasets.load(tmp_path).clips] == ["x", "x"]


def test_lists_of_subsets_beside_class_folders(tmp_path: Path) -> None:
    make(tmp_path, *(f"{label}/{n}.mp4" for label in ("run", "jump") for n in range(3)))
    write(tmp_path, "train.txt", "run/0.mp4\njump/0.mp4\n")
    write(tmp_path, "test.txt", "run/1.mp4\njump/1.mp4\n")
    data = datasets.load(tmp_path)
    assert data.classes == ("jump", "run")
    assert labels(data)["run/2.mp4"] == "run"
    assert subsets(data)["test"] == ["jump/1.mp4", "run/1.mp4"]


@pytest.mark.parametrize(
    "text",
    [
        "path,label\na.mp4,run|jump\nb.mp4,jump\n",
        "path,label\na.mp4,run;jump\nb.mp4,jump\n",
        "path,label\na.mp4,run\na.mp4,jump\nb.mp4,jump\nb.mp4,jump\n",
        "a.mp4 run|jump\nb.mp4 jump\n",
    ],
)
def test_several_labels_make_a_multi_label_set(tmp_path: Path, text: str) -> None:
    make(tmp_path, "a.mp4", "b.mp4")
    write(tmp_path, "labels.csv", text)
    data = datasets.load(tmp_path)
    assert data.multi_label
    assert {n: set(names.split("|")) for n, names in labels(data).items()} == {
        "a.mp4": {"run", "jump"}, "b.mp4": {"jump"}
    }  # fmt: skip


def test_a_table_may_be_given_with_clips_anywhere(tmp_path: Path) -> None:
    make(tmp_path, "x/one.mp4", "y/deep/two.mp4")
    file = write(
        tmp_path, "lists/my clips.csv", "path,label\n../x/one.mp4,run\nROOT/y/deep/two.mp4,jump\n"
    )
    data = datasets.load(str(file))
    assert labels(data) == {"x/one.mp4": "run", "y/deep/two.mp4": "jump"}
    assert [clip.path.is_file() for clip in data.clips] == [True, True]


def test_only_the_given_table_is_read(tmp_path: Path) -> None:
    make(tmp_path, *ABCD)
    write(tmp_path, "test.csv", "a.mp4,run\n")
    file = write(tmp_path, "train.csv", "b.mp4,run\nc.mp4,jump\n")
    assert labels(datasets.load(file)) == {"b.mp4": "run", "c.mp4": "jump"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("clipname,kind\na.mp4,run\nb.mp4,jump\n", "no column names the clips (columns: clipname,"),
        ("path,kind\na.mp4,run\nb.mp4,jump\n", "labels no clip (columns: path, kind)"),
        ("path,label\na.mp4,\nb.mp4,\n", "labels no clip"),
        ("path,label\n", "has no rows"),
        ("", "is empty"),
        ("path,label,label\na.mp4,run,run\n", "has two columns 'label'"),
        ("path,label\na.mp4,run, fast\n", "line 2 has 3 cells, but the header has 2"),
        ("path,label\n,run\n", "line 2 has no path"),
        ("path,label,split\na.mp4,run,later\n", "line 2 has the split 'later'"),
        ("path,label\na.mp4,run\nx.mp4,run\ny.mp4,run\n", "2 of 3 rows name no video"),
        ('path,label\na.mp4,"run\nb.mp4,jump\nc.mp4,run\n', "is not valid CSV"),
        ("path,label,start,end\na.mp4,run,0,1\na.mp4,jump,1,2\n", "cut the video into a clip"),
        ("path,label,group\na.mp4,run,x\na.mp4,run,y\n", "is in group y, but in x in line 2"),
        (b"path,label\na.mp4,d\xe9sert\n", "line 2 is not text in UTF-8"),
        ("path,label\na.mp4,run\0\n", "is not text"),
        ("path,label\na.mp4," + "x" * 200_000 + "\n", "line 2 is not valid CSV"),
        ("name,label\nsame,run\n", "is the name of 2 files (x/same.mp4, y/same.mp4)"),
    ],
)
def test_a_table_with_an_error_is_refused(tmp_path: Path, text: str | bytes, message: str) -> None:
    make(tmp_path, *ABCD)
    if "same" in str(text):
        make(tmp_path, "x/same.mp4", "y/same.mp4")
    file = write(tmp_path, "labels.csv", text)
    with pytest.raises(GlimpsesError, match=r"labels\.csv") as error:
        datasets.load(file)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("metadata.jsonl", '{"path": "a.mp4", "label": "x"}\nnonsense\n', "line 2 is not valid"),
        ("metadata.jsonl", "[1]\n", "line 1 is not an object"),
        ("train.json", "[" * 100_000, "nested too deeply"),
        ("train.json", "[1, 2]", "is not a list of objects"),
        ("train.json", '[{"length": 3}]', "no column names the clips"),
        ("metadata.json", '{"title": "Clips", "year": 2020}', "no column names the clips"),
        ("labels.json", '{"abc": {"label": "run"}}', "no column names the clips"),
        ("index.csv", "id,label\nabc,run\n", "none of the listed clips is below"),
    ],
)
def test_json_with_an_error_is_refused(tmp_path: Path, name: str, text: str, message: str) -> None:
    write(make(tmp_path, *ABCD), name, text)
    with pytest.raises(GlimpsesError, match=message):
        datasets.load(tmp_path)


def test_one_contradiction_is_refused(tmp_path: Path) -> None:
    ids = [f"{n:02}.mp4" for n in range(40)]
    make(tmp_path, *ids)
    rows = "".join(f"{id},{'run' if n % 2 else 'jump'}\n" for n, id in enumerate(ids))
    write(tmp_path, "labels.csv", f"path,label\n{rows}03.mp4,jump\n")
    with pytest.raises(GlimpsesError, match=r"line 42: 03\.mp4 is labelled 'run' and 'jump'"):
        datasets.load(tmp_path)


def test_a_clip_in_two_subsets_is_refused(tmp_path: Path) -> None:
    make(tmp_path, *ABCD)
    write(tmp_path, "train.csv", "path,label\na.mp4,run\nb.mp4,jump\n")
    write(tmp_path, "test.csv", "path,label\nc.mp4,run\nb.mp4,jump\n")
    with pytest.raises(GlimpsesError, match=r"b\.mp4 is in subset train, but in test"):
        datasets.load(tmp_path)


def test_missing_files_empty_labels_and_unlisted_clips_are_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    make(tmp_path, *ABCD, "e.mp4")
    write(
        tmp_path, "labels.csv",
        "path,label\na.mp4,run\nROOT/b.mp4,jump\ngone.mp4,run\n/nowhere/x.mp4,run\nc.mp4,\n",
    )  # fmt: skip
    assert labels(datasets.load(tmp_path)) == {"a.mp4": "run", "b.mp4": "jump"}
    for message in (
        "2 of 5 rows name no video that exists (line 4: gone.mp4); left out",
        "1 clip has no label (line 6: c.mp4); left out",
        "left out 2 videos in no table (d.mp4)",
    ):
        assert message in caplog.text


def test_a_label_in_test_only_is_refused_in_training(tmp_path: Path) -> None:
    make(tmp_path, *ABCD)
    write(tmp_path, "train.csv", "path,label\na.mp4,run\nb.mp4,jump\n")
    write(tmp_path, "test.csv", "path,label\nc.mp4,run\nd.mp4,dive\n")
    data = datasets.load(tmp_path)
    with pytest.raises(GlimpsesError, match="class 'dive' has no training clips"):
        datasets.split(data)


def test_a_class_with_one_clip_is_named(tmp_path: Path) -> None:
    make(tmp_path, *(f"{n}.mp4" for n in range(7)))
    rows = "".join(f"{n}.mp4,{'run' if n < 6 else 'dive'}\n" for n in range(7))
    write(tmp_path, "labels.csv", f"path,label\n{rows}")
    with pytest.raises(GlimpsesError, match="class 'dive' come from 1 group"):
        datasets.split(datasets.load(tmp_path))


def test_a_literal_path_is_not_another_clip_of_the_same_name(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    make(tmp_path, "train/a.mp4", "train/b.mp4", "val/c.mp4")
    write(tmp_path, "train.csv", "train/a.mp4,0\ntrain/b.mp4,1\n")
    write(tmp_path, "val.csv", "val/c.mp4,0\nval/a.mp4,1\n")
    assert set(labels(datasets.load(tmp_path))) == {"train/a.mp4", "train/b.mp4", "val/c.mp4"}
    assert "val/a.mp4" in caplog.text


def test_a_table_of_another_kind_beside_class_folders_is_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    make(tmp_path, "run/a.mp4", "jump/b.mp4")
    write(tmp_path, "train.csv", "epoch,loss\n1,2.0\n")
    data = datasets.load(tmp_path)
    assert (data.layout, data.classes) == ("folder", ("jump", "run"))
    assert "this file is left out" in caplog.text


def test_class_names_hold_no_control_characters(tmp_path: Path) -> None:
    make(tmp_path, *ABCD[:2])
    write(tmp_path, "labels.csv", 'path,label\na.mp4,"ru\x1b[31mn\n fast"\nb.mp4,3.0\n')
    assert datasets.load(tmp_path).classes == ("3", "ru[31mn fast")


def test_a_missing_class_name_is_told(tmp_path: Path) -> None:
    make(tmp_path, *ABCD[:2])
    write(tmp_path, "labels.csv", "a.mp4,0\nb.mp4,2\n")
    write(tmp_path, "classes.txt", "run\njump\n")
    with pytest.raises(GlimpsesError, match="line 2 has class 2, but the list of 2 class names"):
        datasets.load(tmp_path)


def test_a_huge_table_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_rows, "_MAX_BYTES", 10)
    make(tmp_path, *ABCD)
    with pytest.raises(GlimpsesError, match=r"labels\.csv: has 22 B, more than a table"):
        datasets.load(write(tmp_path, "labels.csv", "path,label\na.mp4,jump\n"))


def test_the_same_clips_have_the_same_ids_from_any_table(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    make(tmp_path, *ABCD)
    write(tmp_path, "labels.csv", "path,label\na.mp4,run\n./b.mp4,jump\nROOT/c.mp4,run\n")
    data = datasets.load(tmp_path)
    assert [clip.id for clip in data.clips] == ["a.mp4", "b.mp4", "c.mp4"]
    assert data.root == tmp_path
