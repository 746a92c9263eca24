"""Deletion and insertion on the feature cube (after Petsiuk et al., "RISE", 2018)."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int
from torch import Tensor

from glimpses.evaluation.block_runner import BlockRunner, Maps, batch_maps
from glimpses.evaluation.bootstrap import Bootstrap
from glimpses.evaluation.explanation import DeletionCurves
from glimpses.features import Block

#: Orders in which places are removed.
MOST, RANDOM, LEAST = "most attended first", "random", "least attended first"

_FRACTIONS = np.linspace(0, 1, 11)
# Random orders drawn for each block.
_DRAWS = 3


class DeletionResult(NamedTuple):
    """Deletion and insertion, overall and for each clip.

    Attributes:
        deletion: curves of deletion.
        insertion: curves of insertion.
        by_clip: for each clip, the areas of most attended first ("deletion", "insertion") and the
            gains over random order ("deletion gain", "insertion gain"; see `DeletionCurves`).
    """

    deletion: DeletionCurves
    insertion: DeletionCurves
    by_clip: dict[str, Float64[np.ndarray, " N"]]


def deletion_insertion(
    runner: BlockRunner,
    maps: Maps,
    predicted: Int[np.ndarray, " N"],
    bootstrap: Bootstrap,
    seed: int = 0,
) -> DeletionResult:
    """Remove places of the feature cube in the order of a map and follow the class probability.

    At each step a fraction of the cube's places is removed, and the model runs on the block again.
    Removed places are filled with the mean feature of training (`ChannelNorm.mean`), which the
    model sees as zeros; or, if features are not standardised, with the mean of the block.

    Insertion starts with all places removed and restores them in the given order. It is deletion
    in the reverse order, read from its end, so it is computed only once. Random order is the
    map's own order with the places of a block permuted, equally at all its steps: it then stays
    with its places as long as the map does. A place removed at one step only would still be visible
    at the next. Places with equal values are removed in random order.

    Args:
        runner: runner of the clips.
        maps: maps that rank the places, on the cube's grid or (with two stages) on a grid finer by
            a whole number, whose values are then summed.
        predicted: the class of each clip whose probability is followed.
        bootstrap: bootstrap over the clips.
        seed: random seed.
    """
    places = runner.opened.config.model.cube.places
    counts = np.round(_FRACTIONS * places).astype(int)
    generator = torch.Generator().manual_seed(seed)
    total = np.zeros((len(predicted), 3, len(counts)))
    blocks = np.zeros(len(predicted))
    for batch in runner.batches("removing places"):
        heat = sum_on_cube_grid(batch_maps(maps, runner.starts, batch), places)
        rank = rank_places(heat, generator)
        probabilities = _delete(runner, batch, rank, counts, predicted, generator)
        np.add.at(total, batch.clip.numpy(), probabilities)
        np.add.at(blocks, batch.clip.numpy(), 1)
    return deletion_result(total / blocks[:, None, None], _FRACTIONS, bootstrap)


def deletion_result(
    deletion: Float64[np.ndarray, "N 3 S"],
    fractions: Float64[np.ndarray, " S"],
    bootstrap: Bootstrap,
) -> DeletionResult:
    """Compute the curves of deletion and insertion from the probabilities under deletion.

    Args:
        deletion: probability for each clip, order (most, random, least) and fraction removed.
        fractions: the fractions, symmetric about one half.
        bootstrap: bootstrap over the clips.
    """
    insertion = deletion[:, ::-1, ::-1]
    deletion_area, insertion_area = (
        area_under_curve(curves, fractions) for curves in (deletion, insertion)
    )
    deletion_gain = deletion_area[:, 1] - deletion_area[:, 0]
    insertion_gain = insertion_area[:, 0] - insertion_area[:, 1]
    return DeletionResult(
        _curves(deletion, fractions, deletion_gain, bootstrap),
        _curves(insertion, fractions, insertion_gain, bootstrap),
        {
            "deletion": deletion_area[:, 0],
            "deletion gain": deletion_gain,
            "insertion": insertion_area[:, 0],
            "insertion gain": insertion_gain,
        },
    )


def area_under_curve(
    probabilities: Float64[np.ndarray, "*N S"], fractions: Float64[np.ndarray, " S"]
) -> Float64[np.ndarray, "*N"]:
    """Return the area under each curve by the trapezoidal rule."""
    midpoints = (probabilities[..., 1:] + probabilities[..., :-1]) / 2
    return np.asarray(midpoints @ np.diff(fractions))


def _curves(
    probabilities: Float64[np.ndarray, "N 3 S"],
    fractions: Float64[np.ndarray, " S"],
    gain: Float64[np.ndarray, " N"],
    bootstrap: Bootstrap,
) -> DeletionCurves:
    orders = {MOST: 0, RANDOM: 1, LEAST: 2}
    areas = area_under_curve(probabilities, fractions)
    return DeletionCurves(
        curves={
            name: bootstrap.curve(probabilities[:, order], fractions)
            for name, order in orders.items()
        },
        areas={name: bootstrap.estimate(areas[:, order]) for name, order in orders.items()},
        gain=bootstrap.estimate(gain),
    )


@torch.inference_mode()
def _delete(
    runner: BlockRunner,
    batch: Block,
    rank: Int[Tensor, "B T P"],
    counts: Int[np.ndarray, " S"],
    predicted: Int[np.ndarray, " N"],
    generator: torch.Generator,
) -> Float64[np.ndarray, "B 3 S"]:
    """Return the probability of the predicted class of each block by order and count removed."""
    fill = _fill_value(runner, batch)
    rank = rank.to(batch.cubes.device)
    last = rank.shape[-1] - 1
    classes = torch.from_numpy(predicted[batch.clip.numpy()]).to(batch.cubes.device)

    def run_without(removed: Bool[Tensor, "B T P"]) -> Float64[np.ndarray, " B"]:
        cubes = torch.where(removed.unsqueeze(-1), fill, batch.cubes)
        means = runner.block_means(runner.probabilities(cubes, batch.mask), batch.mask)
        return means.gather(1, classes.unsqueeze(1)).squeeze(1).cpu().numpy()

    orders = [[rank], [permute_places(rank, generator) for _ in range(_DRAWS)], [last - rank]]
    probabilities = np.empty((len(rank), 3, len(counts)))
    for step, count in enumerate(counts):
        if count in (0, last + 1):  # the same for every order
            probabilities[:, :, step] = run_without(rank < count)[:, None]
        else:
            for order, ranks in enumerate(orders):
                draws = [run_without(draw < count) for draw in ranks]
                probabilities[:, order, step] = np.mean(draws, axis=0)
    return probabilities


def _fill_value(runner: BlockRunner, batch: Block) -> Float[Tensor, "..."]:
    """Return the features that replace removed places."""
    norm = runner.opened.model.channel_norm
    if bool(norm.mean.any()):
        return norm.mean
    real = batch.mask[:, :, None, None].to(batch.cubes.dtype)
    means = (batch.cubes.mean(2, keepdim=True) * real).sum(1, keepdim=True)
    return means / real.sum(1, keepdim=True)


def sum_on_cube_grid(heat: Float[Tensor, "B T L"], places: int) -> Float[Tensor, "B T P"]:
    """Sum a finer map over the places of the cube; return a map of the same grid unchanged."""
    if heat.shape[-1] == places:
        return heat
    side, fine = math.isqrt(places), math.isqrt(heat.shape[-1])
    ratio = fine // side
    cells = heat.reshape(*heat.shape[:2], side, ratio, side, ratio)
    return cells.sum((3, 5)).flatten(2)


def rank_places(heat: Float[Tensor, "B T P"], generator: torch.Generator) -> Int[Tensor, "B T P"]:
    """Return the rank of each place at each step: 0 for the highest; ties in random order."""
    heat = heat.cpu()
    permutation = torch.rand(heat.shape, generator=generator).argsort(-1)
    order = heat.gather(-1, permutation).argsort(dim=-1, descending=True, stable=True)
    places = permutation.gather(-1, order)
    positions = torch.arange(heat.shape[-1]).expand_as(places)
    return torch.empty_like(places).scatter(-1, places, positions)


def permute_places(rank: Int[Tensor, "B T P"], generator: torch.Generator) -> Int[Tensor, "B T P"]:
    """Permute the places of each block at random, equally at all its steps."""
    permutation = torch.rand((len(rank), 1, rank.shape[-1]), generator=generator).argsort(-1)
    return rank.gather(-1, permutation.to(rank.device).expand_as(rank))
