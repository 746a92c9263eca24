"""Simulation of a power cut: the disk keeps what was synchronised, and any part of the rest.

The model is stricter than common file systems. The content of a file is safe after `fsync` of the
file, the names in a folder after `fsync` of the folder, and nothing else is.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import pytest

# What the disk may have of content that was not synchronised.
_LOST: dict[str, Callable[[bytes, bytes], bytes]] = {
    "lost": lambda safe, _: safe,
    "torn": lambda safe, live: safe + live[len(safe) : (len(safe) + len(live)) // 2],
    "zeros": lambda safe, live: safe + bytes(max(len(live) - len(safe), 0)),
    "kept": lambda _, live: live,
}


@dataclass(frozen=True)
class Disk:
    """The disk after one power cut.

    Attributes:
        files: contents by path relative to the folder.
        reported: what the program had reported as written before the cut.
        cut: after which call, and what the disk has of the rest.
    """

    files: dict[str, bytes]
    folders: frozenset[str]
    reported: tuple[Any, ...]
    cut: str

    def write(self, folder: Path) -> Path:
        """Create the files in a new folder."""
        folder.mkdir(parents=True)
        for name in sorted(self.folders):
            (folder / name).mkdir(parents=True, exist_ok=True)
        for name, content in self.files.items():
            (folder / name).write_bytes(content)
        return folder


class PowerCut:
    """Record of the calls below a folder that change names or synchronise.

    Args:
        root: the folder; everything in it is safe at first.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self.reported: list[Any] = []
        self._content: dict[int, bytes] = {}
        self._names: dict[int, dict[str, int]] = {}
        # Open handles keep the system from giving the number of a deleted file to another.
        self._handles: dict[int, int] = {}
        self._is_folder: dict[int, bool] = {}
        self._disks: dict[Any, Disk] = {}
        for folder, _, files in os.walk(root):
            self._names[self._number(Path(folder))] = self._list(Path(folder))
            for file in files:
                self._content[self._number(Path(folder, file))] = Path(folder, file).read_bytes()
        self._snapshot("the start")
        self._monkeypatch = pytest.MonkeyPatch()

    def __enter__(self) -> PowerCut:
        for name in ("fsync", "replace", "rename", "unlink", "mkdir"):
            self._monkeypatch.setattr(os, name, self._traced(name, getattr(os, name)))
        return self

    def __exit__(self, *_: object) -> None:
        self._monkeypatch.undo()
        for handle in self._handles.values():
            os.close(handle)

    def report(self, what: Any) -> None:
        """Note that the program has reported something as written."""
        self.reported.append(what)
        self._snapshot("report")

    def disks(self) -> Iterator[Disk]:
        """Yield every disk that a power cut could have left."""
        yield from self._disks.values()

    def _traced(self, name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            self._snapshot(f"before {name}")
            result = original(*arguments, **options)
            if name == "fsync":
                path = Path(f"/proc/self/fd/{arguments[0]}").readlink()
                if path.is_relative_to(self._root):
                    self._keep(path)
            self._snapshot(f"after {name}")
            return result

        return call

    def _keep(self, path: Path) -> None:
        if path.is_dir():
            self._names[self._number(path)] = self._list(path)
        else:
            self._content[self._number(path)] = path.read_bytes()

    def _number(self, path: Path) -> int:
        number = path.stat().st_ino
        if number not in self._handles:
            self._handles[number] = os.open(path, os.O_RDONLY)
            self._is_folder[number] = path.is_dir()
        return number

    def _list(self, folder: Path) -> dict[str, int]:
        return {path.name: self._number(path) for path in folder.iterdir()}

    def _snapshot(self, call: str) -> None:
        live_names, live_content = {}, {}
        for folder, _, files in os.walk(self._root):
            live_names[self._number(Path(folder))] = self._list(Path(folder))
            for file in files:
                live_content[self._number(Path(folder, file))] = Path(folder, file).read_bytes()
        for names_kept, (rest, mix) in product((False, True), _LOST.items()):
            names = live_names if names_kept else self._names
            files, folders = {}, set()
            todo = [("", self._number(self._root))]
            while todo:
                path, number = todo.pop()
                if self._is_folder[number]:
                    folders.add(path)
                    children = names.get(number, {}).items()
                    todo += [(os.path.join(path, name), child) for name, child in children]  # noqa: PTH118
                else:
                    safe = self._content.get(number, b"")
                    files[path] = mix(safe, live_content.get(number, safe))
            title = f"{call}, names {'kept' if names_kept else 'lost'}, content {rest}"
            key = tuple(sorted(files.items())), tuple(sorted(folders)), len(self.reported)
            disk = Disk(files, frozenset(folders), tuple(self.reported), title)
            self._disks.setdefault(key, disk)
