"""Confidence intervals over groups: a bootstrap for means, Wilson's interval for fractions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Float64, Int

from glimpses.evaluation.explanation import Curve, Estimate

#: Group of each clip.
Groups = Sequence[str] | np.ndarray

_DRAWS = 2000
_CONFIDENCE = 0.95
#: Minimum number of groups for an interval: even the range from the lowest to the highest of G
#: groups covers the true mean with probability 1 - 2 / 2^G only.
MIN_GROUPS = 5


class Bootstrap:
    """Bootstrap of means over clips that resamples whole groups.

    Clips of one group share their scenery, so their results are correlated; resampling single
    clips would make the intervals too narrow. All means use the same draws.

    The percentiles are those of the expanded percentile interval (Hesterberg, "What teachers
    should know about the bootstrap", 2015, section 5.2), which widens the interval by the ratio of
    Student's t, times sqrt(G / (G - 1)), to the normal distribution. Without it, intervals of few
    groups G are too narrow: a 95 % interval of nine groups would cover the true mean in 90 % of
    the cases.

    Args:
        groups: group of each clip.
        seed: seed of the draws.
    """

    def __init__(self, groups: Groups, seed: int = 0) -> None:
        names, self._group = np.unique(np.array(groups), return_inverse=True)
        count = len(names)
        rng = np.random.default_rng(seed)
        # How often each draw contains each group, (draws, groups).
        self._weights = rng.multinomial(count, np.full(count, 1 / count), size=_DRAWS)

    def estimate(
        self, values: Float[np.ndarray, " N"], among: Bool[np.ndarray, " N"] | None = None
    ) -> Estimate:
        """Return the mean over clips with its interval.

        Args:
            values: value of each clip; NaN where missing.
            among: mask of the clips to average; all if not given.

        Returns:
            The estimate; its interval is NaN if the clips come from fewer than five groups.
        """
        chosen = values if among is None else np.where(among, values, np.nan)
        mean, low, high = (float(column[0]) for column in self._means(chosen[:, None]))
        return Estimate(mean, low, high, int(np.isfinite(chosen).sum()))

    def sums(self, values: Float[np.ndarray, "N S"]) -> Float64[np.ndarray, "draws S"]:
        """Return the sum of each column over the clips of each draw."""
        sums = np.zeros((self._weights.shape[1], values.shape[1]))
        np.add.at(sums, self._group, values)
        return self._weights @ sums

    def counts(self, draws: int) -> Int[np.ndarray, "draws N"]:
        """Return how often the first draws contain each clip."""
        return self._weights[:draws, self._group]

    def interval(self, draws: Float[np.ndarray, " draws"]) -> tuple[float, float]:
        """Return the interval of a measure from its values in draws; NaN for few groups.

        Args:
            draws: value of the measure for draws of `counts`; NaN where it is undefined.
        """
        groups, finite = self._weights.shape[1], draws[np.isfinite(draws)]
        if groups < MIN_GROUPS or not len(finite):
            return np.nan, np.nan
        tail = _tail_probability(groups)
        low, high = np.quantile(finite, (tail, 1 - tail))
        return float(low), float(high)

    def curve(
        self, values: Float[np.ndarray, "N S"], x: Float[np.ndarray, " S"] | None = None
    ) -> Curve:
        """Return the mean over clips at each point of an axis, with its interval.

        Args:
            values: value of each clip at each point; NaN where missing.
            x: the axis; 0, 1, 2 ... if not given.
        """
        axis = np.arange(values.shape[1]) if x is None else x
        return Curve(axis.astype(np.float64), *self._means(values))

    def _means(self, values: Float[np.ndarray, "N S"]) -> tuple[Float64[np.ndarray, " S"], ...]:
        """Return mean, lower and upper end of each column."""
        valid = np.isfinite(values)
        sums, counts = np.zeros((2, self._weights.shape[1], values.shape[1]))
        np.add.at(sums, self._group, np.where(valid, values, 0.0))
        np.add.at(counts, self._group, valid)
        groups = (counts > 0).sum(0)
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = sums.sum(0) / counts.sum(0)
            draws = (self._weights @ sums) / (self._weights @ counts)
        ends = np.full((2, values.shape[1]), np.nan)
        for column in np.flatnonzero(groups >= MIN_GROUPS):
            finite = draws[np.isfinite(draws[:, column]), column]
            tail = _tail_probability(int(groups[column]))
            ends[:, column] = np.quantile(finite, (tail, 1 - tail))
        return mean, ends[0], ends[1]


def estimate_fraction(
    values: Float[np.ndarray, " N"],
    groups: Groups,
    strata: Int[np.ndarray, " N"] | None = None,
) -> Estimate:
    """Return a fraction of clips, such as accuracy, with its 95 % interval over groups.

    Args:
        values: 0 or 1 of each clip, or a mean of such values; NaN where missing.
        groups: group of each clip.
        strata: class of each clip, to give every class the same weight, as in balanced accuracy.

    Returns:
        The estimate; its interval is NaN if the clips come from fewer than five groups.
    """
    valid = np.isfinite(values)
    if not valid.any():
        return Estimate(np.nan, np.nan, np.nan, 0)
    values = values[valid]
    stratum = np.zeros(len(values), dtype=int) if strata is None else strata[valid]
    _, stratum = np.unique(stratum, return_inverse=True)
    names, group = np.unique(np.array(groups)[valid], return_inverse=True)
    sizes = np.bincount(stratum)
    weights = 1 / (len(sizes) * sizes[stratum])
    means = np.bincount(stratum, values) / sizes
    value = float(means.mean())
    # The variance of a weighted mean over groups, linearised.
    count = len(names)
    residuals = np.bincount(group, weights * (values - means[stratum]))
    variance = float((residuals**2).sum() * count / max(count - 1, 1))
    low, high = fraction_interval(value, variance, weights, groups=np.array(groups)[valid])
    return Estimate(value, low, high, len(values))


def fraction_interval(
    value: float,
    variance: float,
    weights: Float[np.ndarray, " N"],
    groups: Groups,
) -> tuple[float, float]:
    """Return the 95 % interval of a measure between 0 and 1; NaN for fewer than five groups.

    This is Wilson's interval, which is sound near 0 and 1, where the percentiles of a bootstrap
    collapse (100 % correct would give 100 to 100). In place of the number of clips it takes the
    effective sample size, the number of independent clips with the same variance (Dean and Pagano,
    "Evaluating confidence interval methods for binomial proportions in clustered surveys", 2015),
    and Student's t in place of the normal quantile (Korn and Graubard, 1998). A few errors cannot
    show how similar the clips of a group are, so the design effect is drawn towards that of equal
    results within groups, with the weight of one error.

    Args:
        value: the measure.
        variance: its variance.
        weights: weight of each clip in the measure; they sum to 1.
        groups: group of each clip.
    """
    names, group = np.unique(np.array(groups), return_inverse=True)
    if len(names) < MIN_GROUPS:
        return np.nan, np.nan
    from scipy import stats  # takes 0.4 s to import, which training does not need

    independent = 1 / float((weights**2).sum())
    dependent = 1 / float((np.bincount(group, weights) ** 2).sum())
    binomial = value * (1 - value) / independent
    prior = 1 / (1 + independent * min(value, 1 - value))
    design_effect = max(variance / binomial, 1) if binomial > 1e-12 else 1.0
    design_effect += prior * (independent / dependent - design_effect)
    size = independent / design_effect
    t = float(stats.t.ppf((1 + _CONFIDENCE) / 2, len(names) - 1))
    centre = (value + t**2 / (2 * size)) / (1 + t**2 / size)
    half = t / (1 + t**2 / size) * np.sqrt(value * (1 - value) / size + (t / (2 * size)) ** 2)
    return float(max(centre - half, 0.0)), float(min(centre + half, 1.0))


def _tail_probability(groups: int) -> float:
    """Return the fraction of the draws beyond either end of the interval."""
    from scipy import stats  # takes 0.4 s to import, which training does not need

    student = stats.t.ppf((1 + _CONFIDENCE) / 2, groups - 1) * np.sqrt(groups / (groups - 1))
    return float(stats.norm.sf(student))
