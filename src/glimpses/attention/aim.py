"""Does attention fall on the actor? Two measures, each beside what chance gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import Self

import numpy as np
from jaxtyping import Float

# Places whose attention differs by less than this share of it are equally attended.
_TIE = 1e-6


@dataclass(frozen=True)
class Aim:
    """How well attention falls on the actor, 0 to 1, over the steps in which one is visible.

    All but `steps` are NaN where no actor is visible at all.

    Attributes:
        steps: in which an actor is visible.
        energy: attention on the actor: of every place the share of its cell that the actor fills,
            weighted by the place's attention. 1 if only cells that the actor fills are attended.
        energy_chance: the same for uniform attention, which is the share of the picture that the
            actor fills.
        pointing: share of steps whose most attended place is a hit: the actor fills some of its
            cell. Of places equally attended each counts its part. (Zhang et al., "Top-down neural
            attention by excitation backprop", 2016, count so per image.)
        pointing_chance: the same for a place drawn at random, which is the share of places that
            are hits.
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


def measure_aim(attention: Float[np.ndarray, "T K K"], share: Float[np.ndarray, "T K K"]) -> Aim:
    """Measure how well attention falls on the actor of a clip.

    Args:
        attention: location softmax l of every step on its grid; sums to 1.
        share: how much of every cell of that grid the actor fills at that step, 0 to 1, as
            `glimpses.datasets.truth` tells. Steps without any are left out.

    Raises:
        ValueError: the two have different shapes.
    """
    if attention.shape != share.shape:
        raise ValueError(f"attention {attention.shape} and share {share.shape} must be alike")
    visible = share.any(axis=(1, 2))
    if not visible.any():
        return Aim.mean([])
    looked, filled = (values[visible].reshape(visible.sum(), -1) for values in (attention, share))
    hits = filled > 0
    most = looked >= looked.max(axis=1, keepdims=True) * (1 - _TIE)
    return Aim(
        steps=int(visible.sum()),
        energy=float((looked * filled).sum(axis=1).mean()),
        energy_chance=float(filled.mean()),
        pointing=float(((most & hits).sum(axis=1) / most.sum(axis=1)).mean()),
        pointing_chance=float(hits.mean()),
    )
