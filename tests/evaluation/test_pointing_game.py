"""Localisation measures: cases worked out by hand, and the extremes of the scale."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from glimpses.datasets.annotations.grid_overlap import box_occupancy
from glimpses.evaluation.pointing_game import LocalisationScores, localise, localise_steps


def test_values_worked_out_by_hand() -> None:
    attention = np.array([[[0.4, 0.3], [0.2, 0.1]], [[0.1, 0.2], [0.6, 0.1]]])
    share = np.array([[[0.5, 1.0], [0.0, 0.0]], [[0.0, 0.25], [0.0, 0.0]]])

    measured = localise(attention, share)

    # Step 1: 0.4 + 0.3 on hits, the strongest place is a hit; step 2: 0.2, and it is not.
    assert measured.steps == 2
    assert measured.energy == pytest.approx((0.7 + 0.2) / 2)
    assert measured.energy_chance == pytest.approx((2 / 4 + 1 / 4) / 2)
    assert measured.pointing == pytest.approx(0.5)
    assert measured.pointing_chance == pytest.approx((2 / 4 + 1 / 4) / 2)


def boxes(steps: int) -> np.ndarray:
    corner = np.random.default_rng(1).integers(0, 5, (steps, 2)) * 32.0
    return np.concatenate([corner, corner + 64], axis=1)


def shares(boxes: np.ndarray, width: int, height: int) -> np.ndarray:
    return np.stack([box_occupancy(box[None], (width, height), 7) for box in boxes])


def test_an_oracle_scores_one() -> None:
    share = shares(boxes(20), 224, 224)

    measured = localise(share / share.sum(axis=(1, 2), keepdims=True), share)

    assert measured.energy == pytest.approx(1)
    assert measured.pointing == 1


def test_uniform_attention_scores_chance() -> None:
    share = shares(boxes(20) + 10, 320, 240)

    measured = localise(np.full_like(share, 1 / 49), share)

    assert measured.energy == pytest.approx(measured.energy_chance)
    assert measured.pointing == pytest.approx(measured.pointing_chance)


def test_random_pointing_scores_chance() -> None:
    """Attention to random places reaches the chance level on average."""
    share = shares(boxes(4000), 224, 224)
    attention = np.eye(49)[np.random.default_rng(2).integers(0, 49, 4000)].reshape(-1, 7, 7)

    measured = localise(attention, share)

    assert measured.pointing == pytest.approx(measured.pointing_chance, abs=0.02)
    assert measured.energy == pytest.approx(measured.energy_chance, abs=0.02)


def test_steps_without_an_actor_do_not_count() -> None:
    share = np.zeros((3, 2, 2))
    share[1, 0, 0] = 1
    attention = np.tile([[1.0, 0.0], [0.0, 0.0]], (3, 1, 1))

    assert localise(attention, share) == LocalisationScores(1, 1.0, 0.25, 1.0, 0.25)
    assert localise(attention, np.zeros((3, 2, 2))).steps == 0


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match="must have the same shape"):
        localise(np.ones((2, 7, 7)) / 49, np.ones((1, 7, 7)))


def test_the_mean_over_clips_counts_every_step_once() -> None:
    unseen = localise(np.full((4, 2, 2), 0.25), np.zeros((4, 2, 2)))

    mean = LocalisationScores.mean(
        [
            LocalisationScores(30, 1.0, 0.1, 0.8, 0.2),
            unseen,
            LocalisationScores(10, 0.0, 0.3, 0.4, 0.4),
        ]
    )

    assert mean == LocalisationScores(
        40, *(pytest.approx(value) for value in (0.75, 0.15, 0.7, 0.25))
    )
    assert np.isnan(LocalisationScores.mean([unseen]).energy)


def test_auc_equals_that_of_scikit_learn() -> None:
    rng = np.random.default_rng(3)
    attention = rng.integers(0, 6, (40, 12)) / 6 + 1e-3  # many ties
    share = rng.random((40, 12)) * (rng.random((40, 12)) < 0.3)
    share[0], share[1], share[2, 0] = 0, 1, np.nan

    measured = localise_steps(attention, share)

    expected = [roc_auc_score(*pair) for pair in zip(share[3:] > 0, attention[3:], strict=True)]
    np.testing.assert_allclose(measured.auc[3:], expected)
    # Without an actor, or with unknown places, all measures are NaN; with the actor everywhere, the
    # AUC is.
    assert np.isnan([measure[[0, 2]] for measure in measured]).all()
    assert np.isnan(measured.auc[1])
    assert (measured.energy[1], measured.pointing[1], measured.chance[1]) == (1, 1, 1)


def test_an_oracle_scores_exactly_one() -> None:
    """In whatever proportions it attends to the actor's places, if at all of them."""
    share = np.random.default_rng(4).random((50, 49)) * (np.arange(49) % 7 < 3)

    for oracle in (share / share.sum(1, keepdims=True), (share > 0) / (share > 0).sum(1)[:, None]):
        measured = localise_steps(oracle, share)
        assert (measured.energy == 1).all()
        assert (measured.pointing == 1).all()
        assert (measured.auc == 1).all()
