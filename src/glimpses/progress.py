"""One look for every progress bar, and silence where nobody watches."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

_console = Console(stderr=True)


class Bar(Protocol):
    """What the code that does the work sees of a progress bar."""

    def advance(self, steps: float = 1) -> None:
        """Count `steps` more as done."""

    def describe(self, text: str) -> None:
        """Change what stands before the bar."""


class _RichBar:
    def __init__(self, progress: Progress, text: str, total: float) -> None:
        self._progress = progress
        self._task = progress.add_task(text, total=total)

    def advance(self, steps: float = 1) -> None:
        self._progress.advance(self._task, steps)

    def describe(self, text: str) -> None:
        self._progress.update(self._task, description=text)


@contextmanager
def bar(text: str, total: float) -> Iterator[Bar]:
    """Show a progress bar on standard error while the block runs.

    Where standard error is no terminal (a log file, a pipe), only the finished bar is printed,
    as one line.

    Args:
        text: what is being done, a few words.
        total: how many steps there are.

    Yields:
        The bar; call `advance` as work is done.
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=_console) as progress:
        yield _RichBar(progress, text, total)
