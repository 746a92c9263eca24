"""Search for video files, and an account of the files that are left out."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path

from glimpses.utils.errors import pluralise
from glimpses.video import SUFFIXES, is_picture_folder

log = logging.getLogger(__name__)

#: Suffixes of annotation files; see `glimpses.datasets.annotations`.
ANNOTATION_SUFFIXES = (".npz", ".xgtf")

#: Folders of annotations and lists. At the top of a data set, a class may have such a name.
SIDE_FOLDERS = frozenset({"annotation", "annotations", "splits"})

# Files of these kinds accompany clips: lists, notes and what file managers leave behind.
_SIDECARS = frozenset(
    {*ANNOTATION_SUFFIXES, ".csv", ".json", ".jsonl", ".md", ".tsv", ".txt", ".xml", ".ini", ".db"}
)


def is_clip(path: Path) -> bool:
    """Return whether a path is named like a video and is not hidden (macOS writes `._clip.avi`).

    Its content does not matter: what cannot be read, such as a dangling link, a pipe or a folder
    without videos, is a clip too, so that it is reported.
    """
    is_named = path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
    return is_named and not (path.is_dir() and _has_videos(path))


def _has_videos(folder: Path) -> bool:
    """Return whether a folder with the name of a video may hold videos after all."""
    try:
        with os.scandir(folder) as entries:
            return is_picture_folder(folder) or any(
                Path(entry.name).suffix.lower() in SUFFIXES or entry.is_dir() for entry in entries
            )
    except OSError:
        return False


def walk(folder: Path, onerror: Callable[[OSError], None] | None = None) -> Iterator[Path]:
    """Yield every file below a folder, sorted by folder; links to folders are followed.

    A folder that is named like a video and has none is yielded too; see `is_clip`. A link to a
    folder that contains it is left out with a warning.
    """
    above = frozenset(map(str, Path(os.path.realpath(folder)).parents))
    pending = [(folder, above)]
    while pending:
        current, parents = pending.pop()
        real = os.path.realpath(current)
        if real in parents:
            log.warning("%s: links to a folder that contains it, so it is left out", current)
            continue
        try:
            with os.scandir(current) as entries:
                names = sorted(
                    (entry.name, entry.is_dir() and not is_clip(current / entry.name))
                    for entry in entries
                )
        except OSError as error:
            if onerror is not None:
                onerror(error)
            continue
        yield from (current / name for name, is_folder in names if not is_folder)
        below = parents | {real}
        pending += [(current / name, below) for name, is_folder in reversed(names) if is_folder]


def is_hidden(file: Path, root: Path) -> bool:
    """Return whether a file below `root`, or a folder that it is in, is hidden."""
    return any(part.startswith(".") for part in file.relative_to(root).parts)


def warn_unreadable(error: OSError) -> None:
    """Warn about a folder that cannot be listed."""
    log.warning(
        "%s: cannot be listed (%s); its videos are left out", error.filename, error.strerror
    )


def tell_left_out(
    root: Path, files: Iterable[Path], used: Collection[Path], unlisted: str = ""
) -> None:
    """Log in one line the files below `root` that a data set does not use, by reason.

    Annotations, lists and notes are expected and do not count.

    Args:
        root: the folder.
        files: all files below it.
        used: the clips.
        unlisted: why videos that are not hidden are left out, if that is not due to their folder.
    """
    by_reason: dict[tuple[str, str], list[Path]] = {}
    for file in files:
        reason = None if file in used else _reason(file, root, unlisted)
        if reason is not None:
            by_reason.setdefault(reason, []).append(file)
    parts = [
        f"{pluralise(len(left_out), noun)} {reason} ({left_out[0].relative_to(root)})"
        for (noun, reason), left_out in by_reason.items()
    ]
    if parts:
        log.warning("%s: left out %s", root, ", ".join(parts))


def _reason(file: Path, root: Path, unlisted: str) -> tuple[str, str] | None:
    """Return the kind of a file and the reason why it is left out; None for expected files."""
    suffix = file.suffix.lower()
    if suffix not in SUFFIXES:
        if suffix in _SIDECARS or is_hidden(file, root):
            return None
        return "file", f"of type {suffix}" if suffix else "without a suffix"
    if is_hidden(file, root):
        return "video", "with a hidden name or folder"
    aside = any(part.lower() in SIDE_FOLDERS for part in file.relative_to(root).parts[:-1])
    return "video", unlisted or (
        "in folders of annotations" if aside else "outside the class folders"
    )
