"""Scores of clip probabilities: accuracy, average precision and confusion matrix."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from jaxtyping import Bool, Float, Float64, Int
from rich.console import Group
from rich.table import Table

from glimpses.datasets import Clip
from glimpses.evaluation import classification
from glimpses.evaluation.explanation import Estimate
from glimpses.inference import ClipResult
from glimpses.runs import (
    CalibrationScores,
    ClassScore,
    ScoreRecord,
    ScoreValue,
    describe_calibration_scores,
)
from glimpses.utils.errors import GlimpsesError, describe_unreadable

if TYPE_CHECKING:
    from glimpses.evaluation.score_recordings import RecordingScores


@dataclass(frozen=True)
class ClipScore:
    """Prediction for one clip and its labels.

    Attributes:
        id: the clip's id.
        path: its video.
        labels: the actions it shows.
        predicted: the leading class.
        probabilities: class probabilities.
        group: the recording that it comes from; its id if that is unknown.
    """

    id: str
    path: Path
    labels: tuple[str, ...]
    predicted: str
    probabilities: tuple[float, ...]
    group: str

    @property
    def correct(self) -> bool | None:
        """True if the leading class is one of the labels; None if the clip shows no action."""
        return self.predicted in self.labels if self.labels else None


@dataclass(frozen=True)
class Scores:
    """Scores of a model on a set of clips.

    Attributes:
        classes: names of the actions.
        accuracy: fraction of clips classified correctly; None for multi-label data.
        mAP: mean average precision over classes; None for single-label data.
        confusion: number of clips by true class (rows) and predicted class (columns), (C, C); None
            for multi-label data.
        clips: prediction for each clip.
        skipped: clips that could not be read, with the reason.
        subset: subset of the clips: "test", "train", "validation", "all" or "cross-validated".
        grouped: whether the recordings of the clips are known; if not, every clip counts as one.
        folds: number of folds of a cross-validation.
        calibration: calibration and unsure predictions; None for multi-label data.
        segments: scores of segments, for data sets of long recordings.
    """

    classes: tuple[str, ...]
    accuracy: float | None
    mAP: float | None  # noqa: N815 - the usual spelling
    confusion: Int[np.ndarray, "C C"] | None
    clips: tuple[ClipScore, ...] = field(repr=False)
    skipped: Mapping[str, str]
    subset: str
    grouped: bool = True
    folds: int | None = None
    calibration: CalibrationScores | None = None
    segments: RecordingScores | None = None

    @property
    def ok(self) -> bool:
        """True if every clip could be read."""
        return not self.skipped

    @property
    def complaints(self) -> tuple[str, ...]:
        """One line if clips could not be read; a warning has given the reason of each."""
        return describe_unreadable(self.skipped, len(self.clips) + len(self.skipped))

    @property
    def value(self) -> float:
        """Headline score: accuracy, or mAP for multi-label data."""
        score = self.mAP if self.accuracy is None else self.accuracy
        assert score is not None
        return score

    @property
    def chance(self) -> float:
        """Chance level: 1 / C for accuracy; for mAP, the mean fraction of clips per class."""
        if self.mAP is None:
            return 1 / len(self.classes)
        labels = self._labels
        return float(labels.sum() / labels.any(0).sum() / len(labels))

    @property
    def majority(self) -> float | None:
        """Accuracy of always predicting the most frequent class of these clips; None for mAP."""
        return None if self.mAP is not None else float(self._labels.mean(0).max())

    @property
    def measures(self) -> Mapping[str, ScoreValue]:
        """All measures by name, each with its 95 % interval over recordings."""
        measures = self._details[0]
        if self.segments is None:
            return measures
        model = self.segments.model
        of_segments = {
            "segment_mAP": model.average_map, "second_f1": model.second_f1["macro"],
        }  # fmt: skip
        return {**measures, **{name: _value(one) for name, one in of_segments.items()}}

    @property
    def per_class(self) -> Mapping[str, ClassScore]:
        """Scores of every class that has clips, by its name."""
        return self._details[1]

    @cached_property
    def _details(self) -> tuple[Mapping[str, ScoreValue], Mapping[str, ClassScore]]:
        """Measures and scores by class; computed on demand, which takes most of a second."""
        table = np.array([clip.probabilities for clip in self.clips])
        groups = self._groups
        measures: Mapping[str, ScoreValue]
        if self.mAP is not None:
            mean_precision, by_class = classification.multi_label_scores(
                self._labels, table, groups
            )
            measures = {"mAP": mean_precision}
        else:
            labels = self._labels.argmax(1)
            predicted = np.array([self.classes.index(clip.predicted) for clip in self.clips])
            measures = classification.single_label_measures(labels, table, predicted, groups)
            by_class = classification.single_label_classes(labels, predicted, groups)
        return measures, {self.classes[index]: score for index, score in by_class.items()}

    @property
    def _groups(self) -> list[str]:
        return [clip.group for clip in self.clips]

    @cached_property
    def _labels(self) -> Bool[np.ndarray, "N C"]:
        return np.array([[name in clip.labels for name in self.classes] for clip in self.clips])

    def to_record(self, data: str = "") -> ScoreRecord:
        """Return the record for `scores.json`.

        Args:
            data: name of the data set's folder.
        """
        return ScoreRecord(
            data=data, subset=self.subset, metric="mAP" if self.accuracy is None else "accuracy",
            measures=self.measures, chance=self.chance, majority=self.majority,
            per_class=self.per_class, recordings=len(set(self._groups)), grouped=self.grouped,
            labels={clip.id: clip.labels for clip in self.clips}, skipped=len(self.skipped),
            folds=self.folds, calibration=self.calibration,
        )  # fmt: skip

    def to_json(self) -> dict[str, Any]:
        """Return all scores as JSON values."""
        record = self.to_record()
        return {
            record.metric: self.value,
            "interval": record.measures[record.metric].interval,
            "subset": self.subset,
            "n": record.n,
            "recordings": record.recordings if self.grouped else None,
            "chance": self.chance,
            "majority": self.majority,
            "measures": msgspec.to_builtins(self.measures),
            "classes": list(self.classes),
            "per_class": msgspec.to_builtins(self.per_class),
            "confusion": None if self.confusion is None else self.confusion.tolist(),
            "clips": [
                {
                    "id": clip.id,
                    "recording": clip.group if self.grouped else None,
                    "labels": list(clip.labels),
                    "predicted": clip.predicted,
                    "probabilities": {
                        name: round(value, 6)
                        for name, value in zip(self.classes, clip.probabilities, strict=True)
                    },
                }
                for clip in self.clips
            ],
            "skipped": dict(self.skipped),
            "calibration": self.calibration and asdict(self.calibration),
            "segments": self.segments and self.segments.to_json(),
        }

    def __str__(self) -> str:
        record = self.to_record()
        others = [f"{name} {value}" for name, value in record.other_measures.items()]
        lines = [record.headline, "; ".join(others), record.baselines]
        if self.calibration is not None:
            lines += describe_calibration_scores(self.calibration)
        return "\n".join(filter(None, lines))

    def __rich__(self) -> Group:
        segments = [self.segments.table()] if self.segments is not None else []
        return Group(str(self), self.class_table(), *segments)

    def class_table(self) -> Table:
        """Return the scores of each class as a table for a terminal."""
        multi_label = self.mAP is not None
        table = Table()
        table.add_column("class")
        for name in ("clips", "recordings") if self.grouped else ("clips",):
            table.add_column(name, justify="right")
        score = "average precision" if multi_label else "recall"
        table.add_column(f"{score} (95% interval)", justify="right")
        if not multi_label:
            table.add_column("precision", justify="right")
            table.add_column("most often confused with")
        for index, label in enumerate(self.classes):
            if (scores := self.per_class.get(label)) is None:
                continue
            cells = [label, str(scores.clips), *([str(scores.recordings)] if self.grouped else [])]
            if multi_label:
                table.add_row(*cells, str(scores.average_precision))
            else:
                precision = "–" if scores.precision is None else f"{scores.precision:.1%}"
                table.add_row(*cells, str(scores.recall), precision, self._most_confused(index))
        return table

    def _most_confused(self, index: int) -> str:
        if self.confusion is None:
            return ""
        errors = self.confusion[index].copy()
        errors[index] = 0
        return f"{self.classes[errors.argmax()]} ({errors.max()})" if errors.any() else ""


def _value(one: Estimate) -> ScoreValue:
    # Nothing to measure counts as nothing achieved.
    value = one.value if np.isfinite(one.value) else 0.0
    interval = (one.low, one.high) if np.isfinite(one.low) and np.isfinite(one.high) else None
    return ScoreValue(value, interval)


def label_matrix(clips: Sequence[Clip], num_classes: int) -> Bool[np.ndarray, "N C"]:
    """Return True for the classes of each clip and False for others."""
    matrix = np.zeros((len(clips), num_classes), dtype=bool)
    for row, clip in enumerate(clips):
        matrix[row, list(clip.labels)] = True
    return matrix


def score(
    clips: Sequence[Clip],
    probabilities: Float[np.ndarray, "N C"],
    classes: Sequence[str],
    *,
    multi_label: bool = False,
    skipped: Mapping[str, str] | None = None,
    subset: str = "test",
    grouped: bool = True,
    folds: int | None = None,
) -> Scores:
    """Score clip probabilities against the clips' labels.

    Args:
        clips: the clips; their labels index `classes`.
        probabilities: class probabilities of each clip.
        classes: names of the actions.
        multi_label: whether a clip may show several actions, or none. If so, average precision is
            computed for each class over all clips, and mAP is the mean over classes with clips.
        skipped: clips that could not be read, with the reason.
        subset: subset of the clips.
        grouped: whether the groups of the clips are known.
        folds: number of folds of a cross-validation.

    Raises:
        GlimpsesError: no clip shows any action.
    """
    predicted = probabilities.argmax(1)
    labels = label_matrix(clips, len(classes))
    present = [index for index in range(len(classes)) if labels[:, index].any()]
    if not present:
        raise GlimpsesError(
            f"none of the {len(clips)} {subset} clips shows an action, so there is nothing to "
            "score; add clips that do"
        )
    accuracy, mean_precision, confusion = None, None, None
    if multi_label:
        shown = labels[:, present], probabilities[:, present]
        mean_precision = float(classification.average_precision(*shown).mean())
    else:
        confusion = np.zeros((len(classes), len(classes)), dtype=int)
        np.add.at(confusion, (labels.argmax(1), predicted), 1)
        accuracy = float(np.trace(confusion) / confusion.sum())
    return Scores(
        classes=tuple(classes),
        accuracy=accuracy,
        mAP=mean_precision,
        confusion=confusion,
        clips=tuple(
            ClipScore(
                id=clip.id,
                path=clip.path,
                labels=tuple(classes[label] for label in clip.labels),
                predicted=classes[predicted[row]],
                probabilities=tuple(map(float, probabilities[row])),
                group=clip.group,
            )
            for row, clip in enumerate(clips)
        ),
        skipped=dict(skipped or {}),
        subset=subset,
        grouped=grouped,
        folds=folds,
    )


def correct(clips: Sequence[Clip], results: Sequence[ClipResult]) -> Float64[np.ndarray, " N"]:
    """Return 1 for each clip whose leading class is a label, else 0; NaN without labels."""
    return np.array(
        [
            float(result.probabilities.argmax() in clip.labels) if clip.labels else np.nan
            for result, clip in zip(results, clips, strict=True)
        ]
    )
