"""Where a map falls: on the actor, or beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float, Float64

from glimpses.datasets import Clip
from glimpses.datasets.annotations import ActorAnnotation
from glimpses.evaluation.block_runner import BlockRunner, Maps
from glimpses.evaluation.bootstrap import Bootstrap
from glimpses.evaluation.explanation import MapLocalisation
from glimpses.evaluation.pointing_game import localise_steps

_MEASURES = ("energy", "pointing", "auc")


def shares_of(reader: BlockRunner, known: Mapping[str, ActorAnnotation], grid: int) -> Maps:
    """How much of each cell the actor fills at every step of every block.

    Args:
        reader: of the clips.
        known: where the actor is, by clip id.
        grid: places along a side.

    Returns:
        Shares from 0 to 1; NaN where nothing is known.
    """
    frames = []
    for clip, cubes in zip(reader.opened.clips, reader.opened.cubes, strict=True):
        share = np.full((len(cubes), grid * grid), np.nan)
        if clip.id in known:
            told = known[clip.id].annotated(cubes.times)
            share[told] = known[clip.id].occupancy(cubes.times, grid).reshape(share.shape)[told]
        frames.append(share)
    return reader.cut(frames)


def aiming(
    maps: Maps,
    shares: Maps,
    clips: Sequence[Clip],
    classes: Sequence[str],
    bootstrap: Bootstrap,
) -> tuple[MapLocalisation, dict[str, Float64[np.ndarray, " N"]]]:
    """Measure how well maps fall on the actor; see `attention.aim` for what is measured.

    A clip's value is the mean over the steps of its blocks in which the actor is seen; the whole is
    the mean over clips.

    Args:
        maps: of every block of every clip; NaN where there is none.
        shares: how much of each place the actor fills; NaN where that is not known.
        clips: whose they are.
        classes: names of the actions.
        bootstrap: of these clips.

    Returns:
        The measures, and each clip's own.
    """
    steps = [
        [localise_steps(*pair) for pair in zip(*blocks, strict=True)]
        for blocks in zip(maps, shares, strict=True)
    ]
    tables = {
        name: tabulate([[getattr(each, name) for each in blocks] for blocks in steps])
        for name in _MEASURES
    }
    of_class = {
        name: np.array([index in clip.labels for clip in clips])
        for index, name in enumerate(classes)
    }
    whole = {name: bootstrap.estimate(by_clip) for name, (by_clip, _) in tables.items()}
    result = MapLocalisation(
        energy=whole["energy"],
        pointing=whole["pointing"],
        auc=whole["auc"],
        by_class={
            title: {
                name: bootstrap.estimate(by_clip, among) for name, (by_clip, _) in tables.items()
            }
            for title, among in of_class.items()
            if among.any()
        },
        by_step={name: bootstrap.curve(by_step) for name, (_, by_step) in tables.items()},
    )
    return result, {name: by_clip for name, (by_clip, _) in tables.items()}


def tabulate(
    values: Sequence[Sequence[Float[np.ndarray, " T"]]],
) -> tuple[Float64[np.ndarray, " N"], Float64[np.ndarray, "N T"]]:
    """What was measured at every step of every block: of each clip, and of each clip by step.

    Args:
        values: of each clip, of each of its blocks; NaN where there is nothing to measure.

    Returns:
        The mean over all steps of a clip, and the mean over blocks at each step of a block; NaN
        where there is none.
    """
    length = max(len(block) for blocks in values for block in blocks)
    total, count = np.zeros((2, len(values), length))
    for row, blocks in enumerate(values):
        for block in blocks:
            known = np.isfinite(block)
            total[row, : len(block)] += np.where(known, block, 0)
            count[row, : len(block)] += known
    with np.errstate(invalid="ignore"):
        return total.sum(1) / count.sum(1), total / count
