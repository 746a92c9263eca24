"""Means over clips with what they may be off by."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Float64

from glimpses.evaluation.explanation import Curve, Estimate

_DRAWS = 2000
_CONFIDENCE = 0.95
#: Groups that an interval needs: even the lowest and highest of G hold the truth between them in
#: 1 - 2 / 2^G only.
FEWEST = 5


class Bootstrap:
    """95 % confidence of means over clips, from drawing whole groups anew.

    Clips of one group share their scenery, so what a model makes of them is alike; drawing clips
    one by one would make the intervals too narrow. Every mean is computed from the same draws.

    The percentiles are those of the expanded percentile interval (Hesterberg, "What teachers
    should know about the bootstrap", 2015, section 5.2): as much further out as Student's t with
    sqrt(G / (G - 1)) is than the normal distribution. Without it, intervals of few groups G are too
    narrow; 95 % of nine groups would hold the truth nine times in ten.

    Args:
        groups: of each clip.
        seed: of the draws.
    """

    def __init__(self, groups: Sequence[str], seed: int = 0) -> None:
        names, self._group = np.unique(np.array(groups), return_inverse=True)
        count = len(names)
        random = np.random.default_rng(seed)
        # How often each group is in each draw, (draws, groups).
        self._drawn = random.multinomial(count, np.full(count, 1 / count), size=_DRAWS)

    def estimate(
        self, values: Float[np.ndarray, " N"], among: Bool[np.ndarray, " N"] | None = None
    ) -> Estimate:
        """The mean over clips.

        Args:
            values: of each clip; NaN where it has none.
            among: which clips are meant; all if not given.

        Returns:
            The estimate; its ends are NaN where the clips are of fewer than five groups, which
            tell too little of others.
        """
        chosen = values if among is None else np.where(among, values, np.nan)
        mean, low, high = (float(each[0]) for each in self._means(chosen[:, None]))
        return Estimate(mean, low, high, int(np.isfinite(chosen).sum()))

    def curve(
        self, values: Float[np.ndarray, "N S"], at: Float[np.ndarray, " S"] | None = None
    ) -> Curve:
        """The mean over clips at each point of an axis.

        Args:
            values: of each clip at each point; NaN where it has none.
            at: the axis; 0, 1, 2 and on if not given.
        """
        axis = np.arange(values.shape[1]) if at is None else at
        return Curve(axis.astype(np.float64), *self._means(values))

    def _means(self, values: Float[np.ndarray, "N S"]) -> tuple[Float64[np.ndarray, " S"], ...]:
        """Mean, lower and upper end of each column."""
        known = np.isfinite(values)
        sums, counts = np.zeros((2, self._drawn.shape[1], values.shape[1]))
        np.add.at(sums, self._group, np.where(known, values, 0.0))
        np.add.at(counts, self._group, known)
        groups = (counts > 0).sum(0)
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = sums.sum(0) / counts.sum(0)
            drawn = (self._drawn @ sums) / (self._drawn @ counts)
        ends = np.full((2, values.shape[1]), np.nan)
        for column in np.flatnonzero(groups >= FEWEST):
            seen = drawn[np.isfinite(drawn[:, column]), column]
            tail = _tail(int(groups[column]))
            ends[:, column] = np.quantile(seen, (tail, 1 - tail))
        return mean, ends[0], ends[1]


def _tail(groups: int) -> float:
    """Share of the draws that lies beyond either end of the interval."""
    from scipy import stats  # 0.4 s, which a training need not wait for

    student = stats.t.ppf((1 + _CONFIDENCE) / 2, groups - 1) * np.sqrt(groups / (groups - 1))
    return float(stats.norm.sf(student))
