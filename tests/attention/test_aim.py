"""Whether attention falls on the actor: cases worked by hand, and the ends of the scale."""

from __future__ import annotations

import numpy as np
import pytest

from glimpses.attention import Aim, measure_aim
from glimpses.datasets.cells import share_of_boxes


def test_a_case_worked_by_hand() -> None:
    attention = np.array([[[0.4, 0.3], [0.2, 0.1]], [[0.1, 0.2], [0.6, 0.1]]])
    share = np.array([[[0.5, 1.0], [0.0, 0.0]], [[0.0, 0.25], [0.0, 0.0]]])

    measured = measure_aim(attention, share)

    # Step 1: 0.4 * 0.5 + 0.3 * 1 = 0.5, and its strongest place touches; step 2: 0.05, and not.
    assert measured.steps == 2
    assert measured.energy == pytest.approx((0.5 + 0.05) / 2)
    assert measured.energy_chance == pytest.approx((1.5 / 4 + 0.25 / 4) / 2)
    assert measured.pointing == pytest.approx(0.5)
    assert measured.pointing_chance == pytest.approx((2 / 4 + 1 / 4) / 2)


def boxes(steps: int) -> np.ndarray:
    corner = np.random.default_rng(1).integers(0, 5, (steps, 2)) * 32.0
    return np.concatenate([corner, corner + 64], axis=1)


def shares(boxes: np.ndarray, width: int, height: int) -> np.ndarray:
    return np.stack([share_of_boxes(box[None], (width, height), 7) for box in boxes])


def test_an_oracle_scores_one() -> None:
    share = shares(boxes(20), 224, 224)

    measured = measure_aim(share / share.sum(axis=(1, 2), keepdims=True), share)

    assert measured.energy == pytest.approx(1)
    assert measured.pointing == 1


def test_uniform_attention_scores_chance() -> None:
    share = shares(boxes(20) + 10, 320, 240)

    measured = measure_aim(np.full_like(share, 1 / 49), share)

    assert measured.energy == pytest.approx(measured.energy_chance)
    assert measured.pointing == pytest.approx(measured.pointing_chance)


def test_random_pointing_scores_chance() -> None:
    """The chance level is what really comes out of looking at random."""
    share = shares(boxes(4000), 224, 224)
    attention = np.eye(49)[np.random.default_rng(2).integers(0, 49, 4000)].reshape(-1, 7, 7)

    measured = measure_aim(attention, share)

    assert measured.pointing == pytest.approx(measured.pointing_chance, abs=0.02)
    assert measured.energy == pytest.approx(measured.energy_chance, abs=0.02)


def test_steps_without_an_actor_do_not_count() -> None:
    share = np.zeros((3, 2, 2))
    share[1, 0, 0] = 1
    attention = np.tile([[1.0, 0.0], [0.0, 0.0]], (3, 1, 1))

    assert measure_aim(attention, share) == Aim(1, 1.0, 0.25, 1.0, 0.25)
    assert measure_aim(attention, np.zeros((3, 2, 2))).steps == 0


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match="must be alike"):
        measure_aim(np.ones((2, 7, 7)) / 49, np.ones((1, 7, 7)))


def test_the_mean_over_clips_counts_every_step_once() -> None:
    nobody = measure_aim(np.full((4, 2, 2), 0.25), np.zeros((4, 2, 2)))

    mean = Aim.mean([Aim(30, 1.0, 0.1, 0.8, 0.2), nobody, Aim(10, 0.0, 0.3, 0.4, 0.4)])

    assert mean == Aim(40, *(pytest.approx(value) for value in (0.75, 0.15, 0.7, 0.25)))
    assert np.isnan(Aim.mean([nobody]).energy)
