"""Atomic writes, checks made before writing, and the cache folder."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shlex
import shutil
import stat
import sys
import tempfile
import time
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import platformdirs

from glimpses.utils.errors import GlimpsesError

# Locks of files, which Windows has not.
fcntl: Any = import_module("fcntl") if os.name == "posix" else None

#: Beginning of the names of files that are being written.
PARTIAL = ".part-"
# As `tempfile.mkstemp` completes it.
_PARTIAL_NAME = re.compile(rf"{re.escape(PARTIAL)}[a-z0-9_]{{8}}(\.|$)")
# Age in seconds at which such a file counts as abandoned where files cannot be locked.
_STALE_AFTER = 3600
# Folders in which this process has looked for abandoned files.
_swept: set[Path] = set()

#: Bytes that a file of settings, lists or results may have.
MAX_BYTES = 64_000_000

#: Errors of `numpy.load` for a damaged archive; which one depends on where it is damaged.
NPZ_ERRORS = (
    OSError, ValueError, EOFError, MemoryError, TypeError, AttributeError, KeyError,
    NotImplementedError, SyntaxError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip


def cache_dir() -> Path:
    """Return the folder that keeps weights, compiled graphs and features between runs.

    This is `$GLIMPSES_CACHE` if it is set, else the platform's cache folder (`~/.cache/glimpses` on
    Linux). The folder need not exist yet.
    """
    configured = os.environ.get("GLIMPSES_CACHE") or platformdirs.user_cache_dir("glimpses")
    return Path(configured).expanduser()


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, or of those in a folder, in hexadecimal.

    Raises:
        OSError: it is an empty folder, a pipe or a device, or cannot be read.
    """
    if path.is_dir():
        names = [f"{file.name} {sha256(file)}" for file in sorted(path.iterdir()) if file.is_file()]
        if not names:
            raise OSError(errno.EISDIR, "has no file", str(path))
        return hashlib.sha256("\n".join(names).encode()).hexdigest()
    check_regular(path, sys.maxsize)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_regular(path: Path, limit: int = MAX_BYTES) -> None:
    """Check that a file is a regular one within a limit of bytes, before a library reads it.

    Raises:
        OSError: it is a folder, pipe or device, is larger, or cannot be accessed.
    """
    _check_status(path, path.stat(), limit)


def read_bytes(path: Path, limit: int = MAX_BYTES) -> bytes:
    """Return the content of a file that somebody else may have made.

    Raises:
        OSError: it is a folder, pipe or device, is larger than the limit, or cannot be read.
    """
    # Opening a pipe would wait for a writer, if it were not for O_NONBLOCK.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    check_regular(path, limit)
    with os.fdopen(os.open(path, flags), "rb") as file:
        _check_status(path, os.fstat(file.fileno()), limit)
        content = file.read(limit + 1)
    if len(content) > limit:
        raise OSError(errno.EFBIG, f"grew beyond {format_size(limit)}", str(path))
    return content


def read_text(path: Path, limit: int = MAX_BYTES) -> str:
    """Return the text of a file in UTF-8, with or without a byte-order mark.

    Raises:
        OSError: see `read_bytes`.
        UnicodeDecodeError: it is not text in UTF-8.
    """
    # As files opened as text, with the line ends of every system.
    text = read_bytes(path, limit).decode("utf-8-sig")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_json(path: Path, limit: int = MAX_BYTES, **options: Any) -> Any:
    """Return the content of a JSON file; options are those of `json.loads`.

    Raises:
        OSError: see `read_bytes`.
        ValueError: it is not JSON in UTF-8, or is nested too deeply.
    """
    text = read_text(path, limit)
    try:
        return json.loads(text, **options)
    except RecursionError as error:
        raise ValueError("its brackets are nested too deeply") from error


def _check_status(path: Path, status: os.stat_result, limit: int) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, "is a folder, not a file", str(path))
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "is a pipe or device, not a file", str(path))
    if status.st_size > limit:
        sizes = f"has {format_size(status.st_size)}, more than {format_size(limit)}"
        raise OSError(errno.EFBIG, sizes, str(path))


def quote_path(path: str | Path) -> str:
    """Return a path as a word of a shell command; even one that begins with "-"."""
    text = str(path)
    return shlex.quote(f"./{text}" if text.startswith("-") else text)


def format_size(size: float) -> str:
    """Format a size in bytes for display, as in `1.2 GB`."""
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"


def check_free_space(folder: Path, required: float, advice: str) -> None:
    """Check that a disk has enough free space before writing to it.

    Args:
        folder: destination; it need not exist yet.
        required: bytes.
        advice: remedy, the end of the error message.

    Raises:
        GlimpsesError: the disk has less free space.
    """
    folder = folder.absolute()
    free = shutil.disk_usage(_nearest_existing(folder)).free
    if required > free:
        sizes = f"about {format_size(required)}, but {format_size(free)} are free"
        raise GlimpsesError(f"{folder}: this would need {sizes}; {advice}")


def check_writable(folder: Path) -> None:
    """Check, before any work is done, that a folder exists or can be created and written to.

    Raises:
        GlimpsesError: the folder or its nearest existing parent is a file or is not writable.
    """
    existing = _nearest_existing(folder.absolute())
    if not existing.is_dir():
        raise GlimpsesError(f"{existing}: is a file; give --out a folder")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise GlimpsesError(f"{existing}: may not be written to; give --out another folder")


def _nearest_existing(folder: Path) -> Path:
    return next(path for path in (folder, *folder.parents) if path.exists())


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary path, and move the file to `path` if the block succeeds.

    Readers of `path` see the old file or the complete new one, even if this process is killed or
    the power fails. Once the block has been left, the new file survives both. The temporary file
    is on the same file system, and has the suffix of `path`, because some writers choose their
    format by it. It is locked: the block must write into it, not put another file in its place.
    The folder of `path` is created if needed, and leftovers of killed processes in it are removed.

    Raises:
        GlimpsesError: the disk is full or the folder cannot be written to.
    """
    temporary: Path | None = None
    handle: int | None = None
    try:
        make_folder(path.parent)
        handle, temporary = _create_partial(path)
        # mkstemp creates files that only their owner can read.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        yield temporary
        durable_replace(temporary, path)
    except OSError as error:
        reason = error.strerror or str(error)
        raise GlimpsesError(
            f"{path}: cannot be written ({reason}); free some space or choose another place"
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        if handle is not None and fcntl is not None:
            os.close(handle)


def durable_replace(temporary: Path, path: Path) -> None:
    """Move a finished file to `path`, so that a power cut leaves the old file or the new one.

    Raises:
        OSError: the file cannot be moved, or the disk reports an error.
    """
    with temporary.open("rb+") as file:
        # Before it has its name, or the name might reach the disk without the content.
        os.fsync(file.fileno())
    temporary.replace(path)
    sync_folder(path.parent)


def make_folder(folder: Path) -> None:
    """Create a folder that survives a power cut; once a process, remove leftovers in it.

    Raises:
        OSError: the folder cannot be created.
    """
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for created in missing:
        sync_folder(created.parent)
    if (absolute := folder.absolute()) not in _swept:
        _swept.add(absolute)
        sweep(folder)


def sync_folder(folder: Path) -> None:
    """Wait until the names of the files in a folder are on the disk.

    Raises:
        OSError: the disk reports an error.
    """
    try:
        handle = os.open(folder, os.O_RDONLY)
    except PermissionError:
        # Windows opens no folder; elsewhere it may be writable only.
        return
    try:
        os.fsync(handle)
    except OSError as error:
        # Some network file systems only synchronise files.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):
            raise
    finally:
        os.close(handle)


def sweep(folder: Path) -> None:
    """Remove the temporary files that `atomic_write` left in a folder when it was killed.

    A file that a living process writes is locked and stays.
    """
    for file in folder.glob(f"{PARTIAL}*"):
        # Somebody else may remove it, or own it.
        with suppress(OSError):
            if _PARTIAL_NAME.match(file.name):
                _remove_if_abandoned(file)


def _remove_if_abandoned(file: Path) -> None:
    status = file.lstat()
    if not stat.S_ISREG(status.st_mode):
        return
    if fcntl is None:
        if time.time() - status.st_mtime > _STALE_AFTER:
            file.unlink()
        return
    handle = os.open(file, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        file.unlink()
    finally:
        os.close(handle)


def _create_partial(path: Path) -> tuple[int | None, Path]:
    """Return a new temporary file in the folder of `path`, and the handle that locks it."""
    while True:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=PARTIAL, suffix=path.suffix)
        if fcntl is None:
            # Windows moves no open file.
            os.close(handle)
            return None, Path(name)
        # The system releases the lock when the process ends, however it ends.
        with suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        # Another process may have swept the file before it was locked.
        if os.path.exists(name):  # noqa: PTH110
            return handle, Path(name)
        os.close(handle)
