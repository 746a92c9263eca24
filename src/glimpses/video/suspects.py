"""Memory of the files that crashed or blocked a decoder, so that others are read before them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from glimpses.utils.files import cache_dir

_Item = TypeVar("_Item")


def remember(path: Path) -> None:
    """Note that a file crashed or blocked the decoder."""
    with suppress(OSError):
        note = _note(path)
        note.parent.mkdir(parents=True, exist_ok=True)
        note.touch()


def forget(path: Path) -> None:
    """Note that a file could be read."""
    with suppress(OSError):
        _note(path).unlink(missing_ok=True)


def suspects_last(items: Iterable[_Item], path_of: Callable[[_Item], Path]) -> list[_Item]:
    """Return the items in their order, but those last whose files failed the last time."""
    try:
        notes = {note.name for note in _folder().iterdir()}
    except OSError:
        notes = set()
    return sorted(items, key=lambda item: bool(notes) and _note(path_of(item)).name in notes)


def _folder() -> Path:
    return cache_dir() / "suspects"


def _note(path: Path) -> Path:
    """Return the file that stands for a version of a video."""
    try:
        status = path.stat()
        version = f"{status.st_size} {status.st_mtime_ns}"
    except OSError:
        version = ""
    name = f"{path.absolute()} {version}".encode("utf-8", "surrogateescape")
    return _folder() / hashlib.sha256(name).hexdigest()[:32]
