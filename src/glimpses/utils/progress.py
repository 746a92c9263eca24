"""One look for every progress bar, and silence where nobody watches."""

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
    """What the code that does the work sees of a progress bar."""

    def advance(self, steps: float = 1) -> None:
        """Count `steps` more as done."""

    def note(self, text: str) -> None:
        """Say how the work goes; stands behind the bar until the next note."""


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

    Where standard error is no terminal (a log file, a pipe), only the finished bar is printed,
    as one line; of a transient one nothing is.

    Args:
        text: what is being done, a few words.
        total: how many steps there are.
        transient: whether the bar vanishes when the work is done.

    Yields:
        The bar; call `advance` as work is done.
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    silent = transient and not _console.is_terminal
    with Progress(*columns, console=_console, transient=transient, disable=silent) as progress:
        yield _RichBar(progress, text, total)


@contextmanager
def line() -> Iterator[Callable[[str], None]]:
    """Show one line on standard error that changes, for work that has no end.

    Where standard error is no terminal, nothing is shown.

    Yields:
        What puts another text in its place.
    """
    if not _console.is_terminal:
        yield lambda _: None
        return
    with Live(console=_console, auto_refresh=False, transient=True) as shown:
        yield lambda text: shown.update(Text(text, no_wrap=True, overflow="ellipsis"), refresh=True)
