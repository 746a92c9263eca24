"""Tests of progress: lines for a log, at the times of an injected clock, and bars."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from glimpses.utils import progress
from glimpses.utils.progress import LineBar, format_duration


class Clock:
    """A clock that stands still until it is set."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def lines() -> list[str]:
    return []


def line_bar(lines: list[str], total: float, done: float = 0) -> tuple[LineBar, Clock]:
    clock = Clock()
    return LineBar("reading", total, done, write=lines.append, clock=clock), clock


def test_lines_have_counts_and_an_estimate_and_become_rarer(lines: list[str]) -> None:
    bar, clock = line_bar(lines, total=300)
    for _ in range(150):
        clock.now += 0.2
        bar.advance()
    # 5 steps a second: 150 of 300 after 30 s, so as long again.
    assert lines == [
        "reading: 10 of 300 (3%), 2 s elapsed, about 58 s remaining",
        "reading: 60 of 300 (20%), 12 s elapsed, about 48 s remaining",
        "reading: 110 of 300 (37%), 22 s elapsed, about 38 s remaining",
    ]
    for _ in range(150):
        clock.now += 1
        bar.advance()
    bar.finish(quiet=True)
    assert lines[-1] == "reading: 300 of 300 in 3:00"
    # Every 10 s until 102 s, then at 113, 125, 138, 152 and 168 s.
    assert len(lines) == 3 + 8 + 5 + 1


def test_a_long_step_is_reported_without_an_advance(lines: list[str]) -> None:
    bar, clock = line_bar(lines, total=2)
    for _ in range(25):
        clock.now += 1
        bar.tick()
    assert lines == [f"reading: 0 of 2, {seconds} s elapsed" for seconds in (2, 12, 22)]


def test_estimate_leaves_out_steps_of_an_earlier_process(lines: list[str]) -> None:
    bar, clock = line_bar(lines, total=100, done=80)
    clock.now += 10
    bar.advance(10)
    assert lines == ["reading: 90 of 100 (90%), 10 s elapsed, about 10 s remaining"]


def test_short_work_prints_nothing_if_quiet(lines: list[str]) -> None:
    bar, clock = line_bar(lines, total=2)
    clock.now += 1.9
    bar.advance(2)
    bar.finish(quiet=True)
    assert lines == []
    bar.finish(quiet=False)
    assert lines == ["reading: 2 of 2 in 2 s"]


def test_own_lines_replace_the_next_regular_one(lines: list[str]) -> None:
    bar, clock = line_bar(lines, total=100)
    bar.note("epoch 1")
    clock.now += 3
    bar.advance()
    bar.line("epoch 1 of 50: fine")
    clock.now += 9
    bar.advance()
    clock.now += 1
    bar.advance()
    assert lines == [
        "reading: 1 of 100 (1%), 3 s elapsed, about 4:57 remaining, epoch 1",
        "epoch 1 of 50: fine",
        "reading: 3 of 100 (3%), 13 s elapsed, about 7:00 remaining, epoch 1",
    ]


def test_unknown_total_has_no_share(lines: list[str]) -> None:
    bar, clock = line_bar(lines, total=0)
    clock.now += 4
    bar.advance(7)
    assert lines == ["reading: 7, 4 s elapsed"]


def test_a_single_step_has_no_count(lines: list[str]) -> None:
    bar, clock = line_bar(lines, total=1)
    clock.now += 4
    bar.tick()
    bar.finish(quiet=True)
    assert lines == ["reading, 4 s elapsed", "reading: done in 4 s"]


def test_durations() -> None:
    texts = [format_duration(seconds) for seconds in (0.4, 59.6, 60, 125, 3599.6, 3600, 36061)]
    assert texts == ["0 s", "1:00", "1:00", "2:05", "1:00:00", "1:00:00", "10:01:01"]


def test_without_a_terminal_the_last_line_goes_to_standard_error(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with progress.bar("reading", 3) as bar:
        bar.advance(3)
    assert capsys.readouterr().err == "reading: 3 of 3 in 0 s\n"
    with progress.bar("reading", 3, transient=True) as bar:
        bar.advance(3)
    assert capsys.readouterr().err == ""


def test_failed_work_is_not_called_done(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="broken"), progress.bar("reading", 3):
        raise ValueError("broken")
    assert capsys.readouterr().err == ""


def test_a_terminal_shows_labelled_clocks(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=160, color_system=None)
    monkeypatch.setattr(progress, "_console", console)
    with progress.bar("reading", 3) as bar:
        bar.advance()
        bar.note("epoch 1")
        bar.line("epoch 1 of 3: [fine]")
        bar.advance(2)
    shown = screen.getvalue()
    assert "epoch 1 of 3: [fine]" in shown
    assert "3/3 0 s elapsed epoch 1" in shown


def test_long_bars_fit_a_narrow_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=80, color_system=None)
    monkeypatch.setattr(progress, "_console", console)
    with progress.bar("extracting efficientnet_lite0:head+16:7", 1360) as bar:
        bar.advance(1360)
    last = screen.getvalue().splitlines()[-2:]
    assert any("head+16:7" in line and "1360/1360 0 s elapsed" in line for line in last)
