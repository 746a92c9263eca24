"""Atomic writes, checks made before writing, and the cache folder."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import stat
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import platformdirs

from glimpses.utils.errors import GlimpsesError

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
    """Return the SHA-256 of a file's bytes, or of those in a folder, in hexadecimal."""
    if path.is_dir():
        names = [f"{file.name} {sha256(file)}" for file in sorted(path.iterdir()) if file.is_file()]
        return hashlib.sha256("\n".join(names).encode()).hexdigest()
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

    Readers of `path` see the old file or the complete new one, even if this process is killed. The
    temporary file is on the same file system, and has the suffix of `path`, because some writers
    choose their format by it. The folder of `path` is created if needed.

    Raises:
        GlimpsesError: the disk is full or the folder cannot be written to.
    """
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".part-", suffix=path.suffix)
        temporary = Path(name)
        os.close(handle)
        # mkstemp creates files that only their owner can read.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        yield temporary
        temporary.replace(path)
    except OSError as error:
        reason = error.strerror or str(error)
        raise GlimpsesError(
            f"{path}: cannot be written ({reason}); free some space or choose another place"
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
