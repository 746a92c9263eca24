"""Scores equal their definitions, computed by hand or by scikit-learn."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from sklearn.metrics import average_precision_score

from glimpses.datasets import Clip
from glimpses.evaluation import score
from glimpses.utils.errors import GlimpsesError


def clips(*labels: tuple[int, ...]) -> list[Clip]:
    return [Clip(f"c{n}.mp4", Path(f"c{n}.mp4"), row, f"g{n}") for n, row in enumerate(labels)]


def test_accuracy_recall_and_confusion() -> None:
    probabilities = np.array([[0.8, 0.2, 0], [0.4, 0.6, 0], [0.1, 0.9, 0], [0.3, 0.4, 0.3]])
    scores = score(clips((0,), (0,), (1,), (2,)), probabilities, ("x", "y", "z"))
    assert scores.accuracy == 0.5
    assert scores.per_class == {"x": 0.5, "y": 1.0, "z": 0.0}
    assert scores.confusion is not None
    assert scores.confusion.tolist() == [[1, 1, 0], [0, 1, 0], [0, 1, 0]]
    assert [clip.correct for clip in scores.clips] == [True, False, True, False]


def test_classes_without_clips_are_ignored() -> None:
    scores = score(clips((0,), (0,)), np.array([[0.9, 0.1], [0.2, 0.8]]), ("x", "absent"))
    assert scores.per_class == {"x": 0.5}
    assert scores.accuracy == 0.5


def test_map_equals_that_of_scikit_learn() -> None:
    random = np.random.default_rng(0)
    labels_mask = random.random((40, 5)) < 0.3
    labels_mask[:, 0] |= ~labels_mask.any(1)
    probabilities = random.random((40, 5))
    labels = [tuple(np.flatnonzero(row)) for row in labels_mask]
    scores = score(clips(*labels), probabilities, tuple("abcde"), multi_label=True)
    assert scores.accuracy is None
    assert scores.mAP == pytest.approx(average_precision_score(labels_mask, probabilities))
    assert "mAP" in scores.to_json()


def test_average_precision_is_the_mean_precision_at_each_hit() -> None:
    random = np.random.default_rng(1)
    labels_mask = random.random((25, 4)) < 0.3
    labels_mask[:2] = False
    probabilities = random.random((25, 4))
    scores = score(
        clips(*(tuple(np.flatnonzero(row)) for row in labels_mask)),
        probabilities,
        tuple("abcd"),
        multi_label=True,
    )
    for index, name in enumerate("abcd"):
        ranked = labels_mask[np.argsort(-probabilities[:, index]), index]
        precisions = [ranked[: rank + 1].mean() for rank in range(25) if ranked[rank]]
        assert scores.per_class[name] == pytest.approx(np.mean(precisions))
    assert [clip.correct for clip in scores.clips[:2]] == [None, None]


def test_chance_level_of_map_is_the_fraction_of_clips() -> None:
    labels = [(0,), (0, 1), ()] + [(0,)] * 100 + [(1,)] * 97
    random = np.random.default_rng(0)
    guesses = [
        score(clips(*labels), random.random((200, 3)), tuple("abc"), multi_label=True)
        for _ in range(50)
    ]
    # (102 + 98) / 2 of 200 clips; no clip shows c.
    assert guesses[0].chance == 0.5
    assert np.mean([scores.value for scores in guesses]) == pytest.approx(0.5, abs=0.03)


def test_clips_without_any_action_cannot_be_scored() -> None:
    with pytest.raises(GlimpsesError, match="none of the 2 test clips shows an action"):
        score(clips((), ()), np.full((2, 3), 0.5), tuple("abc"), multi_label=True)


def test_scores_print_and_serialise() -> None:
    probabilities = np.array([[0.8, 0.2], [0.6, 0.4], [0.1, 0.9]])
    scores = score(
        clips((0,), (1,), (1,)), probabilities, ("[b]x", "y"), skipped={"bad.mp4": "is empty"}
    )
    written = json.loads(json.dumps(scores.to_json()))
    assert written["accuracy"] == pytest.approx(2 / 3)
    assert written["chance"] == 0.5
    assert written["skipped"] == {"bad.mp4": "is empty"}
    console = Console(record=True, width=100, markup=False)
    console.print(scores)
    text = console.export_text()
    assert "66.7%" in text
    assert "[b]x (1)" in text
