"""Intervals hold the truth as often as they say, and know that clips of a group are alike."""

from __future__ import annotations

import numpy as np
import pytest

from glimpses.evaluation.bootstrap import Bootstrap


def drawn(rng: np.random.Generator, groups: int, alike: float) -> tuple[list[str], np.ndarray]:
    """Four clips of each group around 0, that much of whose variance is the group's."""
    names = [str(group) for group in range(groups) for _ in range(4)]
    shared = np.repeat(rng.normal(size=groups), 4)
    return names, np.sqrt(alike) * shared + np.sqrt(1 - alike) * rng.normal(size=4 * groups)


@pytest.mark.parametrize("groups", [6, 8, 30])
def test_intervals_hold_the_truth_as_often_as_they_say(groups: int) -> None:
    rng = np.random.default_rng(0)
    held = 0
    for seed in range(400):
        names, values = drawn(rng, groups, alike=0.6)
        found = Bootstrap(names, seed).estimate(values)
        held += found.low <= 0 <= found.high
    # The standard error of 95 % in 400 trials is 1.1 points.
    assert held / 400 == pytest.approx(0.95, abs=0.035)


def test_clips_that_are_alike_tell_less() -> None:
    rng = np.random.default_rng(1)
    widths = {}
    for alike in (0.0, 0.9):
        found = [Bootstrap(names).estimate(values) for names, values in
                 (drawn(rng, 20, alike) for _ in range(20))]  # fmt: skip
        widths[alike] = np.mean([each.high - each.low for each in found])
    # The variance of a group's mean of four: (1 + 3 * 0.9) / 4 against 1 / 4.
    assert widths[0.9] / widths[0.0] == pytest.approx(np.sqrt(3.7), rel=0.15)


def test_the_mean_is_over_clips_that_have_a_value() -> None:
    bootstrap = Bootstrap(["x", "x", *"abcde"])
    found = bootstrap.estimate(np.array([1.0, np.nan, 0.0, 0.5, 0.5, 0.0, 1.0]))
    assert (found.value, found.clips) == (0.5, 6)
    assert 0 <= found.low < 0.5 < found.high <= 1
    few = np.arange(7) < 2
    among = bootstrap.estimate(np.array([1.0, 0.0, *[0.5] * 5]), few)
    assert (among.value, among.clips) == (0.5, 2)
    assert np.isnan([among.low, among.high]).all()  # one group tells nothing of others
    alone = Bootstrap(list("abcd")).estimate(np.arange(4.0))
    assert np.isnan([alone.low, alone.high]).all()  # and four too little
    nothing = bootstrap.estimate(np.full(7, np.nan))
    assert nothing.clips == 0
    assert np.isnan([nothing.value, nothing.low, nothing.high]).all()


def test_a_curve_is_an_estimate_at_each_point() -> None:
    rng = np.random.default_rng(2)
    names, table = [str(n // 3) for n in range(30)], rng.normal(size=(30, 5))
    table[:7, 3] = np.nan
    bootstrap = Bootstrap(names, seed=5)
    curve = bootstrap.curve(table)
    assert curve.at.tolist() == [0, 1, 2, 3, 4]
    for column in range(5):
        one = bootstrap.estimate(table[:, column])
        assert (curve.value[column], curve.low[column], curve.high[column]) == pytest.approx(
            (one.value, one.low, one.high)
        )
