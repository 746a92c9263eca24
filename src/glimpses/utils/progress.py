"""Progress on standard error: bars on a terminal, lines elsewhere, and a status line."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.live import Live
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
)
from rich.table import Column
from rich.text import Text

_console = Console(stderr=True)

# Seconds before the first line without a terminal, and from one line to the next; in long work, as
# a share of the time so far. Work that takes less than the first needs no report.
_FIRST_LINE, _LINE_EVERY, _SHARE = 2.0, 10.0, 0.1


class Bar(Protocol):
    """Progress bar, as the code that does the work sees it."""

    def advance(self, steps: float = 1) -> None:
        """Mark `steps` more steps as done."""

    def note(self, text: str) -> None:
        """Show a text after the bar, in place of the previous one."""

    def line(self, text: str) -> None:
        """Print a line that stays."""


class _Times(ProgressColumn):
    """Column of the time so far and the estimate of the rest."""

    max_refresh = 0.5

    def __init__(self) -> None:
        super().__init__(Column(no_wrap=True))

    def render(self, task: Task) -> Text:
        elapsed = task.finished_time if task.finished else task.elapsed
        text = f"{format_duration(elapsed or 0)} elapsed"
        if task.time_remaining and not task.finished:
            text += f", {format_duration(task.time_remaining)} remaining"
        return Text(text)


class _RichBar:
    def __init__(self, progress: Progress, text: str, total: float, done: float) -> None:
        self._progress = progress
        self._task = progress.add_task(text, total=total, note="")
        progress.update(self._task, completed=done)

    def advance(self, steps: float = 1) -> None:
        self._progress.advance(self._task, steps)

    def note(self, text: str) -> None:
        self._progress.update(self._task, note=text)

    def line(self, text: str) -> None:
        self._progress.console.print(Text(text))


class LineBar:
    """Progress as lines of text with counts and times, for a log or a pipe.

    The first line follows after two seconds, the next ones at least ten seconds apart. In work of
    hours they become rarer.

    Args:
        text: a short description of the work.
        total: number of steps; 0 if unknown.
        done: number of steps that an earlier process has done.
        write: prints one line.
        clock: returns the time in seconds.
    """

    def __init__(
        self, text: str, total: float, done: float = 0, *,
        write: Callable[[str], None], clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._text, self._total, self._done, self._before = text, total, done, done
        self._write, self._clock = write, clock
        self._note = ""
        self._start = clock()
        self._next_line = self._start + _FIRST_LINE
        # A second thread calls `tick`.
        self._lock = threading.Lock()

    def advance(self, steps: float = 1) -> None:
        """Mark `steps` more steps as done."""
        with self._lock:
            self._done += steps
        self.tick()

    def note(self, text: str) -> None:
        """Add a text to the next lines, in place of the previous one."""
        self._note = text

    def line(self, text: str) -> None:
        """Print a line of its own."""
        with self._lock:
            self._write(text)
            self._schedule(self._clock())

    def tick(self) -> None:
        """Print a line if it is time for one."""
        with self._lock:
            now = self._clock()
            if now < self._next_line or self._done >= self._total > 0:
                return
            self._schedule(now)
            elapsed, steps = now - self._start, self._done - self._before
            parts = [self._count(), f"{format_duration(elapsed)} elapsed"]
            if steps > 0 and self._total:
                remaining = elapsed * (self._total - self._done) / steps
                parts.append(f"about {format_duration(remaining)} remaining")
            self._write(", ".join([*parts, self._note] if self._note else parts))

    def finish(self, *, quiet: bool) -> None:
        """Print the last line; if `quiet`, only after work of at least two seconds."""
        elapsed = self._clock() - self._start
        if not quiet or elapsed >= _FIRST_LINE:
            done = self._count() if self._total > 1 else f"{self._text}: done"
            self._write(f"{done} in {format_duration(elapsed)}")

    def _schedule(self, now: float) -> None:
        self._next_line = now + max(_LINE_EVERY, _SHARE * (now - self._start))

    def _count(self) -> str:
        if self._total == 1:
            return self._text
        if not self._total:
            return f"{self._text}: {self._done:.0f}"
        share = f" ({self._done / self._total:.0%})" if 0 < self._done < self._total else ""
        return f"{self._text}: {self._done:.0f} of {self._total:.0f}{share}"


def format_duration(seconds: float) -> str:
    """Return a duration for display, as in `4 s`, `2:05` or `1:00:30`."""
    if seconds < 59.5:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


@contextmanager
def bar(text: str, total: float, *, done: float = 0, transient: bool = False) -> Iterator[Bar]:
    """Show progress on standard error while the block runs.

    A terminal shows a bar. Elsewhere the work prints a line every ten seconds and a last one.

    Args:
        text: a short description of the work.
        total: number of steps; 0 if unknown.
        done: number of steps that an earlier process has done.
        transient: whether the bar disappears when the work is done, and work of less than two
            seconds prints no line.
    """
    if not _console.is_terminal:
        with _lines(text, total, done, quiet=transient) as lines:
            yield lines
        return
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), _Times(),
        TextColumn("{task.fields[note]}"),
    )  # fmt: skip
    with Progress(*columns, console=_console, transient=transient) as progress:
        yield _RichBar(progress, text, total, done)


@contextmanager
def _lines(text: str, total: float, done: float, *, quiet: bool) -> Iterator[Bar]:
    def write(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    def report() -> None:
        while not stopped.wait(1):
            lines.tick()

    lines, stopped = LineBar(text, total, done, write=write), threading.Event()
    # A single step may take minutes.
    reporter = threading.Thread(target=report, name="progress", daemon=True)
    reporter.start()
    try:
        yield lines
    finally:
        stopped.set()
        reporter.join()
    lines.finish(quiet=quiet)


@contextmanager
def status_line() -> Iterator[Callable[[str], None]]:
    """Yield a function that shows its text as one changing line on standard error.

    If standard error is not a terminal, nothing is shown.
    """
    if not _console.is_terminal:
        yield lambda _: None
        return
    with Live(console=_console, auto_refresh=False, transient=True) as live:
        yield lambda text: live.update(Text(text, no_wrap=True, overflow="ellipsis"), refresh=True)
