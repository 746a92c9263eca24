"""Intervals have their nominal coverage, also if the clips of a group are correlated."""

from __future__ import annotations

import numpy as np
import pytest

from glimpses.evaluation.bootstrap import Bootstrap


def draw(rng: np.random.Generator, groups: int, correlation: float) -> tuple[list[str], np.ndarray]:
    """Draw four clips per group with mean 0 and a given correlation within groups."""
    names = [str(group) for group in range(groups) for _ in range(4)]
    shared = np.repeat(rng.normal(size=groups), 4)
    return names, np.sqrt(correlation) * shared + np.sqrt(1 - correlation) * rng.normal(
        size=4 * groups
    )


@pytest.mark.parametrize("groups", [6, 8, 30])
def test_intervals_have_nominal_coverage(groups: int) -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for seed in range(400):
        names, values = draw(rng, groups, correlation=0.6)
        estimate = Bootstrap(names, seed).estimate(values)
        covered += estimate.low <= 0 <= estimate.high
    # The standard error of 95 % in 400 trials is 1.1 points.
    assert covered / 400 == pytest.approx(0.95, abs=0.035)


def test_correlated_clips_give_wider_intervals() -> None:
    rng = np.random.default_rng(1)
    widths = {}
    for correlation in (0.0, 0.9):
        estimates = [Bootstrap(names).estimate(values) for names, values in
                 (draw(rng, 20, correlation) for _ in range(20))]  # fmt: skip
        widths[correlation] = np.mean([estimate.high - estimate.low for estimate in estimates])
    # The variance of a group's mean of four: (1 + 3 * 0.9) / 4 against 1 / 4.
    assert widths[0.9] / widths[0.0] == pytest.approx(np.sqrt(3.7), rel=0.15)


def test_the_mean_ignores_clips_without_a_value() -> None:
    bootstrap = Bootstrap(["x", "x", *"abcde"])
    estimate = bootstrap.estimate(np.array([1.0, np.nan, 0.0, 0.5, 0.5, 0.0, 1.0]))
    assert (estimate.value, estimate.clips) == (0.5, 6)
    assert 0 <= estimate.low < 0.5 < estimate.high <= 1
    few = np.arange(7) < 2
    among = bootstrap.estimate(np.array([1.0, 0.0, *[0.5] * 5]), few)
    assert (among.value, among.clips) == (0.5, 2)
    assert np.isnan([among.low, among.high]).all()  # a single group gives no interval
    alone = Bootstrap(list("abcd")).estimate(np.arange(4.0))
    assert np.isnan([alone.low, alone.high]).all()  # and four are too few
    nothing = bootstrap.estimate(np.full(7, np.nan))
    assert nothing.clips == 0
    assert np.isnan([nothing.value, nothing.low, nothing.high]).all()


def test_a_curve_has_an_estimate_at_each_point() -> None:
    rng = np.random.default_rng(2)
    names, table = [str(n // 3) for n in range(30)], rng.normal(size=(30, 5))
    table[:7, 3] = np.nan
    bootstrap = Bootstrap(names, seed=5)
    curve = bootstrap.curve(table)
    assert curve.x.tolist() == [0, 1, 2, 3, 4]
    for column in range(5):
        one = bootstrap.estimate(table[:, column])
        assert (curve.value[column], curve.low[column], curve.high[column]) == pytest.approx(
            (one.value, one.low, one.high)
        )
