"""Localisation: agreement of a map with the annotated actor, by class and by step."""

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


def occupancy_maps(
    runner: BlockRunner, annotations: Mapping[str, ActorAnnotation], grid: int
) -> Maps:
    """Return the fraction of each cell that the actor fills, at every step of every block.

    The fractions are from 0 to 1; NaN where not annotated.

    Args:
        runner: runner of the clips.
        annotations: annotation of the actor by clip id.
        grid: places along each side.
    """
    frames = []
    for clip, cubes in zip(runner.opened.clips, runner.opened.cubes, strict=True):
        occupancy = np.full((len(cubes), grid * grid), np.nan)
        if clip.id in annotations:
            annotation = annotations[clip.id]
            annotated = annotation.annotated(cubes.times)
            shares = annotation.occupancy(cubes.times, grid).reshape(occupancy.shape)
            occupancy[annotated] = shares[annotated]
        frames.append(occupancy)
    return runner.split_blocks(frames)


def measure_localisation(
    maps: Maps, occupancy: Maps, clips: Sequence[Clip], classes: Sequence[str], bootstrap: Bootstrap
) -> tuple[MapLocalisation, dict[str, Float64[np.ndarray, " N"]]]:
    """Measure how well maps localise the actor; see `localise_steps` for the measures.

    The value of a clip is the mean over all steps of its blocks in which the actor is visible. The
    overall value is the mean over clips.

    Args:
        maps: map of every step of every block; NaN where missing.
        occupancy: fraction of each place that the actor fills; NaN where not annotated.
        clips: the clips.
        classes: names of the actions.
        bootstrap: bootstrap over these clips.

    Returns:
        The measures, and the values of each clip by measure.
    """
    steps = [
        [localise_steps(*pair) for pair in zip(*blocks, strict=True)]
        for blocks in zip(maps, occupancy, strict=True)
    ]
    tables = {
        name: average_blocks([[getattr(block, name) for block in blocks] for blocks in steps])
        for name in _MEASURES
    }
    in_class = {
        name: np.array([index in clip.labels for clip in clips])
        for index, name in enumerate(classes)
    }
    overall = {name: bootstrap.estimate(by_clip) for name, (by_clip, _) in tables.items()}
    result = MapLocalisation(
        energy=overall["energy"],
        pointing=overall["pointing"],
        auc=overall["auc"],
        by_class={
            label: {
                name: bootstrap.estimate(by_clip, members) for name, (by_clip, _) in tables.items()
            }
            for label, members in in_class.items()
            if members.any()
        },
        by_step={name: bootstrap.curve(by_step) for name, (_, by_step) in tables.items()},
    )
    return result, {name: by_clip for name, (by_clip, _) in tables.items()}


def average_blocks(
    values: Sequence[Sequence[Float[np.ndarray, " T"]]],
) -> tuple[Float64[np.ndarray, " N"], Float64[np.ndarray, "N T"]]:
    """Average step values of blocks to one value per clip, and to one per clip and step.

    Args:
        values: values of each step, by clip and block; NaN where missing.

    Returns:
        The mean over all steps of each clip, and the mean over its blocks at each step of a block;
        NaN where all values are missing.
    """
    length = max(len(block) for blocks in values for block in blocks)
    total, count = np.zeros((2, len(values), length))
    for row, blocks in enumerate(values):
        for block in blocks:
            valid = np.isfinite(block)
            total[row, : len(block)] += np.where(valid, block, 0)
            count[row, : len(block)] += valid
    with np.errstate(invalid="ignore"):
        return total.sum(1) / count.sum(1), total / count
