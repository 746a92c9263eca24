"""Does attention fall on the actor? Three measures, each beside what chance gives.

One rule for all of them: a place is the actor's, a hit, if the actor fills any of its cell. So
attention that is on all of the actor's places and on no other has 1 in each, in whatever
proportions, and uniform attention has exactly the chance level: the share of places that are hits,
for the area under the ROC curve one half. Were attention weighed by how much of a cell is filled
instead, not even an oracle would reach 1, for few cells are filled to the brim.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import NamedTuple, Self

import numpy as np
from jaxtyping import Float, Float64

# Places whose attention differs by less than this share of it are equally attended.
_TIE = 1e-6


@dataclass(frozen=True)
class LocalisationScores:
    """How well attention falls on the actor, 0 to 1, over the steps in which one is visible.

    All but `steps` are NaN where no actor is visible at all.

    Attributes:
        steps: in which an actor is visible.
        energy: share of the attention that is on places of the actor (the energy-based pointing
            game of Wang et al., "Score-CAM", 2020, on the grid of the attention).
        energy_chance: the same for uniform attention, which is the share of places that are hits.
        pointing: share of steps whose most attended place is a hit. Of places equally attended
            each counts its part. (Zhang et al., "Top-down neural attention by excitation
            backprop", 2016, count so per image.)
        pointing_chance: the same for a place drawn at random, the same again.
    """

    steps: int
    energy: float
    energy_chance: float
    pointing: float
    pointing_chance: float

    @classmethod
    def mean(cls, aims: Sequence[Self]) -> Self:
        """The aim over several clips, in which every step counts the same."""
        seen = [astuple(aim) for aim in aims if aim.steps]
        if not seen:
            return cls(0, np.nan, np.nan, np.nan, np.nan)
        steps, measures = np.array(seen)[:, 0], np.array(seen)[:, 1:]
        return cls(int(steps.sum()), *np.average(measures, axis=0, weights=steps).tolist())


def localise(
    attention: Float[np.ndarray, "T K K"], share: Float[np.ndarray, "T K K"]
) -> LocalisationScores:
    """Measure how well attention falls on the actor of a clip.

    Args:
        attention: location softmax l of every step on its grid; sums to 1.
        share: how much of every cell of that grid the actor fills at that step, 0 to 1, as
            `glimpses.datasets.annotations` tells. Steps without any are left out.

    Raises:
        ValueError: the two have different shapes.
    """
    if attention.shape != share.shape:
        raise ValueError(f"attention {attention.shape} and share {share.shape} must be alike")
    cells = attention.shape[1] * attention.shape[2]
    steps = localise_steps(attention.reshape(-1, cells), share.reshape(-1, cells))
    visible = np.isfinite(steps.chance)
    if not visible.any():
        return LocalisationScores.mean([])
    energy, pointing, chance = (
        float(values[visible].mean()) for values in (steps.energy, steps.pointing, steps.chance)
    )
    return LocalisationScores(int(visible.sum()), energy, chance, pointing, chance)


class StepLocalisation(NamedTuple):
    """How well attention falls on the actor at each step; NaN where there is nothing to measure.

    Attributes:
        energy: share of the attention that is on hits.
        pointing: 1 where the most attended place is a hit, or the share of hits among those that
            are attended most.
        auc: area under the ROC curve of attention as a detector of hits: how often a hit is
            attended more than a place that is none, ties counting half. NaN also where all places
            are hits.
        chance: share of places that are hits.
    """

    energy: Float64[np.ndarray, " T"]
    pointing: Float64[np.ndarray, " T"]
    auc: Float64[np.ndarray, " T"]
    chance: Float64[np.ndarray, " T"]


def localise_steps(
    attention: Float[np.ndarray, "T P"], share: Float[np.ndarray, "T P"]
) -> StepLocalisation:
    """Measure step by step how well attention, or any other map, falls on the actor.

    Args:
        attention: how much of it is on each place; above or equal to 0, not all 0.
        share: how much of each place's cell the actor fills; NaN where that is not known.
    """
    hits = share > 0
    known = hits.any(axis=1) & np.isfinite(share).all(axis=1) & np.isfinite(attention).all(axis=1)
    most = attention >= attention.max(axis=1, keepdims=True) * (1 - _TIE)
    places, hit = hits.shape[1], hits.sum(axis=1)
    # Loading SciPy's statistics takes most of a second, which prediction need not spend.
    from scipy.stats import rankdata

    above = (rankdata(attention, axis=1) * hits).sum(axis=1) - hit * (hit + 1) / 2
    with np.errstate(invalid="ignore", divide="ignore"):
        measures = (
            (attention * hits).sum(axis=1) / attention.sum(axis=1),
            (most & hits).sum(axis=1) / most.sum(axis=1),
            above / (hit * (places - hit)),
            hit / places,
        )
    return StepLocalisation(*(np.where(known, each, np.nan) for each in measures))
