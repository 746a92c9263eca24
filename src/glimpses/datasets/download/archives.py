"""Unpacking of archives with checksums, atomically."""

from __future__ import annotations

import gzip
import os
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path, PurePosixPath, PureWindowsPath
from threading import Event
from typing import Any, BinaryIO

from glimpses.utils.errors import GlimpsesError
from glimpses.utils.files import sync_folder
from glimpses.utils.progress import bar

#: First bytes of the supported archives, by suffix.
SIGNATURES = {".rar": b"Rar!\x1a\x07", ".gz": b"\x1f\x8b", ".zip": b"PK\x03\x04"}

_CHUNK = 1 << 20

#: Callback with the megabytes of the archive read since the last call.
_Advance = Callable[[float], None]


class DamagedArchiveError(GlimpsesError):
    """An archive that cannot be unpacked."""


def unpack(archive: Path, folder: Path) -> None:
    """Unpack an archive, and the RAR archives inside it, into a folder.

    Verifies every file's checksum. Unpacks next to the folder and renames at the end, so the folder
    is never incomplete; leftovers of a killed process are removed first. Links, other special files
    and the files that macOS adds to a ZIP archive are skipped.

    Args:
        archive: a `.rar`, `.tar.gz` or `.zip` file.
        folder: must not exist. If the archive contains only a folder with this name, that becomes
            `folder`.

    Raises:
        DamagedArchiveError: the file is not such an archive or truncated, a checksum is wrong, or a
            file would be written outside the folder.
    """
    staging = folder.with_name(f".unpacking-{folder.name}")
    shutil.rmtree(staging, ignore_errors=True)
    try:
        with bar(f"Unpacking {archive.name} (MB)", _megabytes(archive)) as progress:
            content = _extract(archive, staging, folder.name, progress.advance)
        nested = sorted(content.glob("*.rar"))
        if nested:
            total = sum(map(_megabytes, nested))
            with bar(f"Unpacking the {len(nested)} archives in it (MB)", total) as progress:
                for inner in nested:
                    target, temporary = inner.with_suffix(""), staging / ".inner"
                    _extract(inner, temporary, target.name, progress.advance).rename(target)
                    shutil.rmtree(temporary, ignore_errors=True)
                    inner.unlink()
        if hasattr(os, "sync"):
            # All files before the name that declares them complete.
            os.sync()
        content.rename(folder)
        sync_folder(folder.parent)
    except (*_DAMAGE, DamagedArchiveError) as error:
        raise DamagedArchiveError(f"{archive}: is damaged ({error})") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def require_unrar() -> Any:
    """Return the module that reads RAR archives, or raise an error if it is not installed."""
    try:
        return import_module("unrar.cffi.unrarlib")
    except ImportError as error:
        raise GlimpsesError(
            "this data set comes as a .rar archive, which needs another package; "
            "run: pip install 'glimpses[download]'"
        ) from error


# Encrypted ZIP archives, and those with an unknown compression, raise a RuntimeError.
_DAMAGE = (
    EOFError, gzip.BadGzipFile, tarfile.TarError, zlib.error, zipfile.BadZipFile, RuntimeError,
)  # fmt: skip


def _extract(archive: Path, to: Path, name: str, advance: _Advance) -> Path:
    """Extract into `to`; return `to`, or the folder `name` in it if that is its only content."""
    to.mkdir(parents=True)
    extract = {".rar": _extract_rar, ".zip": _extract_zip}.get(archive.suffix, _extract_tar)
    extract(archive, to, advance)
    names = [path.name for path in to.iterdir()]
    if not names:
        raise DamagedArchiveError(f"{archive.name} is empty")
    return to / name if names == [name] and (to / name).is_dir() else to


def _extract_rar(archive: Path, to: Path, advance: _Advance) -> None:
    # The library calls back from C code, where Ctrl-C in the main thread would be lost.
    stop = Event()
    with ThreadPoolExecutor(max_workers=1) as worker:
        try:
            worker.submit(_extract_rar_entries, archive, to, advance, stop).result()
        finally:
            stop.set()


def _extract_rar_entries(archive: Path, to: Path, advance: _Advance, stop: Event) -> None:
    unrar = require_unrar()
    name = archive.name
    try:
        with unrar.RarArchive.open_for_processing(archive) as opened:
            for header in opened.iterate_headers():
                if stop.is_set():
                    return
                name = header.FileNameW
                target = _target(to, name)
                if header.Flags & unrar.FLAGS_RHDF_DIRECTORY:
                    target.mkdir(parents=True, exist_ok=True)
                    header.skip()
                    continue
                with _new(target) as file:
                    sink = _Sink(file)
                    header.test(sink)
                if sink.error:
                    raise sink.error
                advance((header.PackSize + (header.PackSizeHigh << 32)) / 1e6)
    except unrar.BadRarFile as error:
        raise DamagedArchiveError(f"{name} cannot be read from it: {error}") from error


class _Sink:
    """Receiver of unpacked data that keeps errors out of the RAR library's C code."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.error: OSError | None = None

    def __call__(self, chunk: bytes) -> None:
        try:
            if self.error is None:
                self._file.write(chunk)
        except OSError as error:
            self.error = error


def _extract_tar(archive: Path, to: Path, advance: _Advance) -> None:
    before = 0
    with archive.open("rb") as raw, gzip.open(raw) as plain:
        with tarfile.open(fileobj=plain, mode="r|") as opened:
            for member in opened:
                target = _target(to, member.name)
                content = opened.extractfile(member) if member.isfile() else None
                if member.isdir():
                    target.mkdir(parents=True, exist_ok=True)
                if content:
                    with _new(target) as file:
                        shutil.copyfileobj(content, file, _CHUNK)
                advance((raw.tell() - before) / 1e6)
                before = raw.tell()
        # The checksum is at the very end, after the part that tarfile reads.
        while plain.read(_CHUNK):
            pass


def _extract_zip(archive: Path, to: Path, advance: _Advance) -> None:
    with zipfile.ZipFile(archive) as opened:
        for member in opened.infolist():
            target = _target(to, member.filename)
            parts = target.relative_to(to).parts
            kind = stat.S_IFMT(member.external_attr >> 16)
            from_macos = "__MACOSX" in parts or parts[-1].startswith("._") or ".DS_Store" in parts
            if member.is_dir() and not from_macos:
                target.mkdir(parents=True, exist_ok=True)
            elif kind in (0, stat.S_IFREG) and not from_macos:
                # Reading to the end compares the checksum.
                with opened.open(member) as content, _new(target) as file:
                    shutil.copyfileobj(content, file, _CHUNK)
            advance(member.compress_size / 1e6)


def _target(to: Path, name: str) -> Path:
    """Return the path for a file of an archive."""
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or PureWindowsPath(name).drive:
        raise DamagedArchiveError(f"it contains a path outside its folder: {name}")
    return to / path


def _new(target: Path) -> BinaryIO:
    target.parent.mkdir(parents=True, exist_ok=True)
    return target.open("wb")


def _megabytes(path: Path) -> float:
    return path.stat().st_size / 1e6
