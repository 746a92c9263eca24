"""Search for errors in tables of segments."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from glimpses.datasets import ActionDataset, is_background
from glimpses.datasets.layouts.segments import Recordings, read_recordings
from glimpses.segments import Segment

if TYPE_CHECKING:
    from glimpses.check.report import ClipCheck

# A segment may end this many seconds after the last frame: rounding, and the sound.
_MARGIN = 0.5
# With less time in seconds, a class has too few different moments to learn from.
_LITTLE_TIME = 20.0
# Relative difference of frame rates that count as equal.
_SAME_RATE = 0.02


@dataclass(frozen=True)
class LabelledTime:
    """Labelled time of a class: number of segments and recordings, and seconds of each segment."""

    name: str
    recordings: int
    durations: tuple[float, ...]

    @property
    def seconds(self) -> float:
        """Length of all segments together."""
        return sum(self.durations)


@dataclass(frozen=True)
class SegmentIssues:
    """Findings in tables of segments.

    Attributes:
        problems: errors, one line each: unknown files, segments outside their file, wrong units.
        overlaps: segments of different classes that overlap, one line each.
        times: labelled time of each class.
        background: unlabelled seconds of all recordings.
    """

    problems: tuple[str, ...]
    overlaps: tuple[str, ...]
    times: tuple[LabelledTime, ...]
    background: float

    @property
    def little(self) -> tuple[LabelledTime, ...]:
        """Classes with little labelled time; those of instants do not count."""
        return tuple(one for one in self.times if 0 < one.seconds < _LITTLE_TIME)


def find_segment_issues(
    root: Path, dataset: ActionDataset, checks: Sequence[ClipCheck]
) -> SegmentIssues:
    """Compare the tables of segments with the files.

    Args:
        root: folder or table that the data set was loaded from.
        dataset: the data set.
        checks: properties of the recordings.
    """
    recordings = read_recordings(root if root.is_dir() else root.parent, dataset.lists)
    files = {check.clip: check for check in checks}
    problems = [
        f"{table.name}: names {name}, which is not there"
        for name, table in recordings.unknown.items()
    ]
    overlaps = []
    unlabelled = 0.0
    for name, segments in recordings.segments.items():
        check = files.get(name)
        if check is not None and check.frames:
            problems += _outside(check, segments)
            problems += _frame_rates(check, segments)
            unlabelled += check.seconds - _covered(segments, check.seconds)
        overlaps += [f"{name}: {line}" for line in find_overlaps(segments)]
    return SegmentIssues(
        tuple(problems), tuple(overlaps), tuple(_labelled_time(dataset, recordings)),
        round(unlabelled, 3),
    )  # fmt: skip


def find_overlaps(segments: Sequence[Segment]) -> list[str]:
    """Return one line for each pair of segments of different classes that overlap."""
    lines = []
    running: list[Segment] = []
    for one in sorted(segments, key=lambda one: one.start):
        running = [other for other in running if other.end > one.start]
        for other in running:
            if other.label != one.label and one.end > one.start:
                end = min(one.end, other.end)
                lines.append(f"{other.label} and {one.label} overlap, {one.start:g} to {end:g} s")
        running.append(one)
    return lines


def _outside(check: ClipCheck, segments: Sequence[Segment]) -> list[str]:
    """Return the segments that end after the file, or the unit that they seem to have."""
    limit = check.seconds + _MARGIN
    outside = [one for one in segments if one.end > limit]
    if not outside:
        return []
    last = max(one.end for one in segments)
    for unit, factor in (("frame numbers", check.fps), ("milliseconds", 1000.0)):
        # Of times in seconds, at most a few are outside.
        if len(outside) > len(segments) / 2 and last / factor <= limit:
            return [
                f"{check.clip}: its times look like {unit}: the last is {last:g}, and the file has "
                f"{check.seconds:.1f} s at {check.fps:g} fps; divide them by {factor:g}"
            ]
    return [
        f"{check.clip}: {one.label} from {one.start:g} to {one.end:g} s is outside the file, which "
        f"has {check.seconds:.1f} s"
        for one in outside
    ]


def _frame_rates(check: ClipCheck, segments: Sequence[Segment]) -> list[str]:
    """Return a line if frame numbers and times of a table are those of another frame rate."""
    rates = [one.frames[1] / one.end for one in segments if one.frames is not None and one.end > 1]
    if not rates:
        return []
    rate = float(np.median(rates))
    if abs(rate - check.fps) <= _SAME_RATE * check.fps:
        return []
    return [
        f"{check.clip}: frames and times of its segments are those of {rate:.5g} fps, and the file "
        f"has {check.fps:.5g}; the times are used"
    ]


def _covered(segments: Sequence[Segment], seconds: float) -> float:
    """Return the seconds that segments cover, background excluded."""
    covered = reached = 0.0
    for one in sorted(segments, key=lambda one: one.start):
        end = min(one.end, seconds)
        if end > reached and not is_background(one.label):
            covered += end - max(one.start, reached)
            reached = end
    return covered


def _labelled_time(dataset: ActionDataset, recordings: Recordings) -> list[LabelledTime]:
    durations: Mapping[str, list[float]] = defaultdict(list)
    files: Mapping[str, set[str]] = defaultdict(set)
    for name, segments in recordings.segments.items():
        for one in segments:
            durations[one.label].append(round(one.duration, 3))
            files[one.label].add(name)
    return [
        LabelledTime(name, len(files[name]), tuple(durations[name]))
        for name in dataset.classes
        if name in durations
    ]
