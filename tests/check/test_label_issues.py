"""Tests of suspected labels: confident learning by hand, and swapped labels of separable data."""

from __future__ import annotations

import numpy as np

from glimpses.check.label_issues import out_of_fold, suspects


def test_rule_of_confident_learning_by_hand() -> None:
    # Mean probability of the given label: (0.9 + 0.29 + 0.2) / 3 = 0.463, (0.8 + 0.6) / 2 = 0.7.
    first = np.array([0.9, 0.29, 0.2, 0.2, 0.4])
    labels = np.array([0, 0, 0, 1, 1])
    # Rows 1 and 2 have 0.71 and 0.8 for class 1, more than its own clips have on average.
    assert suspects(np.stack([first, 1 - first], axis=1), labels) == [(2, 1), (1, 1)]
    first[1] = 0.31
    assert suspects(np.stack([first, 1 - first], axis=1), labels) == [(2, 1)]


def test_an_unsure_class_is_no_suspect() -> None:
    probabilities = np.full((6, 3), 1 / 3)
    assert suspects(probabilities, np.array([0, 0, 1, 1, 2, 2])) == []


def test_swapped_labels_of_separable_classes_are_found() -> None:
    generator = np.random.default_rng(0)
    true = np.repeat([0, 1, 2], 40)
    vectors = generator.normal(0, 1, (120, 20)) + 8 * np.eye(20)[true]
    groups = [str(row // 2) for row in range(120)]
    labels = true.copy()
    swapped = [3, 50, 90, 101]
    labels[swapped] = (true[swapped] + 1) % 3
    found = suspects(out_of_fold(vectors, labels, groups), labels)
    assert {row for row, _ in found[:4]} == set(swapped)
    assert all(suggested == true[row] for row, suggested in found[:4])


def test_groups_are_predicted_by_models_of_other_groups() -> None:
    # Every recording has a channel of its own: a model that had seen it would be sure.
    groups = np.repeat(np.arange(20), 4)
    vectors = 10.0 * np.eye(20)[groups]
    labels = np.random.default_rng(0).permutation(np.repeat([0, 1], 10))[groups]
    probabilities = out_of_fold(vectors, labels, groups.astype(str).tolist())
    given = probabilities[np.arange(80), labels]
    assert given.max() < 0.8
