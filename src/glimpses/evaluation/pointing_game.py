"""Localisation measures: energy, pointing game and ROC area of attention on the actor.

All measures share one rule: a place is a hit if the actor fills any part of its cell. So attention
that is on all of the actor's places and on no other scores 1 in each, in whatever proportions, and
uniform attention scores exactly chance: the fraction of places that are hits, or 0.5 for the ROC
area. If attention were weighted by how much of a cell is filled, not even an oracle would reach 1,
because few cells are filled completely.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import NamedTuple, Self

import numpy as np
from jaxtyping import Float, Float64

# Places whose attention differs by less than this fraction count as equally attended.
_TIE = 1e-6


@dataclass(frozen=True)
class LocalisationScores:
    """Localisation of the actor by attention, 0 to 1, over the steps with a visible actor.

    All but `steps` are NaN if no actor is visible.

    Attributes:
        steps: number of steps with a visible actor.
        energy: fraction of the attention on places of the actor (the energy-based pointing game of
            Wang et al., "Score-CAM", 2020, on the grid of the attention).
        energy_chance: chance level of `energy`: the fraction of places that are hits.
        pointing: fraction of steps whose most attended place is a hit; equally attended places
            count in equal parts (Zhang et al., "Top-down neural attention by excitation backprop",
            2016, count so per image).
        pointing_chance: chance level of `pointing`: the same fraction.
    """

    steps: int
    energy: float
    energy_chance: float
    pointing: float
    pointing_chance: float

    @classmethod
    def mean(cls, scores: Sequence[Self]) -> Self:
        """Return the mean over several clips, weighted by their steps."""
        rows = [astuple(clip) for clip in scores if clip.steps]
        if not rows:
            return cls(0, np.nan, np.nan, np.nan, np.nan)
        steps, measures = np.array(rows)[:, 0], np.array(rows)[:, 1:]
        return cls(int(steps.sum()), *np.average(measures, axis=0, weights=steps).tolist())


def localise(
    attention: Float[np.ndarray, "T K K"], occupancy: Float[np.ndarray, "T K K"]
) -> LocalisationScores:
    """Measure how well the attention of a clip localises the actor.

    Args:
        attention: location softmax l of every step on its grid; sums to 1.
        occupancy: fraction of each cell of that grid that the actor fills at that step, 0 to 1, as
            given by `glimpses.datasets.annotations`. Steps without an actor are left out.

    Raises:
        ValueError: the shapes differ.
    """
    if attention.shape != occupancy.shape:
        raise ValueError(
            f"attention {attention.shape} and occupancy {occupancy.shape} must have the same shape"
        )
    cells = attention.shape[1] * attention.shape[2]
    steps = localise_steps(attention.reshape(-1, cells), occupancy.reshape(-1, cells))
    visible = np.isfinite(steps.chance)
    if not visible.any():
        return LocalisationScores.mean([])
    energy, pointing, chance = (
        float(values[visible].mean()) for values in (steps.energy, steps.pointing, steps.chance)
    )
    return LocalisationScores(int(visible.sum()), energy, chance, pointing, chance)


class StepLocalisation(NamedTuple):
    """Localisation of the actor at each step; NaN where it cannot be measured.

    Attributes:
        energy: fraction of the attention on hits.
        pointing: 1 if the most attended place is a hit; for ties, the fraction of hits among them.
        auc: area under the ROC curve of attention as a detector of hits: how often a hit is
            attended more than another place, ties counting half. NaN also if all places are hits.
        chance: fraction of places that are hits.
    """

    energy: Float64[np.ndarray, " T"]
    pointing: Float64[np.ndarray, " T"]
    auc: Float64[np.ndarray, " T"]
    chance: Float64[np.ndarray, " T"]


def localise_steps(
    attention: Float[np.ndarray, "T P"], occupancy: Float[np.ndarray, "T P"]
) -> StepLocalisation:
    """Measure at each step how well attention, or any other map, localises the actor.

    Args:
        attention: value of each place; non-negative, not all 0.
        occupancy: fraction of each place's cell that the actor fills; NaN where unknown.
    """
    hits = occupancy > 0
    measurable = (
        hits.any(axis=1) & np.isfinite(occupancy).all(axis=1) & np.isfinite(attention).all(axis=1)
    )
    strongest = attention >= attention.max(axis=1, keepdims=True) * (1 - _TIE)
    places, count = hits.shape[1], hits.sum(axis=1)
    # SciPy's statistics take most of a second to import, which prediction does not need.
    from scipy.stats import rankdata

    pairs_won = (rankdata(attention, axis=1) * hits).sum(axis=1) - count * (count + 1) / 2
    with np.errstate(invalid="ignore", divide="ignore"):
        measures = (
            (attention * hits).sum(axis=1) / attention.sum(axis=1),
            (strongest & hits).sum(axis=1) / strongest.sum(axis=1),
            pairs_won / (count * (places - count)),
            count / places,
        )
    return StepLocalisation(*(np.where(measurable, values, np.nan) for values in measures))
