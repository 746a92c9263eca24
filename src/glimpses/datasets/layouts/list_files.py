"""Lists as distributors ship them: a clip's name and a mark on each line."""

from __future__ import annotations

import logging
import unicodedata
from collections.abc import Collection
from pathlib import Path

from glimpses.utils.errors import GlimpsesError, pluralise
from glimpses.video import SUFFIXES

log = logging.getLogger(__name__)


def read_lines(file: Path) -> list[str]:
    """Lines of a text file without the spaces around them; empty ones keep their place.

    Raises:
        GlimpsesError: the file is not there, or no text in UTF-8.
    """
    try:
        return [line.strip() for line in file.read_text(encoding="utf-8-sig").splitlines()]
    except UnicodeDecodeError as error:
        raise GlimpsesError(f"{file}: is no text in UTF-8; save it again as such") from error
    except OSError as error:
        raise GlimpsesError(f"{file}: cannot be read ({error.strerror}); restore it") from error


def read_marks(file: Path, marks: Collection[str], *, files: bool = False) -> dict[str, str]:
    """Mark of every clip in a list with lines `<name> <mark>`, by `clip_key` of the name.

    A line that stands there twice counts once, with a warning.

    Args:
        file: the list.
        marks: those that there are.
        files: whether names are those of video files, suffix and all.

    Raises:
        GlimpsesError: a line is none of these, or contradicts another one.
    """
    found: dict[str, str] = {}
    lines: dict[str, int] = {}
    doubled = []
    for number, line in enumerate(read_lines(file), start=1):
        if not line:
            continue
        name, _, mark = line.replace("\t", " ").rpartition(" ")
        name = name.strip()
        if not name or mark not in marks or (files and Path(name).suffix.lower() not in SUFFIXES):
            raise GlimpsesError(
                f"{file}: line {number} is {line[:80]!r}, but should be a clip's name and one of "
                f"{', '.join(sorted(marks))}; restore the distributor's list"
            )
        key = clip_key(name)
        if found.setdefault(key, mark) != mark:
            raise GlimpsesError(
                f"{file}: line {lines[key]} marks {key} with {found[key]}, line {number} with "
                f"{mark}; restore the distributor's list"
            )
        if lines.setdefault(key, number) != number:
            doubled.append(number)
    if doubled:
        log.warning(
            "%s: %s with nothing but what an earlier one says (line %d)",
            file,
            pluralise(len(doubled), "line"),
            doubled[0],
        )
    return found


def clip_key(name: str) -> str:
    """What a clip is called in whatever container it is kept, however accents are composed."""
    stem, dot, suffix = name.rpartition(".")
    return unicodedata.normalize("NFC", stem if dot + suffix.lower() in SUFFIXES else name)


def by_key(files: Collection[Path]) -> dict[str, Path]:
    """Files by `clip_key`.

    Raises:
        GlimpsesError: two of them are called alike.
    """
    found: dict[str, Path] = {}
    for file in files:
        other = found.setdefault(clip_key(file.name), file)
        if other != file:
            raise GlimpsesError(f"{file}: {other} is called the same; remove one of the two")
    return found


def warn_missing(lists: Path, absent: Collection[str], listed: int) -> None:
    """Say once how many listed clips are not there."""
    if absent:
        log.warning(
            "%s: there is no file of %d of %s (%s)",
            lists,
            len(absent),
            pluralise(listed, "listed clip"),
            min(absent),
        )


def warn_unknown(listed: Path, absent: Collection[str], ids: Collection[str]) -> None:
    """Say once how many clips an owner's list names that are not there, and how to name one."""
    if absent:
        log.warning(
            "%s: lists %s of which there is no file (%s); a clip is named by its path below the "
            "folder, as in %s",
            listed,
            pluralise(len(absent), "clip"),
            min(absent),
            min(ids),
        )


def warn_unlisted(lists: Path, unlisted: Collection[str], consequence: str) -> None:
    """Say once how many clips no list names, and what becomes of them."""
    if unlisted:
        log.warning(
            "%s: no list names %d of the clips (%s); %s",
            lists,
            len(unlisted),
            min(unlisted),
            consequence,
        )
