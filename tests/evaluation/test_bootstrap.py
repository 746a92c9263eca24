"""Intervals have their nominal coverage, also if the clips of a group are correlated."""

from __future__ import annotations

import numpy as np
import pytest

from glimpses.evaluation.bootstrap import Bootstrap, estimate_fraction


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


def draw_correct(
    rng: np.random.Generator, groups: int, probability: float, correlation: float
) -> tuple[list[str], np.ndarray]:
    """Draw 0 or 1 for clips in groups of 1 to 11 clips, beta-binomial within a group."""
    sizes = rng.integers(1, 12, groups)
    if correlation == 1:
        means = (rng.random(groups) < probability).astype(float)
    elif correlation:
        total = 1 / correlation - 1
        means = rng.beta(probability * total, (1 - probability) * total, groups)
    else:
        means = np.full(groups, probability)
    names = np.repeat([str(group) for group in range(groups)], sizes).tolist()
    return names, rng.binomial(1, np.repeat(means, sizes)).astype(float)


@pytest.mark.parametrize("correlation", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("groups", [6, 12, 40])
def test_intervals_of_fractions_have_nominal_coverage(groups: int, correlation: float) -> None:
    rng = np.random.default_rng(0)
    coverage = []
    for probability in (0.5, 0.75, 0.9, 0.97):
        covered = 0
        for _ in range(200):
            names, correct = draw_correct(rng, groups, probability, correlation)
            estimate = estimate_fraction(correct, names)
            covered += estimate.low <= probability <= estimate.high
        coverage.append(covered / 200)
    # Single points of Wilson's interval deviate, since few clips have few possible fractions.
    assert np.mean(coverage) > 0.94
    assert min(coverage) > 0.89


def test_balanced_fractions_have_nominal_coverage() -> None:
    """Nine in ten clips are of one class, which is recognised better."""
    rng = np.random.default_rng(1)
    truth, covered = 0.5 * (0.95 + 0.6), 0
    for _ in range(300):
        strata = np.repeat(rng.permutation(40) < 4, 5).astype(int)
        means = np.clip(rng.normal(0, 0.05, 40).repeat(5) + np.where(strata, 0.6, 0.95), 0, 1)
        correct = rng.binomial(1, means).astype(float)
        names = np.repeat(np.arange(40).astype(str), 5).tolist()
        estimate = estimate_fraction(correct, names, strata)
        per_class = [correct[strata == label].mean() for label in (0, 1)]
        assert estimate.value == pytest.approx(np.mean(per_class))
        covered += estimate.low <= truth <= estimate.high
    assert covered / 300 > 0.93


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_the_interval_of_a_perfect_score_is_that_of_its_groups(value: float) -> None:
    """With n groups right of n, Wilson's interval begins at n / (n + t^2)."""
    names = [str(n // 6) for n in range(72)]
    estimate = estimate_fraction(np.full(72, value), names)
    t = 2.200985  # Student's t of 11 degrees of freedom
    ends = sorted([value, abs(value - t**2 / (12 + t**2))])
    assert (estimate.low, estimate.high) == pytest.approx(ends, abs=1e-6)


def test_independent_clips_have_wilsons_interval() -> None:
    values = np.array([1.0] * 60 + [0.0] * 40)
    estimate = estimate_fraction(values, [str(n) for n in range(100)])
    t, n, p = 1.984217, 100, 0.6
    centre = (p + t**2 / (2 * n)) / (1 + t**2 / n)
    half = t / (1 + t**2 / n) * np.sqrt(p * (1 - p) / n + t**2 / (4 * n**2))
    # The variance over groups has n - 1 in its denominator.
    assert (estimate.low, estimate.high) == pytest.approx((centre - half, centre + half), abs=1e-3)


def test_fractions_of_few_groups_have_no_interval() -> None:
    estimate = estimate_fraction(np.array([1.0, 0.0, 1.0, np.nan]), list("aabc"))
    assert (estimate.value, estimate.clips) == (pytest.approx(2 / 3), 3)
    assert np.isnan([estimate.low, estimate.high]).all()
    assert estimate_fraction(np.full(3, np.nan), list("abc")).clips == 0
