"""Scores of a run, `scores.json` in its folder: one record for each set of clips."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec

from glimpses.runs.calibration import CalibrationScores
from glimpses.utils.errors import GlimpsesError, pluralise
from glimpses.utils.files import atomic_write, read_bytes

SCORES = "scores.json"
_FORMAT = 2

#: Subset of the scores of a cross-validation, in which every clip is tested once.
CROSS_VALIDATED = "cross-validated"
#: Names of the measures for readers, in display order.
MEASURES = {
    "accuracy": "accuracy", "mAP": "mAP", "balanced_accuracy": "balanced accuracy",
    "macro_f1": "macro-F1", "top5_accuracy": "top-5 accuracy",
    "segment_mAP": "mAP of segments", "second_f1": "F1 of seconds",
}  # fmt: skip


@dataclass(frozen=True)
class ScoreValue:
    """Value of a measure, 0 to 1, with its 95 % interval over recordings.

    Attributes:
        value: the value.
        interval: its lower and upper end; None if there are too few recordings.
    """

    value: float
    interval: tuple[float, float] | None = None

    def __str__(self) -> str:
        if self.interval is None:
            return f"{self.value:.1%}"
        low, high = self.interval
        return f"{self.value:.1%} ({100 * low:.1f} to {100 * high:.1f})"


@dataclass(frozen=True)
class ClassScore:
    """Scores of one class.

    Attributes:
        clips: number of its clips.
        recordings: number of recordings that they come from.
        recall: fraction of its clips that are classified correctly; None for multi-label data.
        precision: fraction of the clips classified as this class that are of this class; None for
            multi-label data, and if no clip was classified as it.
        average_precision: area under its precision-recall curve; None for single-label data.
    """

    clips: int
    recordings: int
    recall: ScoreValue | None = None
    precision: float | None = None
    average_precision: ScoreValue | None = None


@dataclass(frozen=True)
class ScoreRecord:
    """Scores of a run on one set of clips.

    Attributes:
        data: name of the data set's folder.
        subset: "test", "train", "validation", "all", or "cross-validated".
        metric: the headline measure.
        measures: the measures by name: "accuracy", "balanced_accuracy", "macro_f1" and, with more
            than five classes, "top5_accuracy"; for multi-label data "mAP"; for long recordings
            also "segment_mAP" (mean of tIoU 0.3 to 0.7) and "second_f1" (macro, without
            background).
        chance: chance level of the headline measure.
        majority: accuracy of always predicting the most frequent class of these clips; None for
            multi-label data.
        per_class: scores of every class that has clips.
        recordings: number of recordings that the clips come from.
        grouped: whether recordings are known; if not, every clip counts as one.
        labels: the labels of every scored clip, by clip id.
        skipped: number of clips that could not be read.
        folds: number of folds of a cross-validation.
        calibration: calibration and unsure predictions; None for multi-label data.
    """

    data: str
    subset: str
    metric: Literal["accuracy", "mAP"]
    measures: Mapping[str, ScoreValue]
    chance: float
    majority: float | None
    per_class: Mapping[str, ClassScore]
    recordings: int
    grouped: bool
    labels: Mapping[str, tuple[str, ...]]
    skipped: int = 0
    folds: int | None = None
    calibration: CalibrationScores | None = None

    def __post_init__(self) -> None:
        if self.metric not in self.measures:
            raise ValueError(f"has no {self.metric} among its measures")

    @property
    def n(self) -> int:
        """The number of scored clips."""
        return len(self.labels)

    @property
    def value(self) -> float:
        """The headline score."""
        return self.measures[self.metric].value

    @property
    def sample(self) -> str:
        """The scored clips in words, as in "72 test clips of 12 recordings"."""
        named = f"{self.subset} clip" if self.subset in ("test", "train", "validation") else "clip"
        clips = pluralise(self.n, named)
        clips += (
            f" of {pluralise(self.recordings, 'recording')}"
            if self.grouped
            else ", each counted as a recording"
        )
        return f"{clips}, in {self.folds} folds" if self.folds else clips

    @property
    def headline(self) -> str:
        """The headline score in words, with its interval and its clips."""
        score, name = self.measures[self.metric], MEASURES[self.metric]
        name = f"cross-validated {name}" if self.folds else name
        if score.interval is None:
            return f"{name} {score} on {self.sample} (too few recordings for an interval)"
        low, high = score.interval
        interval = f"95% interval {100 * low:.1f} to {100 * high:.1f}"
        return f"{name} {score.value:.1%} ({interval}) on {self.sample}"

    def to_json(self) -> dict[str, Any]:
        """Return the headline score, its interval and its clips as JSON values."""
        score = self.measures[self.metric]
        return {
            self.metric: score.value, "interval": score.interval, "n": self.n,
            "recordings": self.recordings if self.grouped else None, "majority": self.majority,
        }  # fmt: skip

    @property
    def baselines(self) -> str:
        """The accuracy without a model in words."""
        chance = f"chance level {self.chance:.1%}"
        if self.majority is None:
            return chance
        return f"always the most frequent class: {self.majority:.1%}; {chance}"

    @property
    def other_measures(self) -> dict[str, ScoreValue]:
        """The measures beside the headline, by their names for readers."""
        names = [name for name in MEASURES if name in self.measures and name != self.metric]
        return {MEASURES[name]: self.measures[name] for name in names}


@dataclass(frozen=True)
class _ScoreFile:
    """Content of `scores.json`."""

    format: int
    scores: tuple[ScoreRecord, ...]


def read_scores(run: Path) -> list[ScoreRecord]:
    """Return the scores of a run; an empty list if it has not been evaluated.

    Raises:
        GlimpsesError: the file is damaged or has another format.
    """
    file = run / SCORES
    try:
        content = msgspec.json.decode(read_bytes(file), type=_ScoreFile)
    except FileNotFoundError:
        return []
    except (OSError, ValueError, RecursionError) as error:
        raise GlimpsesError(
            f"{file}: cannot be read ({error}); remove it and evaluate the run again"
        ) from error
    if content.format != _FORMAT:
        raise GlimpsesError(
            f"{file}: has format {content.format}, this version of Glimpses reads {_FORMAT}; "
            "remove it and evaluate the run again"
        )
    return list(content.scores)


def write_scores(run: Path, records: Iterable[ScoreRecord]) -> None:
    """Write the scores of a run.

    Raises:
        GlimpsesError: the file cannot be written.
    """
    content = msgspec.json.encode(_ScoreFile(_FORMAT, tuple(records)))
    with atomic_write(run / SCORES) as part:
        part.write_bytes(msgspec.json.format(content, indent=1) + b"\n")


def add_score(run: Path, record: ScoreRecord) -> None:
    """Add a score to those of a run, in place of an earlier one on the same clips.

    Raises:
        GlimpsesError: the file is damaged or cannot be written.
    """
    key = (record.data, record.subset)
    others = [other for other in read_scores(run) if (other.data, other.subset) != key]
    write_scores(run, [*others, record])
