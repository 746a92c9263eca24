"""Tests of `glimpses check`: it decodes every clip and names the broken ones."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from glimpses import cli, video
from glimpses.datasets.check import check
from glimpses.utils.errors import GlimpsesError


def clip(path: Path, frames: int = 12, fps: float = 10.0, width: int = 32, seed: int = 0) -> Path:
    noise = np.random.default_rng(seed).integers(0, 256, (frames, 32, width, 3), np.uint8)
    video.write(path, noise, fps=fps)
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    root = tmp_path / "data"
    clip(root / "jump" / "a.avi", frames=12)
    clip(root / "jump" / "b.mp4", frames=20, fps=25, width=64, seed=1)
    clip(root / "run" / "c.avi", frames=9, seed=2)
    return root


def test_intact_folder(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = check(data)
    assert report.ok
    assert [(c.clip, c.label, c.frames, c.fps, c.width, c.codec) for c in report.clips] == [
        ("jump/a.avi", "jump", 12, 10, 32, "mpeg4"),
        ("jump/b.mp4", "jump", 20, 25, 64, "h264"),
        ("run/c.avi", "run", 9, 10, 32, "mpeg4"),
    ]
    assert cli.run(["check", str(data)]) == 0
    shown = capsys.readouterr().out
    for text in ("jump", "run", "2 classes", "32x32 to 64x32", "10 to 25", "41"):
        assert text in shown


def test_broken_clips_are_named(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = clip(data / "run" / "cut.avi", frames=60, seed=3)
    whole.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    (data / "run" / "empty.mp4").touch()
    (data / "jump" / "notes.mov").write_text("no video\n" * 100)
    report = check(data)
    assert not report.ok
    assert {c.clip for c in report.broken} == {
        "run/cut.avi",
        "run/empty.mp4",
        "jump/notes.mov",
    }
    problems = {c.clip: c.problem for c in report.broken}
    assert problems["run/empty.mp4"] == "is empty"
    assert str(problems["run/cut.avi"]).startswith("breaks off at ")
    assert cli.run(["check", str(data)]) == 1
    out, error = capsys.readouterr()
    assert "run/cut.avi" in out
    assert error == f"error: {data}: 3 of 6 clips are broken; replace or remove them\n"
    assert cli.run(["check", str(data), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["broken"] == problems


def test_complaint_about_one_broken_clip_is_singular(data: Path) -> None:
    (data / "run" / "empty.mp4").touch()
    assert check(data).complaints == (f"{data}: 1 of 4 clips is broken; replace or remove it",)


def test_reads_lists_as_training_does(data: Path, caplog: pytest.LogCaptureFixture) -> None:
    listed = data / "groups.csv"
    listed.write_text("clip,label,group\na.avi,jump,x\n")
    (data / "splits").mkdir()
    (data / "splits" / "train.txt").write_text("run/c.avi\nc.avi\n")
    assert check(data).ok
    for warning in (
        f"{listed}: 1 name matches no clip (a.avi); name a clip by its path below the folder, such "
        "as jump/a.avi",
        f"{listed}: lists none of the clips, so each clip counts as its own group",
        f"{data / 'splits' / 'train.txt'}: 1 name matches no clip (c.avi)",
    ):
        assert warning in caplog.text
    assert "add a groups.csv" not in caplog.text
    listed.write_text("clip,label,group\njump/a.avi,run,x\n")
    with pytest.raises(GlimpsesError, match="the clip is in the folder of another class"):
        check(data)


def test_warns_and_advises_when_groups_are_unknown(
    data: Path, caplog: pytest.LogCaptureFixture
) -> None:
    check(data)
    assert f"{data}: has no groups, so each clip counts as its own group" in caplog.text
    assert "add a groups.csv (clip,label,group)" in caplog.text


def test_clip_with_several_actions_counts_in_each_class(data: Path) -> None:
    (data / "groups.csv").write_text("clip,label,group\njump/a.avi,jump|run,x\n")
    assert check(data).clips[0].label == "jump|run"


def test_reports_identical_files(data: Path) -> None:
    shutil.copy(data / "run" / "c.avi", data / "jump" / "z.avi")
    report = check(data)
    assert report.ok
    assert report.duplicates == (("jump/z.avi", "run/c.avi"),)


def test_single_file_and_loose_files(data: Path, tmp_path: Path) -> None:
    assert [c.label for c in check(data / "run" / "c.avi").clips] == ["-"]
    assert [c.clip for c in check(data / "run").clips] == ["c.avi"]
    clip(data / "loose.avi")
    assert [c.clip for c in check(data).clips][:1] == ["loose.avi"]
    (tmp_path / "nothing").mkdir()
    with pytest.raises(GlimpsesError, match="no class folder"):
        check(tmp_path / "nothing")
    with pytest.raises(GlimpsesError, match=r"absent\.mp4: no such file"):
        check(tmp_path / "absent.mp4")
