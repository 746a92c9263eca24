"""Scores of a run, `scores.json` in its folder: one record for each set of clips."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from glimpses.runs.calibration import CalibrationScores
from glimpses.utils.errors import GlimpsesError
from glimpses.utils.files import atomic_write

SCORES = "scores.json"
_FORMAT = 1


@dataclass(frozen=True)
class ScoreRecord:
    """Score of a run on one set of clips.

    Attributes:
        data: name of the data set's folder.
        subset: "test", "train", "validation" or "all".
        metric: "accuracy" or "mAP".
        value: the score, 0 to 1.
        chance: its value at chance level.
        per_class: recall or average precision of every class that has clips.
        labels: the labels of every scored clip, by clip id.
        skipped: number of clips that could not be read.
        calibration: calibration and unsure predictions; None for multi-label data.
    """

    data: str
    subset: str
    metric: Literal["accuracy", "mAP"]
    value: float
    chance: float
    per_class: Mapping[str, float]
    labels: Mapping[str, tuple[str, ...]]
    skipped: int = 0
    calibration: CalibrationScores | None = None

    @property
    def n(self) -> int:
        """The number of scored clips."""
        return len(self.labels)


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
        content = msgspec.json.decode(file.read_bytes(), type=_ScoreFile)
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
