"""Clip probabilities to scores: accuracy, average precision, confusion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from rich.table import Table

from glimpses.datasets import Clip
from glimpses.runs import ScoreRecord
from glimpses.utils.errors import GlimpsesError, pluralise


@dataclass(frozen=True)
class ClipScore:
    """One clip of a test: what it shows and what the model said."""

    id: str
    path: Path
    truth: tuple[str, ...]
    predicted: str
    probabilities: tuple[float, ...]

    @property
    def right(self) -> bool | None:
        """Whether the leading class is one the clip shows; None if it shows none of them."""
        return self.predicted in self.truth if self.truth else None


@dataclass(frozen=True)
class Scores:
    """How well a model does on a set of clips.

    Attributes:
        classes: names of the actions.
        accuracy: share of clips whose leading class is right; None for multi-label data.
        mAP: mean over classes of average precision; None for single-label data.
        per_class: accuracy (recall) or average precision of every class that has clips.
        confusion: clips by true class (rows) and predicted class (columns), (C, C); None for
            multi-label data.
        clips: every clip's own result.
        skipped: clips that could not be read, with the reason.
        side: which clips were scored: "test", "train", "validation" or "all".
    """

    classes: tuple[str, ...]
    accuracy: float | None
    mAP: float | None  # noqa: N815 - the field's own name for it
    per_class: Mapping[str, float]
    confusion: Int[np.ndarray, "C C"] | None
    clips: tuple[ClipScore, ...]
    skipped: Mapping[str, str]
    side: str

    @property
    def value(self) -> float:
        """The headline number: accuracy, or mAP for multi-label data."""
        score = self.mAP if self.accuracy is None else self.accuracy
        assert score is not None
        return score

    @property
    def chance(self) -> float:
        """What guessing tends to: one class of all; for mAP, the mean share of clips of a class."""
        if self.mAP is None:
            return 1 / len(self.classes)
        return sum(len(clip.truth) for clip in self.clips) / len(self.per_class) / len(self.clips)

    def to_record(self, data: str) -> ScoreRecord:
        """Return the record for `scores.json`.

        Args:
            data: name of the data set's folder.
        """
        return ScoreRecord(
            data=data,
            subset=self.side,
            metric="mAP" if self.accuracy is None else "accuracy",
            value=self.value,
            chance=self.chance,
            per_class=dict(self.per_class),
            labels={clip.id: clip.truth for clip in self.clips},
            skipped=len(self.skipped),
        )

    def to_json(self) -> dict[str, Any]:
        """Everything, for programs."""
        headline = {"mAP": self.mAP} if self.accuracy is None else {"accuracy": self.accuracy}
        return {
            **headline,
            "side": self.side,
            "n": len(self.clips),
            "chance": self.chance,
            "classes": list(self.classes),
            "per_class": dict(self.per_class),
            "confusion": None if self.confusion is None else self.confusion.tolist(),
            "clips": [
                {
                    "id": clip.id,
                    "truth": list(clip.truth),
                    "predicted": clip.predicted,
                    "probabilities": dict(
                        zip(self.classes, map(_short, clip.probabilities), strict=True)
                    ),
                }
                for clip in self.clips
            ],
            "skipped": dict(self.skipped),
        }

    def __rich__(self) -> Table:
        name = "mAP" if self.accuracy is None else "accuracy"
        table = Table(
            title=f"{name} {self.value:.1%} on {len(self.clips)} clips ({self.side}); "
            f"chance {self.chance:.1%}",
            caption=f"{pluralise(len(self.skipped), 'clip')} could not be read"
            if self.skipped
            else None,
        )
        table.add_column("class")
        table.add_column("clips", justify="right")
        table.add_column("recall" if self.mAP is None else "average precision", justify="right")
        table.add_column("most often taken for")
        for index, label in enumerate(self.classes):
            if label in self.per_class:
                count = sum(label in clip.truth for clip in self.clips)
                table.add_row(label, str(count), f"{self.per_class[label]:.1%}", self._taken(index))
        return table

    def _taken(self, index: int) -> str:
        if self.confusion is None:
            return ""
        wrong = self.confusion[index].copy()
        wrong[index] = 0
        return f"{self.classes[wrong.argmax()]} ({wrong.max()})" if wrong.any() else ""


def score(
    clips: Sequence[Clip],
    probabilities: Float[np.ndarray, "N C"],
    classes: Sequence[str],
    *,
    multi_label: bool = False,
    skipped: Mapping[str, str] | None = None,
    side: str = "test",
) -> Scores:
    """Score clip probabilities against the clips' labels.

    Args:
        clips: the clips; their labels index `classes`.
        probabilities: what the model said of each.
        classes: names of the actions.
        multi_label: whether a clip may show several actions, or none; then average precision is
            computed per class over all clips, and mAP is their mean (classes with no clip are left
            out).
        skipped: clips that could not be read.
        side: which clips these are.

    Raises:
        GlimpsesError: no clip shows any action.
    """
    predicted = probabilities.argmax(1)
    truth = np.zeros(probabilities.shape, dtype=bool)
    for row, clip in enumerate(clips):
        truth[row, list(clip.labels)] = True
    shown = [index for index in range(len(classes)) if truth[:, index].any()]
    if not shown:
        raise GlimpsesError(
            f"none of the {len(clips)} {side} clips shows an action, so there is nothing to score; "
            "add clips that do"
        )
    accuracy, mean_precision, confusion = None, None, None
    if multi_label:
        # It takes most of a second to load, which clips of one action each need not wait for.
        from sklearn.metrics import average_precision_score

        per_class = {
            classes[i]: float(average_precision_score(truth[:, i], probabilities[:, i]))
            for i in shown
        }
        mean_precision = float(np.mean(list(per_class.values())))
    else:
        confusion = np.zeros((len(classes), len(classes)), dtype=int)
        np.add.at(confusion, (truth.argmax(1), predicted), 1)
        per_class = {classes[i]: float(confusion[i, i] / confusion[i].sum()) for i in shown}
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
                truth=tuple(classes[label] for label in clip.labels),
                predicted=classes[predicted[row]],
                probabilities=tuple(map(float, probabilities[row])),
            )
            for row, clip in enumerate(clips)
        ),
        skipped=dict(skipped or {}),
        side=side,
    )


def _short(number: float) -> float:
    return round(number, 6)
