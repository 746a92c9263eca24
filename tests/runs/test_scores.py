"""Scores of a run: written, read back, replaced and validated."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from glimpses.runs import (
    SCORES,
    ClassScore,
    ScoreRecord,
    ScoreValue,
    add_score,
    read_scores,
    write_scores,
)
from glimpses.utils.errors import GlimpsesError

RECORD = ScoreRecord(
    data="clips", subset="test", metric="accuracy", chance=0.5, majority=0.5, recordings=2,
    measures={"accuracy": ScoreValue(0.75, (0.3, 0.95)), "balanced_accuracy": ScoreValue(0.7)},
    per_class={"jump": ClassScore(1, 1, ScoreValue(1.0), 0.5), "run": ClassScore(1, 1)},
    grouped=True, labels={"a.mp4": ("jump",), "b.mp4": ("run",)}, skipped=1,
)  # fmt: skip


def test_scores_are_read_back(tmp_path: Path) -> None:
    assert read_scores(tmp_path) == []
    write_scores(tmp_path, [RECORD])
    assert read_scores(tmp_path) == [RECORD]
    assert RECORD.n == 2


def test_a_new_score_replaces_the_one_on_the_same_clips(tmp_path: Path) -> None:
    others = [replace(RECORD, subset="all"), replace(RECORD, data="other")]
    better = replace(RECORD, measures={"accuracy": ScoreValue(1.0)})
    for record in (RECORD, *others, better):
        add_score(tmp_path, record)
    assert read_scores(tmp_path) == [*others, better]


@pytest.mark.parametrize(
    "change",
    [
        {"measures": {"accuracy": "high"}},
        {"metric": "f1"},
        {"metric": "mAP"},
        {"labels": []},
        {"per_class": {"jump": None}},
    ],
    ids=str,
)
def test_damaged_scores_are_refused_in_one_line(tmp_path: Path, change: dict[str, Any]) -> None:
    write_scores(tmp_path, [RECORD])
    content = json.loads((tmp_path / SCORES).read_text())
    content["scores"][0] |= change
    (tmp_path / SCORES).write_text(json.dumps(content))
    with pytest.raises(GlimpsesError, match=r"scores\.json: cannot be read .* remove it") as caught:
        read_scores(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "cannot be read"),
        ("[" * 100_000, "cannot be read"),
        ('{"accuracy": 0.5, "clips": []}', "missing required field `format`"),
        ('{"format": 7, "scores": []}', "has format 7, this version of Glimpses reads 2"),
    ],
    ids=["truncated", "nested", "older", "newer"],
)
def test_other_formats_are_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / SCORES).write_text(text)
    with pytest.raises(GlimpsesError, match=message):
        read_scores(tmp_path)


def test_the_headline_names_interval_clips_and_recordings() -> None:
    assert RECORD.headline == (
        "accuracy 75.0% (95% interval 30.0 to 95.0) on 2 test clips of 2 recordings"
    )
    assert replace(RECORD, grouped=False, subset="all").headline == (
        "accuracy 75.0% (95% interval 30.0 to 95.0) on 2 clips, each counted as a recording"
    )
    few = replace(RECORD, measures={"accuracy": ScoreValue(0.75)}, subset="validation")
    assert few.headline == (
        "accuracy 75.0% on 2 validation clips of 2 recordings (too few recordings for an interval)"
    )
    folds = replace(RECORD, subset="cross-validated", folds=5)
    assert folds.headline.startswith("cross-validated accuracy 75.0%")
    assert folds.sample == "2 clips of 2 recordings, in 5 folds"
