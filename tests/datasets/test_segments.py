"""Tests of long recordings with tables of segments."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from glimpses import datasets, video
from glimpses.datasets import ActionDataset, Clip
from glimpses.datasets.copies import join_copies
from glimpses.features import extract_clips
from glimpses.segments import FORMATS, Segment, write_segments
from glimpses.utils.errors import GlimpsesError
from tests.datasets.trees import make
from tests.fakes import GreyBackbone

HEADER = "file,start,end,label\n"


def load(root: Path, table: str, *files: str, **options: str) -> ActionDataset:
    make(root, *(files or ("a.mp4",)))
    (root / "segments.csv").write_text(HEADER + table)
    return datasets.load(root, **options)  # type: ignore[arg-type]


def rows(data: ActionDataset) -> list[tuple[str, str]]:
    return [(clip.id, "|".join(data.classes[n] for n in clip.labels)) for clip in data.clips]


def test_segments_and_the_time_between_them(tmp_path: Path) -> None:
    data = load(tmp_path, "a.mp4,1,2.5,run\na.mp4,2.5,4,jump\na.mp4,6,7,run\n")
    assert (data.layout, data.classes, data.multi_label) == (
        "segments", ("background", "jump", "run"), False,
    )  # fmt: skip
    assert rows(data) == [
        ("a.mp4#t=0,1", "background"), ("a.mp4#t=1,2.5", "run"), ("a.mp4#t=2.5,4", "jump"),
        ("a.mp4#t=4,6", "background"), ("a.mp4#t=6,7", "run"), ("a.mp4#t=7", "background"),
    ]  # fmt: skip
    assert {clip.group for clip in data.clips} == {clip.recording for clip in data.clips}
    assert data.grouped
    assert data.clips[1].path == tmp_path / "a.mp4"
    assert (data.clips[1].start, data.clips[1].end) == (1, 2.5)
    assert len(data.segments) == 3


def test_unlabelled_time_can_be_left_out(tmp_path: Path) -> None:
    data = load(tmp_path, "a.mp4,1,2,run\na.mp4,3,4,jump\n", unlabelled="ignore")
    assert rows(data) == [("a.mp4#t=1,2", "run"), ("a.mp4#t=3,4", "jump")]
    assert data.classes == ("jump", "run")


def test_background_has_the_name_that_the_table_uses(tmp_path: Path) -> None:
    data = load(tmp_path, "a.mp4,1,2,run\nb.mp4,0,9,None\n", "a.mp4", "b.mp4")
    assert data.classes == ("None", "run")
    assert rows(data)[0] == ("a.mp4#t=0,1", "None")
    assert [one.label for one in data.segments] == ["run"]


def test_a_short_overlap_counts_for_the_later_segment(tmp_path: Path) -> None:
    data = load(tmp_path, "a.mp4,0,10.1,run\na.mp4,10,20,jump\n")
    assert not data.multi_label
    assert rows(data)[:2] == [("a.mp4#t=0,10", "run"), ("a.mp4#t=10,20", "jump")]


def test_long_overlaps_make_the_set_multi_label(tmp_path: Path) -> None:
    data = load(tmp_path, "a.mp4,0,10,run\na.mp4,5,15,shout\na.mp4,15,16,none\n")
    assert data.multi_label
    assert data.classes == ("run", "shout")
    assert rows(data) == [
        ("a.mp4#t=0,5", "run"), ("a.mp4#t=10,15", "shout"), ("a.mp4#t=15,16", ""),
        ("a.mp4#t=16", ""), ("a.mp4#t=5,10", "run|shout"),
    ]  # fmt: skip


def test_an_instant_is_a_second_long(tmp_path: Path) -> None:
    data = load(tmp_path, "a.mp4,3,3,goal\na.mp4,0.2,0.2,goal\n")
    assert ("a.mp4#t=2.5,3.5", "goal") in rows(data)
    assert ("a.mp4#t=0,0.7", "goal") in rows(data)
    assert data.segments[0].duration == 0


# The ending of Audacity's labels, .txt, does not identify them.
@pytest.mark.parametrize("format", sorted({*FORMATS} - {"audacity"}))
def test_every_format_of_segments(tmp_path: Path, format: str) -> None:
    video.write(tmp_path / "a.mp4", [np.zeros((16, 16, 3), np.uint8)] * 50, fps=25)
    ending = {"elan": "eaf", "vtt": "vtt", "srt": "srt", "csv": "csv", "via": "csv"}.get(format)
    segment = Segment(file="a.mp4", start=0.4, end=1.2, label="run")
    name = (
        f"segments.{ending or 'json'}" if format not in ("vtt", "srt") else f"segments/a.{ending}"
    )
    (tmp_path / "segments").mkdir()
    write_segments(tmp_path / name, [segment], format=format, fps=25)
    data = datasets.load(tmp_path)
    clip = next(clip for clip in data.clips if data.classes[clip.labels[0]] == "run")
    assert (clip.start, clip.end) == pytest.approx((0.4, 1.2))


def test_names_of_recordings(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    table = "b/x.mp4,0,1,run\ny,0,1,run\n/elsewhere/z.mp4,0,1,run\nlost.mp4,0,1,run\n"
    data = load(tmp_path, table, "b/x.mp4", "y.mkv", "c/z.mp4", "spare.mp4")
    assert {clip.recording for clip in data.clips} == {"b/x.mp4", "y.mkv", "c/z.mp4"}
    assert "names lost.mp4" in caplog.text
    assert "spare.mp4" in caplog.text
    with pytest.raises(GlimpsesError, match=r"x: may be b/x.mp4 or x.mp4"):
        load(tmp_path, "x,0,1,run\n", "x.mp4")
    with pytest.raises(GlimpsesError, match=r"segments.csv: names no recording .*such as nobody"):
        load(tmp_path, "nobody,0,1,run\n")


def test_groups_and_splits_are_of_recordings(tmp_path: Path) -> None:
    (tmp_path / "splits").mkdir()
    (tmp_path / "splits" / "train.txt").write_text("a.mp4\nb.mp4\n")
    (tmp_path / "splits" / "test.txt").write_text("c.mp4\n")
    (tmp_path / "groups.csv").write_text("clip,group\na.mp4,day 1\nb.mp4,day 1\n")
    names = ("a.mp4", "b.mp4", "c.mp4")
    data = load(tmp_path, "".join(f"{name},1,2,run\n" for name in names), *names)
    assert {clip.group for clip in data.clips} == {"day 1", "c.mp4"}
    assert {id.partition("#")[0] for id in data.splits["listed"]["train"]} == {"a.mp4", "b.mp4"}
    assert len(data.splits["listed"]["test"]) == 3


def test_folds_keep_recordings_whole(tmp_path: Path) -> None:
    names = [f"{number}.mp4" for number in range(8)]
    table = "".join(f"{name},1,2,run\n{name},3,4,jump\n" for name in names)
    split = datasets.split(load(tmp_path, table, *names))
    sides = [
        {clip.recording for clip in part} for part in (split.train, split.validation, split.test)
    ]
    assert all(sides)
    assert sum(map(len, sides)) == len(set().union(*sides)) == 8


def test_copies_of_a_recording_stay_together(tmp_path: Path) -> None:
    data = load(tmp_path, "a.mp4,1,2,run\nb.mp4,3,4,jump\n", "a.mp4", "b.mp4")
    joined = join_copies(data, dict.fromkeys((clip.id for clip in data.clips), "same"))
    assert {clip.group for clip in joined.clips} == {"a.mp4"}
    alone = replace_group(data, "a.mp4")
    assert join_copies(alone, dict.fromkeys((clip.id for clip in alone.clips), "one")) is alone


def replace_group(data: ActionDataset, recording: str) -> ActionDataset:
    clips = tuple(clip for clip in data.clips if clip.recording == recording)
    return ActionDataset(data.root, data.classes, clips, layout="segments")


def test_segments_share_the_features_of_their_file(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # Frame n has grey level n.
    frames = (np.full((32, 32, 3), level, np.uint8) for level in range(250))
    video.write(tmp_path / "a.avi", frames, fps=10)
    (tmp_path / "segments.csv").write_text(
        HEADER + "a.avi,1,2,run\na.avi,20.05,20.08,blink\na.avi,24,30,run\na.avi,70,80,lost\n"
    )
    backbone = GreyBackbone()
    data = datasets.load(tmp_path)
    with caplog.at_level(logging.WARNING):
        result = extract_clips(
            data.clips, backbone, fps=10, feature_dir=tmp_path / "store"  # type: ignore[arg-type]
        )  # fmt: skip
    assert backbone.frames == 250

    def levels(id: str) -> list[float]:
        part = result.clips[id]
        return part.block(0, len(part))[:, 0, 0].float().tolist()

    assert levels("a.avi#t=1,2") == pytest.approx(range(10, 20), abs=3)
    assert result.clips["a.avi#t=1,2"].times == pytest.approx(np.arange(10, 20) / 10)
    assert levels("a.avi#t=20.05,20.08") == pytest.approx([200], abs=3)
    assert len(result.clips["a.avi#t=24,30"]) == 10
    assert list(result.failures) == ["a.avi#t=30,70", "a.avi#t=70,80"]
    assert "has no frame from 70 s to 80 s, since it ends at 24.9 s" in caplog.text
    # The end of the file has no gap after it.
    assert "a.avi#t=80" not in result.clips
    # Frame 200 is in two of them.
    assert sum(map(len, result.clips.values())) == 250 + 1


def test_a_clip_is_its_own_recording() -> None:
    assert Clip("run/a#t=1.mp4", Path("a"), (0,), "g").recording == "run/a#t=1.mp4"
