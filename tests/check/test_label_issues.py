"""Tests of suspected labels: confident learning by hand, and swapped labels of separable data."""

from __future__ import annotations

import numpy as np

from glimpses.check.label_issues import out_of_fold, suspects


def test_rule_of_confident_learning_by_hand() -> None:
    # Mean probability of the given label: (0.9 + 0.2 + 0.1) / 3 = 0.4 and (0.9 + 0.75) / 2 = 0.825.
    first = np.array([0.9, 0.2, 0.1, 0.1, 0.25])
    labels = np.array([0, 0, 0, 1, 1])
    # Row 1 has 0.8 for class 1, less than its own clips have on average; row 2 has 0.9.
    assert suspects(np.stack([first, 1 - first], axis=1), labels) == [(2, 1)]
    first[4] = 0.35
    # Now the mean of class 1 is 0.775.
    assert suspects(np.stack([first, 1 - first], axis=1), labels) == [(2, 1), (1, 1)]


def test_an_unsure_class_is_no_suspect() -> None:
    probabilities = np.full((6, 3), 1 / 3)
    assert suspects(probabilities, np.array([0, 0, 1, 1, 2, 2])) == []
    # Class 1 is more probable in row 0, but not by much.
    probabilities[0] = 0.3, 0.6, 0.1
    assert suspects(probabilities, np.array([0, 0, 1, 1, 2, 2])) == []


def test_swapped_labels_of_separable_classes_are_found() -> None:
    generator = np.random.default_rng(0)
    true = np.repeat([0, 1, 2], 40)
    # As many channels as features have.
    vectors = np.tile(generator.normal(0, 1, (120, 20)) + 8 * np.eye(20)[true], 100)
    labels = true.copy()
    swapped = [3, 50, 90, 101]
    labels[swapped] = (true[swapped] + 1) % 3
    found = suspects(out_of_fold(vectors, labels), labels)
    # Of wrong labels, those with less than the average probability of their class are missed.
    assert len(found) >= 2
    assert all(row in swapped and suggested == true[row] for row, suggested in found)


def test_rows_are_predicted_by_models_that_have_not_seen_them() -> None:
    # Every row has a channel of its own: a model that had seen it would be sure.
    labels = np.arange(40) % 2
    probabilities = out_of_fold(10.0 * np.eye(40), labels)
    assert np.allclose(probabilities.sum(1), 1)
    assert abs(probabilities[:, 0] - 0.5).max() < 0.2


def test_a_class_with_one_clip_is_not_doubted() -> None:
    vectors = np.random.default_rng(0).normal(0, 1, (21, 5))
    labels = np.array([0, 1] * 10 + [2])
    assert out_of_fold(vectors, labels)[20].tolist() == [0, 0, 1]
