"""Layout with long recordings and tables of their segments.

A clip is a part of a recording with one set of labels. Unlabelled time has a class of its own.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice, pairwise
from pathlib import Path
from typing import NamedTuple

from glimpses import video
from glimpses.datasets.base import ActionDataset, Clip, Unlabelled, is_background
from glimpses.datasets.groups import read_groups
from glimpses.datasets.layouts.folder import annotation_file, read_splits
from glimpses.datasets.layouts.list_files import warn_unlisted
from glimpses.datasets.layouts.video_files import is_clip, is_hidden, walk, warn_unreadable
from glimpses.segments import Segment, read_segments, sort_segments
from glimpses.utils.errors import GlimpsesError, pluralise

log = logging.getLogger(__name__)

_NAME = "segments"
_SUFFIXES = frozenset({".csv", ".tsv", ".json", ".eaf", ".vtt", ".srt"})
# Endings of files that can be nothing but a table of segments.
_ALWAYS = frozenset({".eaf", ".vtt", ".srt"})
# Share of the labelled time from which overlaps are meant, so that the data set is multi-label.
_MULTI_LABEL = 0.05
# An instant (a segment of length 0) stands for this time in seconds before and after it.
_INSTANT = 0.5
# Shorter gaps in seconds are left by rounding.
_SHORTEST_GAP = 0.1
# Shorter labelled parts in seconds are left by rounding.
_SHORTEST = 0.002


def _seconds(time: float) -> str:
    return f"{time:.3f}".rstrip("0").rstrip(".")


def matches(root: Path) -> bool:
    """Return whether a file is a table of segments, or a folder contains one."""
    return bool(_tables(root))


def load(root: Path, unlabelled: Unlabelled = "background") -> ActionDataset:
    """Read long recordings whose segments are in tables.

    The tables are `segments.csv` (`file,start,end,label`, seconds) or another format that
    `glimpses.segments.read_segments` knows by its ending, or any number of them in a folder
    `segments`. Recordings are named by their path below the folder, or by a name that only one of
    them has, with or without its ending. Recordings that no table names are left out. A recording
    is a group, unless `groups.csv` (`clip,group`) joins several, and `splits/*.txt` list
    recordings.

    A clip is a part of a recording whose labels do not change. Unlabelled time is cut into clips,
    too. If more than 5 % of the labelled time has several labels, the data set is multi-label, and
    clips of unlabelled time have no label. Otherwise the segment that began last counts where
    segments overlap.

    Args:
        root: folder of the recordings, or the table beside them.
        unlabelled: whether unlabelled time is background or left out. Its class has the name that
            the tables use for it, such as "none"; otherwise "background".

    Raises:
        GlimpsesError: a table cannot be read, or names no recording.
    """
    tables = _tables(root)
    if not tables:
        raise GlimpsesError(
            f"{root}: has no table of segments; write a segments.csv with the columns "
            "file,start,end,label"
        )
    root = root if root.is_dir() else root.parent
    recordings = read_recordings(root, tables)
    _warn_unknown(root, tables, recordings)
    by_file, files = recordings.segments, recordings.files
    multi_label = _is_multi_label(by_file.values())
    names = {one.label for segments in by_file.values() for one in segments}
    background = next((name for name in sorted(names) if is_background(name)), "background")
    keeps_gaps = unlabelled == "background"
    if multi_label:
        names = {name for name in names if not is_background(name)}
    elif keeps_gaps:
        names.add(background)
    classes = tuple(sorted(names))
    groups, _ = read_groups(root, dict.fromkeys(files, ""))
    clips = []
    for file, segments in by_file.items():
        for start, end, labels in _parts(segments, multi_label=multi_label):
            if not labels and not keeps_gaps:
                continue
            if not labels and not multi_label:
                labels = (background,)
            clips.append(
                Clip(
                    id=f"{file}#t={_seconds(start)}" + ("" if end is None else f",{_seconds(end)}"),
                    path=files[file],
                    labels=tuple(classes.index(name) for name in labels if name in names),
                    group=groups.get(file, file),
                    annotation=annotation_file(file, root),
                    start=start,
                    end=end,
                )
            )
    clips.sort(key=lambda clip: clip.id)
    splits = {
        name: {
            subset: frozenset(clip.id for clip in clips if clip.recording in listed)
            for subset, listed in subsets.items()
        }
        for name, subsets in read_splits(root, frozenset(by_file)).items()
    }
    return ActionDataset(
        root, classes, tuple(clips), multi_label, splits, lists=tuple(tables), layout="segments",
        segments=tuple(
            one
            for segments in by_file.values()
            for one in segments
            if not is_background(one.label)
        ),
    )  # fmt: skip


class Recordings(NamedTuple):
    """Content of tables of segments.

    Attributes:
        segments: segments of each recording that a table names, by its path below the folder.
        files: path of every recording in the folder.
        unknown: other names in tables, each with its table.
    """

    segments: dict[str, list[Segment]]
    files: dict[str, Path]
    unknown: dict[str, Path]


def read_recordings(root: Path, tables: Sequence[Path]) -> Recordings:
    """Read tables of segments.

    Args:
        root: folder of the recordings.
        tables: the tables.

    Raises:
        GlimpsesError: a table cannot be read, or names no recording.
    """
    files = {
        file.relative_to(root).as_posix(): file
        for file in sorted(walk(root, warn_unreadable))
        if is_clip(file) and not is_hidden(file, root)
    }
    names = _Names(files)

    def rate(name: str) -> float:
        file = names.find(name)
        if file is None:
            raise GlimpsesError(f"{root}: {name} is not there, so its frame rate is unknown")
        return video.probe(files[file]).fps

    segments: dict[str, list[Segment]] = defaultdict(list)
    unknown: dict[str, Path] = {}
    for table in tables:
        for one in read_segments(table, fps=rate):
            if (file := names.find(one.file)) is None:
                unknown[one.file] = table
            else:
                segments[file].append(replace(one, file=file))
    if not segments:
        example = f" (such as {next(iter(unknown))})" if unknown else ""
        raise GlimpsesError(
            f"{tables[0]}: names no recording of {root}{example}; name recordings by their path "
            "below that folder"
        )
    by_file = {file: sort_segments(segments[file]) for file in sorted(segments)}
    return Recordings(by_file, files, unknown)


def _warn_unknown(root: Path, tables: Sequence[Path], recordings: Recordings) -> None:
    for name, table in islice(recordings.unknown.items(), 3):
        log.warning("%s: names %s, which is not in %s; it is left out", table, name, root)
    if (more := len(recordings.unknown) - 3) > 0:
        log.warning("%s: %s more likewise", root, pluralise(more, "name"))
    warn_unlisted(
        tables[0], recordings.files.keys() - recordings.segments.keys(),
        "left out; if nothing happens in them, list them with the label background",
    )  # fmt: skip


def _tables(root: Path) -> list[Path]:
    if root.is_file():
        suffix = root.suffix.lower()
        named = root.stem.lower() == _NAME and suffix in _SUFFIXES
        return [root] if named or suffix in _ALWAYS else []
    candidates = [file for file in _list(root) if file.stem.lower() == _NAME]
    candidates += _list(root / _NAME)
    return [file for file in candidates if file.suffix.lower() in _SUFFIXES and file.is_file()]


def _list(folder: Path) -> list[Path]:
    try:
        return sorted(file for file in folder.iterdir() if not file.name.startswith("."))
    except OSError:
        return []


class _Names:
    """Recordings by every name that only one of them has."""

    def __init__(self, files: dict[str, Path]) -> None:
        self._files = files
        self._others: dict[str, set[str]] = defaultdict(set)
        for file in files:
            for name in {Path(file).name, Path(file).stem, str(Path(file).with_suffix(""))}:
                self._others[name].add(file)

    def find(self, name: str) -> str | None:
        """Return the recording with a name; None if there is none.

        Raises:
            GlimpsesError: several recordings have it.
        """
        if name in self._files:
            return name
        # Predictions name files as they were given: the folder may be in front.
        matching = self._others.get(name) or self._others.get(Path(name).name) or ()
        if len(matching) > 1:
            first, second, *_ = sorted(matching)
            raise GlimpsesError(
                f"{name}: may be {first} or {second}; write the path in the table of segments"
            )
        return next(iter(matching), None)


def _is_multi_label(recordings: Iterable[Sequence[Segment]]) -> bool:
    """Return whether segments of different classes overlap in much of the labelled time."""
    labelled = several = 0.0
    for segments in recordings:
        for start, end, active in _intervals(segments):
            count = len({one.label for one in active if not is_background(one.label)})
            labelled += (end - start) * (count > 0)
            several += (end - start) * (count > 1)
    return several > _MULTI_LABEL * labelled


def _parts(
    segments: Sequence[Segment], *, multi_label: bool
) -> Iterator[tuple[float, float | None, tuple[str, ...]]]:
    """Yield start, end and labels of the parts of a recording; None is the end of the file."""
    parts: list[tuple[float, float, tuple[str, ...], object]] = []
    for start, end, active in _intervals(segments):
        labels = tuple(sorted({one.label for one in active}))
        key: object = labels
        if not multi_label and active:
            last = max(active, key=lambda one: (one.start, -one.end))
            labels, key = (last.label,), last
        if parts and parts[-1][3] == key and parts[-1][1] == start:
            parts[-1] = (parts[-1][0], end, labels, key)
        else:
            parts.append((start, end, labels, key))
    for start, end, labels, _ in parts:
        if end - start >= (_SHORTEST if labels else _SHORTEST_GAP):
            yield start, end, labels
    yield parts[-1][1] if parts else 0.0, None, ()


def _intervals(segments: Sequence[Segment]) -> Iterator[tuple[float, float, list[Segment]]]:
    """Yield the times between neighbouring edges from 0 s on, with the segments active in them."""
    wide = [
        replace(one, start=max(one.start - _INSTANT, 0.0), end=one.end + _INSTANT, peak=None)
        if one.start == one.end
        else one
        for one in segments
    ]
    starting = sorted(wide, key=lambda one: one.start)
    edges = sorted({0.0, *(one.start for one in wide), *(one.end for one in wide)})
    active: list[Segment] = []
    following = 0
    for start, end in pairwise(edges):
        active = [one for one in active if one.end > start]
        while following < len(starting) and starting[following].start <= start:
            active.append(starting[following])
            following += 1
        yield start, end, active
