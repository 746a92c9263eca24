"""Files that are either whole or absent, and where Glimpses keeps what it makes for itself."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import platformdirs

from glimpses.utils.errors import GlimpsesError


def cache_dir() -> Path:
    """Where weights, compiled graphs and features are kept between runs.

    `$GLIMPSES_CACHE` where it is set, else the platform's cache folder (`~/.cache/glimpses` on
    Linux). The folder need not exist yet.
    """
    given = os.environ.get("GLIMPSES_CACHE")
    return Path(given).expanduser() if given else Path(platformdirs.user_cache_dir("glimpses"))


def sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def format_size(size: float) -> str:
    """A size in bytes for people, as in `1.2 GB`."""
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"


def check_free_space(folder: Path, needed: float, advice: str) -> None:
    """Refuse to begin what would fill the disk.

    Args:
        folder: where it is to go; need not exist yet.
        needed: bytes.
        advice: what can be done about it, the end of the sentence.

    Raises:
        GlimpsesError: there is less space.
    """
    folder = folder.absolute()
    place = next(place for place in (folder, *folder.parents) if place.exists())
    free = shutil.disk_usage(place).free
    if needed > free:
        raise GlimpsesError(
            f"{folder}: this would need about {format_size(needed)}, but {format_size(free)} are "
            f"free; {advice}"
        )


def check_writable(folder: Path) -> None:
    """Refuse a place that can be no folder to write to, before any work is done.

    Args:
        folder: which need not exist yet.

    Raises:
        GlimpsesError: it, or what it would be in, is a file or may not be written to.
    """
    folder = folder.absolute()
    place = next(place for place in (folder, *folder.parents) if place.exists())
    if not place.is_dir():
        raise GlimpsesError(f"{place}: is a file; give --out a folder")
    if not os.access(place, os.W_OK | os.X_OK):
        raise GlimpsesError(f"{place}: may not be written to; give --out another folder")


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; move it onto `path` only if the block succeeds.

    Whoever reads `path` sees the old file or the whole new one, whatever kills this process. A
    temporary file keeps the suffix of `path`, because some writers choose their format by it.

    Args:
        path: the file to write; its folder is made if it is not there.

    Yields:
        Where to write instead, on the same file system.

    Raises:
        GlimpsesError: the disk is full or the folder cannot be written to.
    """
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".part-", suffix=path.suffix)
        os.close(handle)
        temporary = Path(name)
        # mkstemp makes files that only their owner can read; what we write is no secret.
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
