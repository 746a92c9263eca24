"""Scores of clip probabilities: accuracy, average precision and confusion matrix."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Float64, Int
from rich.table import Table

from glimpses.datasets import Clip
from glimpses.inference import ClipResult
from glimpses.runs import CalibrationScores, ScoreRecord, describe_calibration_scores
from glimpses.utils.errors import GlimpsesError, pluralise


@dataclass(frozen=True)
class ClipScore:
    """Prediction for one clip and its labels.

    Attributes:
        id: the clip's id.
        path: its video.
        labels: the actions it shows.
        predicted: the leading class.
        probabilities: class probabilities.
    """

    id: str
    path: Path
    labels: tuple[str, ...]
    predicted: str
    probabilities: tuple[float, ...]

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
        per_class: accuracy (recall) or average precision of every class that has clips.
        confusion: number of clips by true class (rows) and predicted class (columns), (C, C); None
            for multi-label data.
        clips: prediction for each clip.
        skipped: clips that could not be read, with the reason.
        subset: subset of the clips: "test", "train", "validation" or "all".
        calibration: calibration and unsure predictions; None for multi-label data.
    """

    classes: tuple[str, ...]
    accuracy: float | None
    mAP: float | None  # noqa: N815 - the usual spelling
    per_class: Mapping[str, float]
    confusion: Int[np.ndarray, "C C"] | None
    clips: tuple[ClipScore, ...]
    skipped: Mapping[str, str]
    subset: str
    calibration: CalibrationScores | None = None

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
        return sum(len(clip.labels) for clip in self.clips) / len(self.per_class) / len(self.clips)

    def to_record(self, data: str) -> ScoreRecord:
        """Return the record for `scores.json`.

        Args:
            data: name of the data set's folder.
        """
        return ScoreRecord(
            data=data, subset=self.subset, metric="mAP" if self.accuracy is None else "accuracy",
            value=self.value, chance=self.chance, per_class=dict(self.per_class),
            labels={clip.id: clip.labels for clip in self.clips}, skipped=len(self.skipped),
            calibration=self.calibration,
        )  # fmt: skip

    def to_json(self) -> dict[str, Any]:
        """Return all scores as JSON values."""
        headline = {"mAP": self.mAP} if self.accuracy is None else {"accuracy": self.accuracy}
        return {
            **headline,
            "subset": self.subset,
            "n": len(self.clips),
            "chance": self.chance,
            "classes": list(self.classes),
            "per_class": dict(self.per_class),
            "confusion": None if self.confusion is None else self.confusion.tolist(),
            "clips": [
                {
                    "id": clip.id,
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
        }

    def __rich__(self) -> Table:
        name = "mAP" if self.accuracy is None else "accuracy"
        table = Table(
            title=f"{name} {self.value:.1%} on {len(self.clips)} clips ({self.subset}); "
            f"chance level {self.chance:.1%}",
            caption="\n".join(self._notes()) or None,
        )
        table.add_column("class")
        table.add_column("clips", justify="right")
        table.add_column("recall" if self.mAP is None else "average precision", justify="right")
        table.add_column("most often confused with")
        for index, label in enumerate(self.classes):
            if label in self.per_class:
                count = sum(label in clip.labels for clip in self.clips)
                recall = f"{self.per_class[label]:.1%}"
                table.add_row(label, str(count), recall, self._most_confused(index))
        return table

    def _notes(self) -> list[str]:
        """Return the lines below the table."""
        notes = [] if self.calibration is None else describe_calibration_scores(self.calibration)
        if self.skipped:
            notes.append(f"{pluralise(len(self.skipped), 'clip')} could not be read")
        return notes

    def _most_confused(self, index: int) -> str:
        if self.confusion is None:
            return ""
        errors = self.confusion[index].copy()
        errors[index] = 0
        return f"{self.classes[errors.argmax()]} ({errors.max()})" if errors.any() else ""


def score(
    clips: Sequence[Clip],
    probabilities: Float[np.ndarray, "N C"],
    classes: Sequence[str],
    *,
    multi_label: bool = False,
    skipped: Mapping[str, str] | None = None,
    subset: str = "test",
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

    Raises:
        GlimpsesError: no clip shows any action.
    """
    predicted = probabilities.argmax(1)
    labels = np.zeros(probabilities.shape, dtype=bool)
    for row, clip in enumerate(clips):
        labels[row, list(clip.labels)] = True
    present = [index for index in range(len(classes)) if labels[:, index].any()]
    if not present:
        raise GlimpsesError(
            f"none of the {len(clips)} {subset} clips shows an action, so there is nothing to "
            "score; add clips that do"
        )
    accuracy, mean_precision, confusion = None, None, None
    if multi_label:
        # Takes most of a second to import, which single-label data does not need.
        from sklearn.metrics import average_precision_score

        per_class = {
            classes[i]: float(average_precision_score(labels[:, i], probabilities[:, i]))
            for i in present
        }
        mean_precision = float(np.mean(list(per_class.values())))
    else:
        confusion = np.zeros((len(classes), len(classes)), dtype=int)
        np.add.at(confusion, (labels.argmax(1), predicted), 1)
        per_class = {classes[i]: float(confusion[i, i] / confusion[i].sum()) for i in present}
        accuracy = float(np.trace(confusion) / confusion.sum())
    return Scores(
        classes=tuple(classes),
        accuracy=accuracy,
        mAP=mean_precision,
        per_class=per_class,
        confusion=confusion,
        clips=tuple(
            ClipScore(
                id=clip.id,
                path=clip.path,
                labels=tuple(classes[label] for label in clip.labels),
                predicted=classes[predicted[row]],
                probabilities=tuple(map(float, probabilities[row])),
            )
            for row, clip in enumerate(clips)
        ),
        skipped=dict(skipped or {}),
        subset=subset,
    )


def correct(clips: Sequence[Clip], results: Sequence[ClipResult]) -> Float64[np.ndarray, " N"]:
    """Return 1 for each clip whose leading class is a label, else 0; NaN without labels."""
    return np.array(
        [
            float(result.probabilities.argmax() in clip.labels) if clip.labels else np.nan
            for result, clip in zip(results, clips, strict=True)
        ]
    )
