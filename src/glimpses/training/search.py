"""Comparison of candidates by cross-validation within a budget, and the choice of one.

This module knows neither models nor features: a candidate is a name, and a function scores it on a
fold.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float64, Int

#: Smallest number of recordings for a standard error.
_MIN_GROUPS = 5
# Standard errors above a candidate's score that count as possible.
_OPTIMISM = 2.0


@dataclass(eq=False)
class Contender:
    """Candidate and its scores so far.

    Attributes:
        name: name of the candidate.
        has_attention: whether its model shows where it looks.
        scores: score of every clip, NaN where it was not tested.
        seconds: duration of each of its folds.
        stopped: why it is not tested on; None while it is.
    """

    name: str
    has_attention: bool
    scores: Float64[np.ndarray, " N"]
    seconds: list[float] = field(default_factory=list)
    stopped: str | None = None

    @property
    def folds(self) -> int:
        """Number of folds that it was tested on."""
        return len(self.seconds)


@dataclass(frozen=True)
class Choice:
    """Chosen candidate and the comparison that decided.

    Attributes:
        chosen: index of the chosen candidate.
        best: index of the candidate with the best score.
        behind: difference of their scores.
        standard_error: standard error of this difference.
    """

    chosen: int
    best: int
    behind: float
    standard_error: float


#: Returns the scores of the clips of a fold, or None if the time left, in seconds, is too short.
Evaluate = Callable[[int, int, float], Float64[np.ndarray, " M"] | None]


def race(
    contenders: Sequence[Contender],
    folds: Sequence[Int[np.ndarray, " M"]],
    groups: Sequence[str],
    evaluate: Evaluate,
    budget: float,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Score candidates fold by fold until all folds are done or the time is up.

    A candidate begins only if there is time to test it and those before it on all folds, since a
    few candidates that are tested well say more than many that are tested on one fold. After a
    fold, candidates stop whose score cannot come within one standard error of the best.

    Args:
        contenders: the candidates, the most promising ones first; their scores are filled in.
        folds: indices of the clips of each fold.
        groups: recording of each clip.
        evaluate: scores the candidate of an index on the fold of an index.
        budget: time in seconds.
        clock: returns the time in seconds.
    """
    end = clock() + budget
    for number, held_out in enumerate(folds):
        active = [one for one in contenders if one.stopped is None]
        for contender in active:
            started = clock()
            expected = float(np.mean(contender.seconds)) if contender.seconds else 0.0
            left = end - started
            if not contender.folds and _required(contenders, len(folds)) > left:
                contender.stopped = "no time"
                continue
            scores = None
            if left > expected:
                scores = evaluate(contenders.index(contender), number, left)
            if scores is None:
                if contender.folds:
                    return
                contender.stopped = "no time"
                continue
            contender.scores[held_out] = scores
            contender.seconds.append(clock() - started)
        _stop_hopeless(contenders, groups)


def choose(contenders: Sequence[Contender], groups: Sequence[str]) -> Choice | None:
    """Return the first candidate with attention within one standard error of the best of all.

    The order of the candidates is that of what is known before, so a later one must be better by
    more than chance. Without such a candidate, return the best of all; None if none was tested, or
    none of those with attention.
    """
    tested = [one for one in contenders if one.folds]
    required = [one for one in contenders if one.has_attention] or contenders
    if not any(one.folds for one in required):
        return None
    running = [one for one in tested if one.stopped is None]
    best, order = _leader(running), list(contenders)
    behind = error = 0.0
    for contender in (one for one in running if one.has_attention):
        behind, error = _difference(best, contender, groups)
        if behind <= error:
            return Choice(order.index(contender), order.index(best), behind, error)
    return Choice(order.index(best), order.index(best), behind, error)


def standard_error(values: Float64[np.ndarray, " N"], groups: Sequence[str]) -> float:
    """Return the standard error of a mean over clips that come in groups; NaN for few groups."""
    names, owner = np.unique(np.array(groups), return_inverse=True)
    count = len(names)
    if count < _MIN_GROUPS:
        return math.nan
    sums = np.bincount(owner, values - values.mean())
    return float(np.sqrt(count / (count - 1) * (sums**2).sum()) / len(values))


def _leader(contenders: Sequence[Contender]) -> Contender:
    """Return the best candidate by the mean over the clips that all were tested on."""
    common = np.all([np.isfinite(one.scores) for one in contenders], axis=0)
    return max(contenders, key=lambda one: float(one.scores[common].mean()))


def _difference(better: Contender, worse: Contender, groups: Sequence[str]) -> tuple[float, float]:
    """Return the mean difference of two candidates on their common clips, and its error.

    The error is infinite for too few recordings.
    """
    difference = better.scores - worse.scores
    common = np.isfinite(difference)
    values = difference[common]
    error = standard_error(values, _chosen(groups, common))
    return float(values.mean()), math.inf if math.isnan(error) else error


def _chosen(groups: Sequence[str], mask: Bool[np.ndarray, " N"]) -> list[str]:
    return [group for group, chosen in zip(groups, mask, strict=True) if chosen]


def _stop_hopeless(contenders: Sequence[Contender], groups: Sequence[str]) -> None:
    """Stop candidates whose optimistic score is below that of the best by a standard error."""
    active = [one for one in contenders if one.stopped is None]
    if len(active) < 2:
        return
    best = _leader(active)
    tested = np.isfinite(best.scores)
    error = standard_error(best.scores[tested], _chosen(groups, tested))
    if math.isnan(error):
        return
    for contender in active:
        if contender is not best:
            behind, uncertainty = _difference(best, contender, groups)
            if behind - _OPTIMISM * uncertainty > error:
                contender.stopped = "too far behind"


def _required(contenders: Sequence[Contender], folds: int) -> float:
    """Return the seconds that those which have begun need, and one more as slow as the slowest."""
    begun = [one for one in contenders if one.folds and one.stopped is None]
    means = [float(np.mean(one.seconds)) for one in begun]
    left = sum(mean * (folds - one.folds) for mean, one in zip(means, begun, strict=True))
    return left + folds * max(means, default=0.0)
