"""Races and choices against outcomes that are known beforehand."""

from __future__ import annotations

import numpy as np
import pytest

from glimpses.training.search import Contender, choose, race, standard_error

CLIPS, FOLDS = 100, 5
GROUPS = [str(index // 4) for index in range(CLIPS)]
PARTS = [np.arange(fold, CLIPS, FOLDS) for fold in range(FOLDS)]


class Clock:
    """A clock that goes on when a candidate is trained."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def run(
    accuracies: dict[str, float],
    *,
    seconds: dict[str, float] | None = None,
    budget: float = 1e9,
    seed: int = 0,
) -> list[Contender]:
    """Race candidates of given accuracies; a name with `attention` has some."""
    rng = np.random.default_rng(seed)
    truth = [rng.random(CLIPS) < value for value in accuracies.values()]
    contenders = [
        Contender(name, "attention" in name, np.full(CLIPS, np.nan)) for name in accuracies
    ]
    clock = Clock()

    def evaluate(index: int, fold: int, left: float) -> np.ndarray | None:
        duration = (seconds or {}).get(contenders[index].name, 1.0)
        if duration > left:
            return None
        clock.now += duration
        return truth[index][PARTS[fold]].astype(float)

    race(contenders, PARTS, GROUPS, evaluate, budget, clock)
    assert clock.now <= budget
    return contenders


def test_a_much_better_candidate_wins() -> None:
    contenders = run({"linear": 0.9, "attention": 0.5, "max": 0.6})
    choice = choose(contenders, GROUPS)
    assert choice is not None
    assert contenders[choice.chosen].name == "linear"
    assert contenders[1].stopped is not None
    assert contenders[1].folds < FOLDS


def test_attention_wins_if_it_is_as_good() -> None:
    contenders = run({"linear": 1.0, "max": 1.0, "attention": 1.0})
    choice = choose(contenders, GROUPS)
    assert choice is not None
    assert contenders[choice.chosen].name == "attention"
    assert choice.behind == 0


def test_attention_wins_within_one_standard_error_only() -> None:
    linear = Contender("linear", False, np.ones(CLIPS), [1.0])
    attention = Contender("attention", True, np.ones(CLIPS), [1.0])
    linear.scores[50], attention.scores[[0, 4]] = 0, 0
    chosen = choose([linear, attention], GROUPS)
    assert chosen is not None
    # Three recordings differ, each by one clip: the standard error is about 0.01 times their root.
    assert chosen.behind == pytest.approx(0.01)
    assert chosen.standard_error == pytest.approx(0.01 * 3**0.5, rel=0.05)
    assert chosen.chosen == 1
    attention.scores[::5] = 0
    chosen = choose([linear, attention], GROUPS)
    assert chosen is not None
    assert chosen.behind > 2 * chosen.standard_error
    assert chosen.chosen == 0


def test_without_time_for_attention_nothing_is_chosen() -> None:
    contenders = run({"linear": 0.9, "attention": 0.5}, budget=1.5)
    assert contenders[0].folds == 1
    assert contenders[1].stopped == "no time"
    assert choose(contenders, GROUPS) is None


def test_a_candidate_begins_only_if_it_and_those_before_it_can_be_tested_on_all_folds() -> None:
    contenders = run({"linear": 0.9, "attention": 0.9, "max": 0.9, "average": 0.9}, budget=12.5)
    assert [one.folds for one in contenders] == [5, 5, 0, 0]
    assert [one.stopped for one in contenders] == [None, None, "no time", "no time"]


def test_the_time_of_a_slow_candidate_is_spent_on_its_folds() -> None:
    contenders = run({"linear": 0.9, "attention": 0.9}, seconds={"attention": 20}, budget=70)
    assert [one.folds for one in contenders] == [4, 3]


def test_the_standard_error_is_that_of_recordings() -> None:
    values = np.repeat([0.0, 1.0] * 5, 10)
    groups = [str(index // 10) for index in range(100)]
    # Ten independent values with a standard deviation of 0.527.
    assert standard_error(values, groups) == pytest.approx(np.std([0, 1] * 5, ddof=1) / 10**0.5)
    assert np.isnan(standard_error(values[:30], groups[:30]))
