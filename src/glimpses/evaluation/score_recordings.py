"""Scores of the segments that a run finds in long recordings, beside simple baselines."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float64
from rich.table import Table

from glimpses.evaluation.fit_segments import find_in_steps, seconds
from glimpses.evaluation.metrics import label_matrix
from glimpses.evaluation.open_run import OpenedRun, open_training_clips
from glimpses.evaluation.segment_metrics import SegmentScores, score_segments
from glimpses.features import ClipFeatures
from glimpses.features.recordings import SegmentFeatures, whole
from glimpses.inference import predict_causally, predict_clips
from glimpses.segments import Segment, SegmentOptions

# Windows of the linear baseline at most: enough, and solved in seconds.
_MAX_WINDOWS = 8000
# Options of the segments of baselines: the most probable class, smoothed.
_BASELINE = SegmentOptions(threshold=1e-6)

_Steps = Float64[np.ndarray, "N C"]


@dataclass(frozen=True)
class RecordingScores:
    """Scores of segments in recordings.

    Attributes:
        model: scores of the model.
        baselines: scores of baselines, by name.
        predicted: segments that the model found.
        annotated: segments of the table.
        durations: seconds of each recording.
    """

    model: SegmentScores
    baselines: Mapping[str, SegmentScores]
    predicted: tuple[Segment, ...] = field(repr=False)
    annotated: tuple[Segment, ...] = field(repr=False)
    durations: Mapping[str, float] = field(repr=False)

    def to_json(self) -> dict[str, Any]:
        """Return all scores in JSON's types."""
        others = {name: scores.to_json() for name, scores in self.baselines.items()}
        return {"model": self.model.to_json(), "baselines": others}

    def table(self) -> Table:
        """Return the measures as rows, and the model and the baselines as columns."""
        columns = {"model": self.model, **self.baselines}
        table = Table("segments")
        for name in columns:
            table.add_column(name, justify="right")
        cells = [dict(scores.rows()) for scores in columns.values()]
        for name in cells[0]:
            table.add_row(name, *(one[name] for one in cells))
        return table


def score_recordings(opened: OpenedRun, *, causal: bool = False) -> RecordingScores:
    """Find the segments of the recordings that the clips are parts of, and score them.

    Args:
        opened: a run, and a data set of recordings.
        causal: whether later frames may not be used, as in a stream.
    """
    recordings = {
        clip.recording: whole(opened.features.clips[clip.id]) for clip in opened.clips
    }  # fmt: skip
    clips = list(recordings.values())
    by_way = {"model": list(_model_steps(opened, clips, causal=causal))}
    by_way["sliding window"] = list(_window_steps(opened, clips))
    probe = _fit_probe(opened)
    if probe is not None:
        by_way["linear probe"] = [probe.predict(clip) for clip in clips]
    annotated = [one for one in opened.dataset.segments if one.file in recordings]
    durations = {name: seconds(clip) for name, clip in recordings.items()}
    # Several labels need a threshold.
    baseline = SegmentOptions() if opened.config.multi_label else _BASELINE
    scores, predicted = {}, []
    for way, steps in by_way.items():
        is_model = way == "model"
        segments = find_in_steps(
            opened.config, SegmentOptions() if is_model else baseline, recordings, steps,
            causal=causal and is_model,
        )  # fmt: skip
        scores[way] = score_segments(segments, annotated, durations)
        predicted += segments * is_model
    return RecordingScores(
        scores.pop("model"), scores, tuple(predicted), tuple(annotated), durations
    )  # fmt: skip


def _model_steps(
    opened: OpenedRun, clips: Sequence[ClipFeatures], *, causal: bool
) -> Iterator[_Steps]:
    """Yield the probabilities of every step, as `Recogniser.segments` computes them."""
    data, multi_label = opened.config.data, opened.config.multi_label
    if causal:
        results = predict_causally(
            opened.model, clips, block_length=data.block_length, multi_label=multi_label
        )
    else:
        results = predict_clips(
            opened.model, clips, block_length=data.block_length,
            stride=max(1, data.block_length // 2), multi_label=multi_label,
        )  # fmt: skip
    for result in results:
        yield result.step_probabilities


def _window_steps(opened: OpenedRun, clips: Sequence[ClipFeatures]) -> Iterator[_Steps]:
    """Yield probabilities of a window that slides over the recording, as of a clip, at its middle.

    Windows are a block long, and begin every half block.
    """
    data = opened.config.data
    length, stride = data.block_length, max(1, data.block_length // 2)
    for clip in clips:
        starts = np.arange(0, max(len(clip) - length, 0) + stride, stride)
        windows = [
            SegmentFeatures.of(clip, first, first + length)
            for first in starts.tolist()
            if first < len(clip)
        ]
        results = predict_clips(
            opened.model, windows, block_length=length, stride=length,
            multi_label=opened.config.multi_label, aggregate=data.aggregate,
        )  # fmt: skip
        table = np.stack([result.probabilities for result in results])
        # The window whose middle is nearest.
        nearest = np.round((np.arange(len(clip)) - length / 2) / stride).astype(int)
        yield table[nearest.clip(0, len(table) - 1)]


class _Probe:
    """Logistic regression on mean, deviation and change of frozen features in a window."""

    def __init__(self, rows: np.ndarray, targets: np.ndarray, length: int) -> None:
        from sklearn.linear_model import LogisticRegression
        from sklearn.multiclass import OneVsRestClassifier
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        self._length, self._classes = length, targets.shape[1]
        exclusive = bool((targets.sum(1) == 1).all())
        self._exclusive = exclusive
        # The squared length of a row of standardized statistics is their number.
        regression = LogisticRegression(C=1 / rows.shape[1], max_iter=100)
        self._model = make_pipeline(
            StandardScaler(), regression if exclusive else OneVsRestClassifier(regression)
        )
        self._model.fit(rows, targets.argmax(1) if exclusive else targets)

    def predict(self, clip: ClipFeatures) -> _Steps:
        """Return the probabilities of every step of a recording."""
        rows = windowed(clip, self._length)
        columns = self._model.predict_proba(rows)
        if not self._exclusive:
            return np.asarray(columns)
        probabilities = np.zeros((len(rows), self._classes))
        probabilities[:, self._model.classes_] = columns
        return probabilities


def windowed(clip: ClipFeatures, length: int) -> np.ndarray:
    """Return mean, deviation and mean absolute change of the frame means around each step."""
    means = np.concatenate(
        [
            clip.block(first, 256).float().mean(1).numpy()
            for first in range(0, len(clip), 256)
        ]
    )  # fmt: skip
    change = np.abs(np.diff(means, axis=0, prepend=means[:1]))
    columns = np.concatenate([means, means**2, change], axis=1)
    sums = np.concatenate([np.zeros((1, columns.shape[1])), columns.cumsum(0, dtype=np.float64)])
    first = np.clip(np.arange(len(means)) - length // 2, 0, None)
    stop = np.clip(np.arange(len(means)) + length - length // 2, None, len(means))
    mean, square, changed = np.split((sums[stop] - sums[first]) / (stop - first)[:, None], 3, 1)
    return np.concatenate([mean, np.sqrt(np.maximum(square - mean**2, 0)), changed], axis=1)


def _fit_probe(opened: OpenedRun) -> _Probe | None:
    """Return the linear probe, trained on the run's training clips; None if they are not there."""
    trained = open_training_clips(opened)
    if trained is None:
        return None
    clips, features = trained
    rows, targets = [], []
    tables: dict[str, np.ndarray] = {}
    length = opened.config.data.block_length
    labels = label_matrix(clips, len(opened.config.classes))
    for clip, label in zip(clips, labels, strict=True):
        part = features.clips[clip.id]
        if clip.recording not in tables:
            tables[clip.recording] = windowed(whole(part), length)
        first = part.first if isinstance(part, SegmentFeatures) else 0
        rows.append(tables[clip.recording][first : first + len(part)])
        targets.append(np.repeat(label[None], len(part), 0))
    every = max(1, sum(map(len, rows)) // _MAX_WINDOWS)
    table, target = np.concatenate(rows)[::every], np.concatenate(targets)[::every]
    if len(np.unique(target, axis=0)) < 2:
        return None
    with warnings.catch_warnings():
        # A baseline need not converge to the last digit.
        warnings.simplefilter("ignore")
        return _Probe(table, target, length)
