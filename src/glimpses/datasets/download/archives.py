"""Archives to folders: checked as they are read, and a folder is whole or absent."""

from __future__ import annotations

import gzip
import shutil
import tarfile
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path, PurePosixPath, PureWindowsPath
from threading import Event
from typing import Any, BinaryIO

from glimpses.utils.errors import GlimpsesError
from glimpses.utils.progress import bar

#: How the archives that can be unpacked begin, by the suffix of their names.
SIGNATURES = {".rar": b"Rar!\x1a\x07", ".gz": b"\x1f\x8b"}

_CHUNK = 1 << 20

#: Called with the megabytes of the archive that have been read since the last call.
_Advance = Callable[[float], None]


class DamagedArchiveError(GlimpsesError):
    """An archive that cannot be unpacked, whoever tries."""


def unpack(archive: Path, folder: Path) -> None:
    """Unpack an archive, and the RAR archives that lie in it, into a folder.

    Every file's checksum is tested. The work is done beside the folder and moved there at the
    end, so that the folder is never there in part, whatever kills this process; what a killed
    one left is done anew. Links and other things that are no files are passed over.

    Args:
        archive: a `.rar` or `.tar.gz`.
        folder: must not exist. If all that the archive holds is a folder of this name, it becomes
            this folder.

    Raises:
        DamagedArchiveError: it is no such archive, is cut off, a checksum is wrong, or a file
            would land outside the folder.
        GlimpsesError: RAR archives cannot be read here; see `need_unrar`.
        OSError: the disk is full.
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
                    _unpack_beside(inner, staging / ".inner", progress.advance)
        content.rename(folder)
    except (*_DAMAGE, DamagedArchiveError) as error:
        raise DamagedArchiveError(f"{archive}: is damaged ({error})") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def need_unrar() -> Any:
    """Give the module that reads RAR archives.

    Raises:
        GlimpsesError: it is not installed.
    """
    try:
        return import_module("unrar.cffi.unrarlib")
    except ImportError as error:
        raise GlimpsesError(
            "this data set comes as a .rar archive, which needs one package more; "
            "run: pip install 'glimpses[download]'"
        ) from error


_DAMAGE = (EOFError, gzip.BadGzipFile, tarfile.TarError, zlib.error)


def _unpack_beside(archive: Path, staging: Path, advance: _Advance) -> None:
    """Replace an archive by the folder it is named after."""
    folder = archive.with_suffix("")
    _extract(archive, staging, folder.name, advance).rename(folder)
    shutil.rmtree(staging, ignore_errors=True)
    archive.unlink()


def _extract(archive: Path, to: Path, name: str, advance: _Advance) -> Path:
    """Extract below `to`; gives `to`, or the folder `name` in it if nothing lies beside that."""
    to.mkdir(parents=True)
    (_extract_rar if archive.suffix == ".rar" else _extract_tar)(archive, to, advance)
    found = [path.name for path in to.iterdir()]
    if not found:
        raise DamagedArchiveError(f"{archive.name} holds nothing")
    return to / name if found == [name] and (to / name).is_dir() else to


def _extract_rar(archive: Path, to: Path, advance: _Advance) -> None:
    # The library calls back from C code, where an interrupt of the main thread would be lost.
    stop = Event()
    with ThreadPoolExecutor(max_workers=1) as worker:
        try:
            worker.submit(_extract_rar_entries, archive, to, advance, stop).result()
        finally:
            stop.set()


def _extract_rar_entries(archive: Path, to: Path, advance: _Advance, stop: Event) -> None:
    unrar = need_unrar()
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
    """Takes what the RAR library unpacks; an error must not travel through its C code."""

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
        # The checksum stands at the very end, behind what tar reads.
        while plain.read(_CHUNK):
            pass


def _target(to: Path, name: str) -> Path:
    """Where a file of an archive goes."""
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or PureWindowsPath(name).drive:
        raise DamagedArchiveError(f"it would write outside its folder: {name}")
    return to / path


def _new(target: Path) -> BinaryIO:
    target.parent.mkdir(parents=True, exist_ok=True)
    return target.open("wb")


def _megabytes(path: Path) -> float:
    return path.stat().st_size / 1e6
