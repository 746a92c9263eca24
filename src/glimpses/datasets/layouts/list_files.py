"""Parsing of distributors' lists, with a clip's name and a mark on each line."""

from __future__ import annotations

import logging
import unicodedata
from collections.abc import Collection
from pathlib import Path

from glimpses.utils.errors import GlimpsesError, pluralise
from glimpses.utils.files import read_text
from glimpses.video import SUFFIXES

log = logging.getLogger(__name__)


def read_lines(file: Path) -> list[str]:
    """Return the lines of a text file in UTF-8, stripped; empty lines are kept."""
    try:
        return [line.strip() for line in read_text(file).splitlines()]
    except UnicodeDecodeError as error:
        raise GlimpsesError(f"{file}: is not text in UTF-8; save it as such") from error
    except OSError as error:
        raise GlimpsesError(f"{file}: cannot be read ({error.strerror}); restore it") from error


def read_marks(file: Path, marks: Collection[str], *, files: bool = False) -> dict[str, str]:
    """Return the mark of every clip in a list with lines `<name> <mark>`, by `clip_key`.

    A line that occurs twice counts once, with a warning. Malformed and contradictory lines are
    refused, and if `files` is true also names without a video suffix.
    """
    mark_of: dict[str, str] = {}
    line_of: dict[str, int] = {}
    repeated = []
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
        if mark_of.setdefault(key, mark) != mark:
            raise GlimpsesError(
                f"{file}: line {line_of[key]} marks {key} with {mark_of[key]}, line {number} with "
                f"{mark}; restore the distributor's list"
            )
        if line_of.setdefault(key, number) != number:
            repeated.append(number)
    if repeated:
        log.warning("%s: %s repeated (line %d)", file, _are(len(repeated), "line"), repeated[0])
    return mark_of


def clip_key(name: str) -> str:
    """Return a clip's name without video suffix and in Unicode normal form C."""
    stem, dot, suffix = name.rpartition(".")
    return unicodedata.normalize("NFC", stem if dot + suffix.lower() in SUFFIXES else name)


def by_key(files: Collection[Path]) -> dict[str, Path]:
    """Return files by `clip_key`; refuse two files with the same key."""
    file_of: dict[str, Path] = {}
    for file in files:
        other = file_of.setdefault(clip_key(file.name), file)
        if other != file:
            raise GlimpsesError(f"{file}: {other} has the same name; remove one of the two")
    return file_of


def warn_missing(lists: Path, missing: Collection[str], listed: int) -> None:
    """Warn about listed clips that do not exist."""
    if missing:
        total = _are(listed, "listed clip")
        log.warning("%s: %d of %s missing (%s)", lists, len(missing), total, min(missing))


def warn_unknown(file: Path, unknown: Collection[str], ids: Collection[str]) -> None:
    """Warn about names in a user's list that match no clip, with an example of a valid name."""
    if unknown:
        log.warning(
            "%s: %s no clip (%s); name a clip by its path below the folder, such as %s",
            file,
            "1 name matches" if len(unknown) == 1 else f"{len(unknown)} names match",
            min(unknown),
            min(ids),
        )


def warn_unlisted(lists: Path, unlisted: Collection[str], consequence: str) -> None:
    """Warn about clips that no list names."""
    if unlisted:
        total = _are(len(unlisted), "clip")
        log.warning("%s: %s in no list (%s); %s", lists, total, min(unlisted), consequence)


def _are(count: int, noun: str) -> str:
    return f"{pluralise(count, noun)} {'is' if count == 1 else 'are'}"
