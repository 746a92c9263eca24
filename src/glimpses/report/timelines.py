"""Timelines of recordings: annotated segments above those that the models found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from glimpses.evaluation import RecordingScores
from glimpses.segments import Segment, sort_segments

# Recordings on a page at most, and colours in its style; further classes share them.
_MAX_RECORDINGS, _COLOURS = 20, 8


@dataclass(frozen=True)
class TimelineBar:
    """Segment on a timeline.

    Attributes:
        left: its start as a fraction of the recording.
        width: its length as a fraction of the recording.
        colour: number of the colour of its class.
        text: its class, times and score in words.
    """

    left: float
    width: float
    colour: int
    text: str


@dataclass(frozen=True)
class TimelineRow:
    """Segments of one source in a recording.

    Attributes:
        name: "annotated", or the name of a model.
        lanes: the segments; those that overlap are in different lanes.
        text: the number of segments and the seconds of each class in words.
    """

    name: str
    lanes: tuple[tuple[TimelineBar, ...], ...]
    text: str


@dataclass(frozen=True)
class RecordingTimeline:
    """Timeline of a recording: its name, its length in seconds and its rows."""

    name: str
    seconds: float
    rows: tuple[TimelineRow, ...]


@dataclass(frozen=True)
class Timelines:
    """Timelines of recordings.

    Attributes:
        legend: number of the colour of each class.
        recordings: the recordings that are shown.
        left_out: number of the others.
    """

    legend: Mapping[str, int]
    recordings: tuple[RecordingTimeline, ...]
    left_out: int = 0


def draw_timelines(scores: Mapping[str, RecordingScores]) -> Timelines | None:
    """Return the timelines of the recordings that the first model was scored on.

    Args:
        scores: of the models, by name.

    Returns:
        The timelines; None without a model.
    """
    first = next(iter(scores.values()), None)
    if first is None:
        return None
    sources = {
        "annotated": first.annotated,
        **{name: one.predicted for name, one in scores.items()},
    }
    labels = sorted({one.label for segments in sources.values() for one in segments})
    legend = {label: index % _COLOURS for index, label in enumerate(labels)}
    shown = sorted(first.durations)[:_MAX_RECORDINGS]
    recordings = tuple(
        RecordingTimeline(
            name, first.durations[name],
            tuple(
                _row(source, [one for one in segments if one.file == name], legend,
                     first.durations[name])
                for source, segments in sources.items()
                if source == "annotated" or name in scores[source].durations
            ),
        )
        for name in shown
    )  # fmt: skip
    return Timelines(legend, recordings, len(first.durations) - len(shown))


def _row(
    name: str, segments: Sequence[Segment], legend: Mapping[str, int], seconds: float
) -> TimelineRow:
    lanes: list[list[TimelineBar]] = []
    ends: list[float] = []
    totals: dict[str, float] = {}
    for one in sort_segments(segments):
        lane = next((lane for lane, end in enumerate(ends) if end <= one.start + 1e-6), len(ends))
        if lane == len(ends):
            lanes.append([])
            ends.append(0.0)
        ends[lane] = one.end
        text = f"{one.label}, {one.start:.1f} to {one.end:.1f} s"
        if one.score is not None:
            text += f", {one.score:.0%}"
        start, end = (min(time / seconds, 1.0) for time in (one.start, one.end))
        lanes[lane].append(TimelineBar(start, end - start, legend[one.label], text))
        totals[one.label] = totals.get(one.label, 0.0) + one.duration
    parts = [f"{label} {total:.1f} s" for label, total in sorted(totals.items())]
    # An empty recording has an empty lane.
    return TimelineRow(
        name, tuple(map(tuple, lanes)) or ((),), f"{name}: {', '.join(parts) or 'no segments'}"
    )
