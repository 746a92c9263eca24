"""Imbalance: weights of the classes in the loss."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from glimpses.datasets import Clip
from glimpses.runs import RunConfig

log = logging.getLogger(__name__)

# Clips of the largest class to those of the smallest, above which classes are weighted. On real
# clips, weights gained nothing at a ratio of 2 and 4 points of balanced accuracy at 3.
_AUTO_RATIO = 2.0
# Largest weight of steps relative to the smallest.
_MAX_RATIO = 20.0


def class_weights(
    clips: Sequence[Clip], config: RunConfig, steps: Float[Tensor, " C"] | None = None
) -> Float[Tensor, " C"] | None:
    """Return the weight of each class in the loss; None if all have a weight of 1.

    Args:
        clips: the training clips; each class has at least one.
        config: settings of the run; `optim.class_weights` chooses.
        steps: number of labelled steps of each class, if the loss is of steps; by default clips
            are counted.
    """
    assert config.optim is not None
    counts = torch.zeros(len(config.classes))
    for clip in clips:
        counts[list(clip.labels)] += 1
    total = float(len(clips))
    if steps is not None and not config.multi_label:
        # In an hour with one goal, full weights would make everything a goal.
        counts, total = steps.clamp(min=float(steps.max()) / _MAX_RATIO), float(steps.sum())
    ratio = float(counts.max() / counts.min())
    if config.multi_label:
        if config.optim.class_weights != "balanced":
            return None
        return (total - counts) / counts
    match config.optim.class_weights:
        case "none":
            return None
        case "auto" if ratio <= _AUTO_RATIO:
            return None
        case "auto":
            log.info(
                "classes are weighted: the largest has %.0f times the training clips of the "
                "smallest; --class-weights none turns this off", ratio,
            )  # fmt: skip
    return total / len(counts) / counts
