"""Measures of predicted segments, with intervals over recordings."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from glimpses.evaluation.bootstrap import Bootstrap
from glimpses.evaluation.explanation import Estimate
from glimpses.segments import Segment, overlap, sort_segments
from glimpses.utils.errors import pluralise

TIOUS = (0.3, 0.4, 0.5, 0.6, 0.7)
_SEGMENTAL = (0.1, 0.25, 0.5)
_DRAWS = 500

#: Closeness of a prediction to an annotation; higher is closer.
_Closeness = Callable[[Segment, Segment], float]
_Pair = tuple[str, str]


@dataclass(frozen=True)
class SegmentScores:
    """Scores of predicted segments. Every estimate counts recordings.

    Attributes:
        recordings: number of recordings.
        hours: their duration.
        segments: number of annotated segments.
        mean_ap: mAP at each tIoU, as ActivityNet defines it.
        average_map: mean of these.
        second_f1: F1 of seconds: `micro`, `macro`, and both `with background` as a class.
        spotting_map: mAP at each tolerance in seconds.
        spotting_f1: F1 at each tolerance, of all predictions whatever their score.
        false_alarms: predictions per hour that no annotated segment of their class overlaps.
        edit: segmental edit score, 0 to 1.
        segmental_f1: F1 at each tIoU, of all predictions whatever their score.
    """

    recordings: int
    hours: float
    segments: int
    mean_ap: dict[float, Estimate]
    average_map: Estimate
    second_f1: dict[str, Estimate]
    spotting_map: dict[float, Estimate]
    spotting_f1: dict[float, Estimate]
    false_alarms: Estimate
    edit: Estimate
    segmental_f1: dict[float, Estimate]

    def to_json(self) -> dict[str, Any]:
        """Return the scores as a JSON-compatible dictionary; null for undefined values."""
        return {name: _plain(value) for name, value in asdict(self).items()}

    def rows(self) -> list[tuple[str, str]]:
        """Return the name of each measure and its value with the interval, for readers."""
        rows = [(f"mAP at tIoU {tiou:g}", one) for tiou, one in self.mean_ap.items()]
        rows.append(("mAP, mean", self.average_map))
        rows += [(f"F1 of seconds, {name}", one) for name, one in self.second_f1.items()]
        rows += [(f"spotting mAP, {time:g} s", one) for time, one in self.spotting_map.items()]
        rows += [(f"spotting F1, {time:g} s", one) for time, one in self.spotting_f1.items()]
        rows.append(("edit score", self.edit))
        rows += [(f"segmental F1@{100 * at:g}", one) for at, one in self.segmental_f1.items()]
        cells = [(name, f"{_row(one, 100)} %") for name, one in rows]
        return [*cells, ("false alarms per hour", _row(self.false_alarms, 1))]

    def __str__(self) -> str:
        lines = [f"{name:<32}{cell}" for name, cell in self.rows()]
        segments, recordings = (
            pluralise(self.segments, "segment"), pluralise(self.recordings, "recording")
        )  # fmt: skip
        head = f"{segments} in {recordings}, {self.hours:.2f} hours"
        return "\n".join([head, *lines])


def score_segments(
    predicted: Iterable[Segment], annotated: Iterable[Segment], durations: Mapping[str, float], *,
    tious: Sequence[float] = TIOUS, tolerances: Sequence[float] = (1.0, 5.0), seed: int = 0,
) -> SegmentScores:  # fmt: skip
    """Compare predicted with annotated segments.

    Args:
        predicted: segments with scores; a missing score counts as 1.
        annotated: the annotations.
        durations: seconds of each recording, also of those without segments.
        tious: thresholds of the temporal intersection over union.
        tolerances: largest distances in seconds for spotting, between the peaks, or the middles of
            segments without one.
        seed: of the bootstrap.

    Raises:
        ValueError: there are no recordings, or a segment is of none of them.
    """
    predicted, annotated = sort_segments(predicted), sort_segments(annotated)
    names = sorted(durations)
    if not names:
        raise ValueError("there are no recordings to score")
    for one in (*predicted, *annotated):
        if one.file not in durations:
            raise ValueError(f"{one.file} has segments but no duration")
    bootstrap = Bootstrap(names, seed)
    # The first row is the measure itself, the others are the draws of recordings.
    weights = np.concatenate([np.ones((1, len(names))), bootstrap.counts(_DRAWS)])
    index = {name: number for number, name in enumerate(names)}

    def estimate(values: Float[np.ndarray, " D"]) -> Estimate:
        return Estimate(float(values[0]), *bootstrap.interval(values[1:]), len(names))

    def mean_precision(closeness: _Closeness, limit: float) -> Float[np.ndarray, " D"]:
        return _mean_ap(predicted, annotated, closeness, limit, weights, index)

    def f1_of(counts: Float[np.ndarray, "N 3"]) -> Estimate:
        return estimate(_f1(weights @ counts))

    maps = {tiou: mean_precision(overlap, tiou) for tiou in tious}
    seconds = _second_counts(predicted, annotated, durations, index)
    hours = np.array([durations[name] for name in names]) / 3600
    false_alarms, edits = np.zeros(len(names)), np.zeros(len(names))
    guesses, references = _by_file(predicted), _by_file(annotated)
    for name, number in index.items():
        alone = [
            one
            for one in guesses[name]
            if not any(
                one.label == other.label and _touch(one, other) for other in references[name]
            )
        ]
        false_alarms[number] = len(alone)
        edits[number] = edit_score(
            [one.label for one in guesses[name]], [one.label for one in references[name]]
        )
    with np.errstate(invalid="ignore", divide="ignore"):
        alarm_rates = (weights @ false_alarms) / (weights @ hours)
    return SegmentScores(
        recordings=len(names),
        hours=float(hours.sum()),
        segments=len(annotated),
        mean_ap={tiou: estimate(values) for tiou, values in maps.items()},
        average_map=estimate(np.mean(list(maps.values()), axis=0)),
        second_f1={
            name + suffix: estimate(values)
            for suffix, counts in ((", with background", seconds), ("", seconds[:, 1:]))
            for name, values in _second_f1(counts, weights).items()
        },
        spotting_map={time: estimate(mean_precision(_nearness, -time)) for time in tolerances},
        spotting_f1={
            time: f1_of(_matches(guesses, references, _nearness, -time, index))
            for time in tolerances
        },
        false_alarms=estimate(alarm_rates),
        edit=estimate((weights @ edits) / weights.sum(1)),
        segmental_f1={
            tiou: f1_of(_segmental(guesses, references, tiou, index)) for tiou in _SEGMENTAL
        },
    )  # fmt: skip


def match(
    predicted: Sequence[Segment], annotated: Sequence[Segment], closeness: _Closeness, limit: float
) -> Bool[np.ndarray, " P"]:
    """Return which predictions are correct: greedily, in order of falling score.

    A prediction takes the closest annotation of its file and label that is still free, if the
    closeness reaches the limit.
    """
    groups: dict[_Pair, list[Segment]] = defaultdict(list)
    for one in annotated:
        groups[one.file, one.label].append(one)
    hit = np.zeros(len(predicted), bool)
    for number in _by_score(predicted):
        one = predicted[number]
        free = groups[one.file, one.label]
        values = [closeness(one, other) for other in free]
        if values and max(values) >= limit:
            free.pop(int(np.argmax(values)))
            hit[number] = True
    return hit


def edit_score(predicted: Sequence[str], annotated: Sequence[str]) -> float:
    """Return 1 minus the Levenshtein distance of two sequences of labels over the longer length."""
    longest = max(len(predicted), len(annotated))
    if not longest:
        return 1.0
    row = list(range(len(annotated) + 1))
    for number, label in enumerate(predicted, start=1):
        previous, row[0] = row[0], number
        for column, other in enumerate(annotated, start=1):
            previous, row[column] = (
                row[column],
                min(row[column] + 1, row[column - 1] + 1, previous + (label != other)),
            )
    return 1 - row[-1] / longest


def _mean_ap(
    predicted: Sequence[Segment], annotated: Sequence[Segment], closeness: _Closeness, limit: float,
    weights: Float[np.ndarray, "D N"], index: Mapping[str, int],
) -> Float[np.ndarray, " D"]:  # fmt: skip
    """Return the mean over annotated classes of the interpolated average precision."""
    aps = []
    for label in sorted({one.label for one in annotated}):
        chosen = [one for one in predicted if one.label == label]
        wanted_rows = [index[one.file] for one in annotated if one.label == label]
        total = weights[:, wanted_rows].sum(1)
        order = _by_score(chosen)
        hit = match(chosen, [one for one in annotated if one.label == label], closeness, limit)
        weight = weights[:, [index[chosen[number].file] for number in order]]
        correct = weight * hit[order]
        count = np.maximum(weight.cumsum(1), 1e-12)
        precision = correct.cumsum(1) / count
        envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        with np.errstate(invalid="ignore"):
            # Draws without the class do not count it.
            aps.append((envelope * correct).sum(1) / np.where(total > 0, total, np.nan))
    if not aps:
        return np.full(len(weights), np.nan)
    table = np.array(aps)
    present = np.isfinite(table)
    with np.errstate(invalid="ignore"):
        mean: Float[np.ndarray, " D"] = np.where(present, table, 0).sum(0) / present.sum(0)
    return mean


def _by_score(segments: Sequence[Segment]) -> Int[np.ndarray, " P"]:
    scores = np.array([1.0 if one.score is None else one.score for one in segments], float)
    return np.argsort(-scores, kind="stable")


def _nearness(one: Segment, other: Segment) -> float:
    """Return minus the distance of two segments as instants, in seconds."""
    times = [(s.start + s.end) / 2 if s.peak is None else s.peak for s in (one, other)]
    return -abs(times[0] - times[1])


def _touch(one: Segment, other: Segment) -> bool:
    """Return whether two segments share some time; an instant also touches one that contains it."""
    shared = min(one.end, other.end) - max(one.start, other.start)
    return shared > 0 or (shared == 0 and 0 in (one.duration, other.duration))


def _by_file(segments: Iterable[Segment]) -> dict[str, list[Segment]]:
    files: dict[str, list[Segment]] = defaultdict(list)
    for one in segments:
        files[one.file].append(one)
    return files


def _matches(
    guesses: Mapping[str, list[Segment]],
    references: Mapping[str, list[Segment]],
    closeness: _Closeness,
    limit: float,
    index: Mapping[str, int],
) -> Float[np.ndarray, "N 3"]:
    """Return correct, wrong and missed predictions of each recording."""
    counts = np.zeros((len(index), 3))
    for name, row in index.items():
        hits = int(match(guesses[name], references[name], closeness, limit).sum())
        counts[row] = hits, len(guesses[name]) - hits, len(references[name]) - hits
    return counts


def _segmental(
    guesses: Mapping[str, list[Segment]], references: Mapping[str, list[Segment]], tiou: float,
    index: Mapping[str, int],
) -> Float[np.ndarray, "N 3"]:  # fmt: skip
    """Return the counts of MS-TCN's F1: in order of time, each to its most overlapping segment."""
    counts = np.zeros((len(index), 3))
    for name, row in index.items():
        used: set[int] = set()
        for one in guesses[name]:
            values = [
                overlap(one, other) if one.label == other.label else 0.0
                for other in references[name]
            ]
            best = int(np.argmax(values)) if values else -1
            if best >= 0 and values[best] >= tiou and best not in used:
                used.add(best)
        counts[row] = len(used), len(guesses[name]) - len(used), len(references[name]) - len(used)
    return counts


def _second_counts(
    predicted: Sequence[Segment], annotated: Sequence[Segment], durations: Mapping[str, float],
    index: Mapping[str, int],
) -> Float[np.ndarray, "N K 3"]:  # fmt: skip
    """Return correct, wrong and missed seconds by recording and class; background is the first.

    A second has the labels of the segments that contain its middle.
    """
    labels = sorted({one.label for one in (*predicted, *annotated)})
    guesses, references = _by_file(predicted), _by_file(annotated)
    counts = np.zeros((len(index), len(labels) + 1, 3))
    for name, row in index.items():
        length = int(np.ceil(durations[name]))
        active = np.zeros((2, len(labels) + 1, length), bool)
        for side, segments in enumerate((guesses[name], references[name])):
            for one in segments:
                ends = (int(np.ceil(time - 0.5)) for time in (one.start, one.end))
                active[side, labels.index(one.label) + 1, slice(*(max(end, 0) for end in ends))] = 1
            active[side, 0] = ~active[side].any(0)
        guess, annotation = active
        counts[row] = np.stack(
            [(guess & annotation).sum(1), (guess & ~annotation).sum(1),
             (~guess & annotation).sum(1)], axis=1,
        )  # fmt: skip
    return counts


def _second_f1(
    counts: Float[np.ndarray, "N K 3"], weights: Float[np.ndarray, "D N"]
) -> dict[str, Float[np.ndarray, " D"]]:
    totals = np.einsum("dn,nkc->dkc", weights, counts)
    by_class = _f1(totals)
    present = np.isfinite(by_class)
    with np.errstate(invalid="ignore"):
        macro = np.where(present, by_class, 0).sum(1) / present.sum(1)
    return {"micro": _f1(totals.sum(1)), "macro": macro}


def _f1(counts: Float[np.ndarray, "*D 3"]) -> Float[np.ndarray, "*D"]:
    """Return F1 of correct, wrong and missed; NaN if there is nothing."""
    correct, wrong, missed = np.moveaxis(counts, -1, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        f1: Float[np.ndarray, "*D"] = 2 * correct / (2 * correct + wrong + missed)
    return f1


def _row(one: Estimate, factor: float) -> str:
    text = f"{factor * one.value:7.1f}"
    if np.isfinite(one.low):
        text += f"  ({factor * one.low:.1f} to {factor * one.high:.1f})"
    return text


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(name): _plain(one) for name, one in value.items()}
    return None if isinstance(value, float) and not np.isfinite(value) else value
