"""Tests of `glimpses check` on tables of segments: every planted error is found, no other one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from glimpses import cli, video
from glimpses.check import CheckReport, check
from glimpses.check.segment_issues import find_overlaps
from glimpses.segments import Segment


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with four recordings of 12 s at 5 fps."""
    root = tmp_path_factory.mktemp("recordings")
    for seed, name in enumerate(("a.avi", "b.avi", "c.avi", "d.avi")):
        noise = np.random.default_rng(seed).integers(0, 256, (60, 32, 32, 3), np.uint8)
        video.write(root / name, noise, fps=5)
    return root


def checked(root: Path, rows: str, header: str = "file,start,end,label") -> CheckReport:
    (root / "segments.csv").write_text(f"{header}\n{rows}")
    return check(root)


GOOD = "".join(f"{name}.avi,1,9,run\n{name}.avi,9,11.5,jump\n" for name in "abcd")


def test_a_good_table(recordings: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = checked(recordings, GOOD)
    assert report.ok, report.complaints
    issues = report.segment_issues
    assert issues is not None
    assert (issues.problems, issues.overlaps) == ((), ())
    # The time of each class, and the remainder of four times 12 s.
    assert {one.name: one.seconds for one in issues.times} == {"jump": 10, "run": 32}
    assert issues.background == pytest.approx(48 - 42)
    assert [one.name for one in issues.little] == ["jump"]
    assert cli.run(["check", str(recordings)]) == 0
    out = capsys.readouterr().out
    assert "little labelled time: jump (10.0 s)" in out
    assert "unlabelled" in out


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        ("a.avi,11,80,run\n", "run from 11 to 80 s is outside the file, which has 12.0 s"),
        ("lost.avi,1,2,run\n", "names lost.avi, which is not there"),
    ],
)
def test_one_wrong_row(
    recordings: Path, rows: str, problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    report = checked(recordings, GOOD + rows)
    assert len(report.complaints) == 1
    assert problem in report.complaints[0]
    assert cli.run(["check", str(recordings)]) == 1
    assert problem in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(("factor", "unit"), [(5, "frame numbers"), (1000, "milliseconds")])
def test_times_in_another_unit(recordings: Path, factor: int, unit: str) -> None:
    rows = f"a.avi,{4 * factor},{9 * factor},run\na.avi,{9 * factor},{11 * factor},jump\n"
    others = "".join(row + "\n" for row in GOOD.splitlines() if not row.startswith("a"))
    report = checked(recordings, rows + others)
    assert len(report.complaints) == 1
    assert f"a.avi: its times look like {unit}: the last is {11 * factor}" in report.complaints[0]
    assert f"divide them by {factor}" in report.complaints[0]


def test_frames_of_another_rate(recordings: Path) -> None:
    header = "file,start,end,label,first_frame,stop_frame"
    rows = "".join(f"{name}.avi,2,8,run,50,200\n{name}.avi,9,11,jump,,\n" for name in "abc")
    report = checked(recordings, rows + "d.avi,2,8,run,10,40\n", header)
    wrong = "frames and times of its segments are those of 25 fps, and the file has 5"
    assert [line.partition(": ")[2].partition(";")[0] for line in report.complaints] == [wrong] * 3


def test_overlaps(recordings: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = checked(recordings, GOOD + "b.avi,8.9,9.2,jump\n")
    assert report.ok
    assert report.segment_issues is not None
    assert report.segment_issues.overlaps == ("b.avi: run and jump overlap, 8.9 to 9 s",)


def test_segments_that_touch_do_not_overlap() -> None:
    def segment(start: float, end: float, label: str) -> Segment:
        return Segment(file="a", start=start, end=end, label=label)

    rows = [segment(0, 5, "x"), segment(5, 6, "y"), segment(1, 2, "x"), segment(3, 3, "z")]
    assert find_overlaps(rows) == []
    assert find_overlaps([segment(0, 10, "x"), segment(2, 3, "y"), segment(2, 4, "z")]) == [
        "x and y overlap, 2 to 3 s", "x and z overlap, 2 to 4 s", "y and z overlap, 2 to 3 s",
    ]  # fmt: skip
