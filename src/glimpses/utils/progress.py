"""Progress bars and a status line on standard error."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.live import Live
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

_console = Console(stderr=True)


class Bar(Protocol):
    """Progress bar, as the code that does the work sees it."""

    def advance(self, steps: float = 1) -> None:
        """Mark `steps` more steps as done."""

    def note(self, text: str) -> None:
        """Show a text after the bar, in place of the previous one."""


class _RichBar:
    def __init__(self, progress: Progress, text: str, total: float) -> None:
        self._progress = progress
        self._task = progress.add_task(text, total=total, note="")

    def advance(self, steps: float = 1) -> None:
        self._progress.advance(self._task, steps)

    def note(self, text: str) -> None:
        self._progress.update(self._task, note=text)


@contextmanager
def bar(text: str, total: float, *, transient: bool = False) -> Iterator[Bar]:
    """Show a progress bar on standard error while the block runs.

    If standard error is not a terminal, only the finished bar is printed, as one line, and a
    transient bar is not printed at all.

    Args:
        text: a short description of the work.
        total: number of steps.
        transient: whether the bar disappears when the work is done.
    """
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
        TimeRemainingColumn(), TextColumn("{task.fields[note]}"),
    )  # fmt: skip
    hidden = transient and not _console.is_terminal
    with Progress(*columns, console=_console, transient=transient, disable=hidden) as progress:
        yield _RichBar(progress, text, total)


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
