"""Scores equal their definitions, computed by hand or by scikit-learn."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from sklearn.metrics import (
    average_precision_score,
    balanced_accuracy_score,
    f1_score,
    precision_score,
    recall_score,
    top_k_accuracy_score,
)

from glimpses.datasets import Clip
from glimpses.evaluation import Scores, score
from glimpses.evaluation.classification import _average_precisions
from glimpses.utils.errors import GlimpsesError


def clips(*labels: tuple[int, ...]) -> list[Clip]:
    return [Clip(f"c{n}.mp4", Path(f"c{n}.mp4"), row, f"g{n}") for n, row in enumerate(labels)]


def recalls(scores: Scores) -> dict[str, float]:
    by_class = {name: score.recall for name, score in scores.per_class.items()}
    return {name: recall.value for name, recall in by_class.items() if recall is not None}


def test_accuracy_recall_and_confusion() -> None:
    probabilities = np.array([[0.8, 0.2, 0], [0.4, 0.6, 0], [0.1, 0.9, 0], [0.3, 0.4, 0.3]])
    scores = score(clips((0,), (0,), (1,), (2,)), probabilities, ("x", "y", "z"))
    assert scores.accuracy == 0.5
    assert recalls(scores) == {"x": 0.5, "y": 1.0, "z": 0.0}
    assert [c.precision for c in scores.per_class.values()] == [1, pytest.approx(1 / 3), None]
    assert scores.confusion is not None
    assert scores.confusion.tolist() == [[1, 1, 0], [0, 1, 0], [0, 1, 0]]
    assert [clip.correct for clip in scores.clips] == [True, False, True, False]


def test_classes_without_clips_are_ignored() -> None:
    scores = score(clips((0,), (0,)), np.array([[0.9, 0.1], [0.2, 0.8]]), ("x", "absent"))
    assert recalls(scores) == {"x": 0.5}
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
        measured = scores.per_class[name].average_precision
        assert measured is not None
        assert measured.value == pytest.approx(np.mean(precisions))
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


def imbalanced(seed: int = 0) -> tuple[list[Clip], np.ndarray, np.ndarray]:
    """Return 200 clips of eight classes from 40 recordings, two classes with half of the clips."""
    rng = np.random.default_rng(seed)
    truth = rng.choice(8, 200, p=[0.25, 0.25, *[1 / 12] * 6])
    probabilities = rng.random((200, 8)) + 0.5 * np.eye(8)[truth]
    rows = [Clip(f"c{n}", Path(f"c{n}"), (label,), f"g{n // 5}") for n, label in enumerate(truth)]
    return rows, probabilities / probabilities.sum(1, keepdims=True), truth


def test_measures_equal_those_of_scikit_learn() -> None:
    rows, probabilities, truth = imbalanced()
    predicted = probabilities.argmax(1)
    scores = score(rows, probabilities, tuple("abcdefgh"))
    expected = {
        "accuracy": np.mean(truth == predicted),
        "balanced_accuracy": balanced_accuracy_score(truth, predicted),
        "macro_f1": f1_score(truth, predicted, average="macro"),
        "top5_accuracy": top_k_accuracy_score(truth, probabilities, k=5),
    }
    assert {name: measure.value for name, measure in scores.measures.items()} == pytest.approx(
        expected
    )
    for measure in scores.measures.values():
        assert measure.interval is not None
        low, high = measure.interval
        assert 0 <= low < measure.value < high <= 1
        assert high - low < 0.35
    assert list(recalls(scores).values()) == pytest.approx(
        recall_score(truth, predicted, average=None)
    )
    precisions = [one.precision for one in scores.per_class.values()]
    assert precisions == pytest.approx(precision_score(truth, predicted, average=None))
    assert scores.majority == np.bincount(truth).max() / 200
    assert sum(one.clips for one in scores.per_class.values()) == 200


def test_intervals_of_macro_f1_and_map_cover() -> None:
    """Sets of 200 clips have a score near the mean of many sets, in most of their intervals."""
    seeds = range(25)
    for name, is_multi in (("macro_f1", False), ("mAP", True)):
        found = []
        for seed in seeds:
            rows, probabilities, _ = imbalanced(seed)
            scores = score(rows, probabilities, tuple("abcdefgh"), multi_label=is_multi)
            found.append(scores.measures[name])
        expected = np.mean([one.value for one in found])
        intervals = [one.interval for one in found if one.interval is not None]
        covered = [low <= expected <= high for low, high in intervals]
        assert len(covered) == 25
        assert np.mean(covered) > 0.84


def test_average_precision_of_draws_equals_that_of_repeated_clips() -> None:
    rng = np.random.default_rng(3)
    labels, scores = rng.random(30) < 0.4, rng.integers(0, 12, 30) / 12
    counts = rng.integers(0, 4, (5, 30))
    for draw, measured in zip(counts, _average_precisions(labels, scores, counts), strict=True):
        assert measured == pytest.approx(
            average_precision_score(labels.repeat(draw), scores.repeat(draw))
        )


def test_scores_are_printed_with_interval_clips_and_recordings() -> None:
    rows, probabilities, _ = imbalanced()
    scores = score(rows, probabilities, tuple("abcdefgh"))
    first, second, third = str(scores).splitlines()
    assert first.startswith(f"accuracy {scores.value:.1%} (95% interval ")
    assert first.endswith(" on 200 test clips of 40 recordings")
    assert all(name in second for name in ("balanced accuracy", "macro-F1", "top-5 accuracy"))
    assert third == f"always the most frequent class: {scores.majority:.1%}; chance level 12.5%"
    unknown = score(rows, probabilities, tuple("abcdefgh"), grouped=False)
    assert "200 test clips, each counted as a recording" in str(unknown)
    assert unknown.to_json()["recordings"] is None
    few = str(score(rows[:15], probabilities[:15], tuple("abcdefgh")))
    assert "15 test clips of 3 recordings (too few recordings for an interval)" in few
    assert "nan" not in few


def test_a_classifier_of_the_frequent_class_is_seen_through() -> None:
    """A set of 20 to 1: always the frequent class has 95 % accuracy, and is exposed."""
    labels = [(0,)] * 95 + [(1,)] * 5
    scores = score(clips(*labels), np.tile([0.9, 0.1], (100, 1)), ("walk", "fall"))
    assert scores.accuracy == scores.majority == 0.95
    assert scores.measures["balanced_accuracy"].value == 0.5
    assert scores.per_class["fall"].precision is None
    assert "always the most frequent class: 95.0%" in str(scores)
