"""Tests of `glimpses check`: broken clips, refusals of `train`, sizes, and the next command."""

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest

from glimpses import cli, datasets, train, video
from glimpses.check import CheckReport, ClassSize, check
from glimpses.utils.errors import GlimpsesError
from tests.check.scenes import moving_scene


def clip(path: Path, frames: int = 12, fps: float = 10.0, width: int = 32, seed: int = 0) -> Path:
    noise = np.random.default_rng(seed).integers(0, 256, (frames, 32, width, 3), np.uint8)
    video.write(path, noise, fps=fps)
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Return a data set with the fewest clips that `train` accepts."""
    root = tmp_path / "data"
    clip(root / "jump" / "a.avi", frames=12)
    clip(root / "jump" / "b.mp4", frames=20, fps=25, width=64, seed=1)
    for seed, name in enumerate(("jump/x.avi", "run/c.avi", "run/d.avi", "run/e.avi"), start=2):
        clip(root / name, frames=9, seed=seed)
    return root


def test_intact_folder(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = check(data)
    assert report.ok
    assert [(c.clip, c.label, c.frames, c.fps, c.width, c.codec) for c in report.clips] == [
        ("jump/a.avi", "jump", 12, 10, 32, "mpeg4"),
        ("jump/b.mp4", "jump", 20, 25, 64, "h264"),
        *[
            (name, name.split("/")[0], 9, 10, 32, "mpeg4")
            for name in ("jump/x.avi", "run/c.avi", "run/d.avi", "run/e.avi")
        ],
    ]
    assert cli.run(["check", str(data)]) == 0
    shown = capsys.readouterr().out
    for text in ("jump", "run", "2 classes", "32x32 to 64x32", "10 to 25", "0.8 to 1.2"):
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
    assert error == f"error: {data}: 3 of 9 clips are broken; replace or remove them\n"
    assert cli.run(["check", str(data), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["broken"] == problems


def test_complaint_about_one_broken_clip_is_singular(data: Path) -> None:
    (data / "run" / "empty.mp4").touch()
    assert check(data).complaints == (f"{data}: 1 of 7 clips is broken; replace or remove it",)


def refusal(data: Path, tmp_path: Path) -> str:
    """Return the message with which training ends."""
    with pytest.raises(GlimpsesError) as error:
        train(data, out=tmp_path / "run")
    return str(error.value)


def test_reads_lists_as_training_does(data: Path, caplog: pytest.LogCaptureFixture) -> None:
    listed = data / "groups.csv"
    listed.write_text("clip,label,group\na.avi,jump,x\n")
    report = check(data)
    for warning in (
        f"{listed}: 1 name matches no clip (a.avi); name a clip by its path below the folder, such "
        "as jump/a.avi",
        f"{listed}: lists none of the clips, so each clip counts as its own group",
    ):
        assert warning in caplog.text
    assert "add a groups.csv" not in caplog.text
    assert report.ok
    assert not report.grouped


def test_says_what_training_refuses(data: Path, tmp_path: Path) -> None:
    groups, splits = data / "groups.csv", data / "splits"
    groups.write_text("clip,label,group\njump/a.avi,run,x\n")
    assert check(data).refusals == (refusal(data, tmp_path),)
    groups.write_text("clip,label,group\njump/a.avi,jump,x\njump/b.mp4,jump,x\n")
    assert check(data).refusals == (refusal(data, tmp_path),)
    groups.unlink()
    splits.mkdir()
    (splits / "train.txt").write_text("run/c.avi\njump/a.avi\n")
    assert check(data).refusals == (refusal(data, tmp_path),)
    shutil.rmtree(splits)
    assert check(data).refusals == ()
    shutil.rmtree(data / "run")
    (only,) = check(data).refusals
    assert only == refusal(data, tmp_path)
    assert "has only one class, jump" in only


def test_flat_folder_is_decoded_and_refused(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = check(data / "run")
    assert [clip.clip for clip in report.clips] == ["c.avi", "d.avi", "e.avi"]
    assert report.refusals == (refusal(data / "run", tmp_path),)
    assert report.next_command is None
    assert cli.run(["check", str(data / "run")]) == 1
    assert f"error: {report.refusals[0]}" in capsys.readouterr().err


def test_contradicting_copies_are_refused(data: Path, tmp_path: Path) -> None:
    shutil.copy(data / "run" / "c.avi", data / "jump" / "z.avi")
    report = check(data)
    assert report.duplicates == (("jump/z.avi", "run/c.avi"),)
    assert report.refusals == (refusal(data, tmp_path),)
    assert "same file with different labels" in report.refusals[0]
    (pair,) = report.similar
    assert (pair.contradicts, pair.copy, pair.similarity) == (True, True, 1.0)


def test_class_without_a_readable_clip_is_refused(data: Path) -> None:
    for file in (data / "run").iterdir():
        file.write_text("no video")
    (message,) = check(data).refusals
    assert message.startswith(f"{data}: no clip of class 'run' can be read")


def test_sizes_of_classes(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (data / "run" / "e.avi").unlink()
    clip(data / "jump" / "y.avi", seed=7)
    (data / "groups.csv").write_text(
        "clip,label,group\njump/a.avi,jump,1\njump/b.mp4,jump,2\njump/x.avi,jump,2\n"
        "jump/y.avi,jump,3\nrun/c.avi,run,4\nrun/d.avi,run,5\n"
    )
    report = check(data)
    assert [(size.name, size.clips, size.recordings) for size in report.classes] == [
        ("jump", 4, 3),
        ("run", 2, 2),
    ]
    assert report.imbalance == 2
    assert report.recordings == 5
    assert cli.run(["check", str(data)]) == 1
    shown = " ".join(capsys.readouterr().out.split())
    for text in (
        "imbalance 2.0: jump has 4 clips, run has 2",
        "fewer than 15 clips: jump (4), run (2); a model cannot learn",
        "fewer than 5 recordings: jump (3), run (2); a test holds",
    ):
        assert text in shown


def test_next_command_is_quoted(data: Path) -> None:
    spaced = data.rename(data.parent / "my clips")
    command = check(spaced).next_command
    assert command is not None
    assert shlex.split(command) == ["glimpses", "train", str(spaced), "--out", "runs/my clips"]


def test_warns_and_advises_when_groups_are_unknown(
    data: Path, caplog: pytest.LogCaptureFixture
) -> None:
    check(data)
    assert f"{data}: has no groups, so each clip counts as its own group" in caplog.text
    assert "add a groups.csv (clip,label,group)" in caplog.text


def test_clip_with_several_actions_counts_in_each_class(data: Path) -> None:
    (data / "groups.csv").write_text("clip,label,group\njump/a.avi,jump|run,x\n")
    report = check(data)
    assert report.clips[0].label == "jump|run"
    assert [size.clips for size in report.classes] == [3, 4]


def test_suggested_groups_keep_cuts_of_a_recording_together(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scene = moving_scene(seed=5)
    for name, start in (("f.mp4", 0), ("g.mp4", 5), ("h.mp4", 10)):
        video.write(data / "run" / name, scene[start : start + 20], fps=10)
    report = check(data)
    assert report.recordings == 6 + 1
    assert all(pair.copy and not pair.contradicts for pair in report.similar)
    command = report.next_command
    assert command is not None
    assert cli.run(shlex.split(command)[1:]) == 0
    shown = capsys.readouterr().out
    assert "run/f.mp4 and run/g.mp4 (copy" in shown
    assert "by their pictures, these 9 clips are 7 recordings" in shown
    dataset = datasets.load(data)
    group = {clip.id: clip.group for clip in dataset.clips}
    assert group["run/f.mp4"] == group["run/g.mp4"] == group["run/h.mp4"]
    assert len(set(group.values())) == 7
    again = check(data)
    assert not again.similar
    assert again.next_command == f"glimpses train {data} --out runs/data"


def test_single_file_and_folders_without_clips(data: Path, tmp_path: Path) -> None:
    report = check(data / "run" / "c.avi")
    assert [clip.label for clip in report.clips] == ["-"]
    assert report.ok
    (tmp_path / "nothing").mkdir()
    with pytest.raises(GlimpsesError, match="no class folder"):
        check(tmp_path / "nothing")
    with pytest.raises(GlimpsesError, match=r"absent\.mp4: no such file"):
        check(tmp_path / "absent.mp4")


def test_a_table_of_labels_is_checked_as_a_folder_is(data: Path) -> None:
    labels = data / "labels.csv"
    clips = datasets.load(data).clips
    rows = [f"{clip.path},{clip.id.partition('/')[0]}" for clip in clips]
    labels.write_text("path,label\n" + "\n".join(rows))
    report = check(labels)
    labels.rename(data.parent / "elsewhere.csv")
    of_folder = check(data)
    assert report.clips == of_folder.clips
    assert report.refusals == of_folder.refusals == ()
    labels.write_text("path,label\nx.mp4,jump\n")
    with pytest.raises(GlimpsesError, match="name no video"):
        check(labels)


def test_next_command_for_a_table_of_labels(data: Path) -> None:
    report = CheckReport(data / "labels.csv", (), classes=(ClassSize("run", 20, 20),) * 2)
    (data / "labels.csv").touch()
    assert report.next_command == f"glimpses train {data / 'labels.csv'} --out runs/data"
