"""Whether the decision hangs on where the model looks: attention replaced, places removed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int
from torch import Tensor

from glimpses.datasets import Clip
from glimpses.evaluation.block_runner import (
    BlockCollector,
    BlockRunner,
    ClipOutputs,
    Maps,
    gathered,
)
from glimpses.evaluation.bootstrap import Bootstrap
from glimpses.evaluation.explanation import DeletionCurves
from glimpses.features import Block
from glimpses.inference.aggregate import ClipResult

#: Orders in which places go.
MOST, RANDOM, LEAST = "most attended first", "random", "least attended first"
#: What attention is replaced by.
UNIFORM, SHUFFLED, SWAPPED = "uniform", "shuffled in time", "swapped between clips"

_SHARES = np.linspace(0, 1, 11)
# Random orders that are drawn for each block.
_DRAWS = 3


def correct(clips: Sequence[Clip], results: Sequence[ClipResult]) -> Float64[np.ndarray, " N"]:
    """1 where the leading class is one that the clip shows, else 0; NaN where it shows none."""
    return np.array(
        [
            float(result.probabilities.argmax() in clip.labels) if clip.labels else np.nan
            for result, clip in zip(results, clips, strict=True)
        ]
    )


class DeletionResult(NamedTuple):
    """Deletion and insertion, and what each clip had to do with it.

    Attributes:
        deletion: as places go.
        insertion: as they come back.
        by_clip: of each clip the areas of most attended first ("deletion", "insertion") and what
            that gains on random order ("deletion gain", "insertion gain"; see `DeletionCurves`).
    """

    deletion: DeletionCurves
    insertion: DeletionCurves
    by_clip: dict[str, Float64[np.ndarray, " N"]]


@torch.inference_mode()
def attention_ablation(
    reader: BlockRunner, looks: ClipOutputs, seed: int = 0
) -> dict[str, Float64[np.ndarray, " N"]]:
    """Which clips are named right with the model's own attention, and with other in its place.

    `uniform` is the same on every slice; `shuffled in time` is the model's own of the block's real
    steps in random order; `swapped between clips` is that of a clip of another class and another
    group, at the same step (`partners`).

    Args:
        reader: of the clips.
        looks: what the model made of them.
        seed: of what is random.

    Returns:
        `rights` by what the attention was, "own" first.
    """
    assert looks.softmax is not None
    clips = reader.opened.clips
    random = np.random.default_rng(seed)
    other = partners(clips, random)
    replaced = {name: BlockCollector(reader) for name in (UNIFORM, SHUFFLED, SWAPPED)}
    for batch in reader.batches("replacing attention"):
        own = gathered(looks.softmax, reader.starts, batch)
        given = {
            UNIFORM: torch.full_like(own, 1 / own.shape[-1]),
            SHUFFLED: _shuffled(own, batch.mask, random),
            SWAPPED: _swapped(own, looks.softmax, other, reader.starts, batch),
        }
        for name, softmax in given.items():
            replaced[name].add(batch, reader.probabilities(batch.cubes, batch.mask, softmax))
    right = {"own": correct(clips, looks.results)}
    right |= {name: correct(clips, found.results()) for name, found in replaced.items()}
    # A clip without a partner was given its own attention, which tells nothing.
    right[SWAPPED][[mine for mine, his in enumerate(other) if his is None]] = np.nan
    return right


def partners(clips: Sequence[Clip], random: np.random.Generator) -> list[int | None]:
    """Another clip for each: of another class and group; where there is none, of another group.

    Drawn evenly among those that fit; None where all are of one group.
    """
    found: list[int | None] = []
    groups = np.array([clip.group for clip in clips])
    for mine in clips:
        elsewhere = np.flatnonzero(groups != mine.group).tolist()
        fit = [index for index in elsewhere if not set(mine.labels) & set(clips[index].labels)]
        among = fit or elsewhere
        found.append(int(random.choice(among)) if among else None)
    return found


def removal(
    reader: BlockRunner,
    maps: Maps,
    named: Int[np.ndarray, " N"],
    bootstrap: Bootstrap,
    seed: int = 0,
) -> DeletionResult:
    """Deletion and insertion on the feature cube (after Petsiuk et al., "RISE", 2018).

    At each step a share of the cube's places is removed, and the model reads the block anew. What
    is put in their place is the mean feature of training (`ChannelNorm.mean`), which is all zeros
    to the model; or, where features are not standardised, the block's own mean.

    Deletion removes places in the given order. Insertion begins with all removed and puts places
    back in that order; it is deletion in the reverse order read from its end, and so computed
    once. Random order is the map's own order with the places of a block relabelled at random, all
    its steps alike: it stays with its places as long as the map does, for what is removed at one
    step only is still seen at the next. Places with equal values go in random order.

    Args:
        reader: of the clips.
        maps: what ranks the places; on the cube's grid or, from two stages, on one that is finer
            by a whole number, whose values are then summed.
        named: the class of each clip whose probability is followed.
        bootstrap: of the clips.
        seed: of what is random.
    """
    places = reader.opened.config.model.cube.places
    counts = np.round(_SHARES * places).astype(int)
    draws = torch.Generator().manual_seed(seed)
    total = np.zeros((len(named), 3, len(counts)))
    blocks = np.zeros(len(named))
    for batch in reader.batches("removing places"):
        heat = on_cube(gathered(maps, reader.starts, batch), places)
        found = _deleted(reader, batch, ranked(heat, draws), counts, named, draws)
        np.add.at(total, batch.clip.numpy(), found)
        np.add.at(blocks, batch.clip.numpy(), 1)
    return summed_up(total / blocks[:, None, None], _SHARES, bootstrap)


def summed_up(
    deleted: Float64[np.ndarray, "N 3 S"], shares: Float64[np.ndarray, " S"], bootstrap: Bootstrap
) -> DeletionResult:
    """Both curves from the probabilities under deletion in the orders most, random, least.

    Args:
        deleted: of each clip, by order, by share removed.
        shares: which lie evenly about one half.
        bootstrap: of the clips.
    """
    inserted = deleted[:, ::-1, ::-1]
    lost, regained = (area(each, shares) for each in (deleted, inserted))
    gains = lost[:, 1] - lost[:, 0], regained[:, 0] - regained[:, 1]
    return DeletionResult(
        _removal(deleted, shares, gains[0], bootstrap),
        _removal(inserted, shares, gains[1], bootstrap),
        {
            "deletion": lost[:, 0],
            "deletion gain": gains[0],
            "insertion": regained[:, 0],
            "insertion gain": gains[1],
        },
    )


def area(
    probabilities: Float64[np.ndarray, "*N S"], shares: Float64[np.ndarray, " S"]
) -> Float64[np.ndarray, "*N"]:
    """Area under curves, by trapezoids."""
    middles = (probabilities[..., 1:] + probabilities[..., :-1]) / 2
    return np.asarray(middles @ np.diff(shares))


def _removal(
    probabilities: Float64[np.ndarray, "N 3 S"],
    shares: Float64[np.ndarray, " S"],
    gain: Float64[np.ndarray, " N"],
    bootstrap: Bootstrap,
) -> DeletionCurves:
    orders, areas = {MOST: 0, RANDOM: 1, LEAST: 2}, area(probabilities, shares)
    return DeletionCurves(
        curves={
            name: bootstrap.curve(probabilities[:, order], shares) for name, order in orders.items()
        },
        areas={name: bootstrap.estimate(areas[:, order]) for name, order in orders.items()},
        gain=bootstrap.estimate(gain),
    )


@torch.inference_mode()
def _deleted(
    reader: BlockRunner,
    batch: Block,
    rank: Int[Tensor, "B T P"],
    counts: Int[np.ndarray, " S"],
    named: Int[np.ndarray, " N"],
    draws: torch.Generator,
) -> Float64[np.ndarray, "B 3 S"]:
    """Probability of the named class in blocks, by order and share removed."""
    filling = _filling(reader, batch)
    rank = rank.to(batch.cubes.device)
    last = rank.shape[-1] - 1
    classes = torch.from_numpy(named[batch.clip.numpy()]).to(batch.cubes.device)

    def without(removed: Bool[Tensor, "B T P"]) -> Float64[np.ndarray, " B"]:
        cubes = torch.where(removed.unsqueeze(-1), filling, batch.cubes)
        means = reader.block_means(reader.probabilities(cubes, batch.mask), batch.mask)
        return means.gather(1, classes.unsqueeze(1)).squeeze(1).cpu().numpy()

    orders = [[rank], [relabelled(rank, draws) for _ in range(_DRAWS)], [last - rank]]
    found = np.empty((len(rank), 3, len(counts)))
    for step, count in enumerate(counts):
        if count in (0, last + 1):  # one result whatever the order
            found[:, :, step] = without(rank < count)[:, None]
        else:
            for order, ranks in enumerate(orders):
                found[:, order, step] = np.mean([without(each < count) for each in ranks], axis=0)
    return found


def _filling(reader: BlockRunner, batch: Block) -> Float[Tensor, "..."]:
    """What stands where a place was removed."""
    norm = reader.opened.model.channel_norm
    if bool(norm.mean.any()):
        return norm.mean
    real = batch.mask[:, :, None, None].to(batch.cubes.dtype)
    means = (batch.cubes.mean(2, keepdim=True) * real).sum(1, keepdim=True)
    return means / real.sum(1, keepdim=True)


def on_cube(heat: Float[Tensor, "B T L"], places: int) -> Float[Tensor, "B T P"]:
    """A map on the cube's own places: sums of what is finer."""
    if heat.shape[-1] == places:
        return heat
    side, fine = math.isqrt(places), math.isqrt(heat.shape[-1])
    ratio = fine // side
    cells = heat.reshape(*heat.shape[:2], side, ratio, side, ratio)
    return cells.sum((3, 5)).flatten(2)


def ranked(heat: Float[Tensor, "B T P"], draws: torch.Generator) -> Int[Tensor, "B T P"]:
    """The rank of each place at each step: 0 for the highest; equal ones in random order."""
    heat = heat.cpu()
    mixed = torch.rand(heat.shape, generator=draws).argsort(-1)
    order = heat.gather(-1, mixed).argsort(dim=-1, descending=True, stable=True)
    places = mixed.gather(-1, order)
    positions = torch.arange(heat.shape[-1]).expand_as(places)
    return torch.empty_like(places).scatter(-1, places, positions)


def relabelled(rank: Int[Tensor, "B T P"], draws: torch.Generator) -> Int[Tensor, "B T P"]:
    """Ranks with the places of each block relabelled at random, all its steps alike."""
    labels = torch.rand((len(rank), 1, rank.shape[-1]), generator=draws).argsort(-1)
    return rank.gather(-1, labels.to(rank.device).expand_as(rank))


def _shuffled(
    own: Float[Tensor, "B T Q"], mask: Bool[Tensor, "B T"], random: np.random.Generator
) -> Float[Tensor, "B T Q"]:
    """Attention of each block's real steps in random order."""
    shuffled = own.clone()
    for row, length in enumerate(mask.sum(1).tolist()):
        shuffled[row, :length] = own[row, torch.from_numpy(random.permutation(length))]
    return shuffled


def _swapped(
    own: Float[Tensor, "B T Q"],
    softmax: Maps,
    other: Sequence[int | None],
    starts: Sequence[Sequence[int]],
    batch: Block,
) -> Float[Tensor, "B T Q"]:
    """Attention of each block's partner; a shorter one's begins anew where it ends."""
    swapped = own.clone()
    for row, (clip, start) in enumerate(
        zip(batch.clip.tolist(), batch.start.tolist(), strict=True)
    ):
        partner = other[clip]
        if partner is not None:
            theirs = softmax[partner]
            block = np.asarray(theirs[starts[clip].index(start) % len(theirs)], np.float32)
            steps = np.arange(own.shape[1]) % len(block)
            swapped[row] = torch.from_numpy(block[steps])
    return swapped
