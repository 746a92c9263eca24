"""Scores of a run, `scores.json` in its folder: one record for each set of clips."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

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
    """

    data: str
    subset: str
    metric: Literal["accuracy", "mAP"]
    value: float
    chance: float
    per_class: Mapping[str, float]
    labels: Mapping[str, tuple[str, ...]]
    skipped: int = 0

    @property
    def n(self) -> int:
        """The number of scored clips."""
        return len(self.labels)

    def __post_init__(self) -> None:
        numbers = (self.value, self.chance, self.skipped, *self.per_class.values())
        if not all(isinstance(number, int | float) for number in numbers):
            raise TypeError("a score in it is no number")
        if self.metric not in ("accuracy", "mAP"):
            raise ValueError(f"there is no metric called {self.metric}")


def read_scores(run: Path) -> list[ScoreRecord]:
    """Return the scores of a run; an empty list if it has not been evaluated.

    Raises:
        GlimpsesError: the file is damaged or has another format.
    """
    file = run / SCORES
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        return [_record(content["format"], values) for values in content["scores"]]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise GlimpsesError(
            f"{file}: cannot be read ({error}); remove it and evaluate the run again"
        ) from error


def write_scores(run: Path, records: Iterable[ScoreRecord]) -> None:
    """Write the scores of a run.

    Raises:
        GlimpsesError: the file cannot be written.
    """
    content = {"format": _FORMAT, "scores": [asdict(record) for record in records]}
    with atomic_write(run / SCORES) as part:
        part.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def add_score(run: Path, record: ScoreRecord) -> None:
    """Add a score to those of a run, in place of an earlier one on the same clips.

    Raises:
        GlimpsesError: the file is damaged or cannot be written.
    """
    key = (record.data, record.subset)
    others = [other for other in read_scores(run) if (other.data, other.subset) != key]
    write_scores(run, [*others, record])


def _record(version: int, values: Mapping[str, Any]) -> ScoreRecord:
    if version != _FORMAT:
        raise ValueError(f"format {version}, not {_FORMAT}")
    labels = {id: tuple(names) for id, names in values["labels"].items()}
    return ScoreRecord(**{**values, "labels": labels})
