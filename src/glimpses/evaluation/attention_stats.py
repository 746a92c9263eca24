"""How attention moves: how wide it is, what it covers, how far it goes, whether it depends."""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Float, Float64

from glimpses.evaluation.block_runner import BlockRunner, ClipOutputs
from glimpses.evaluation.localisation import tabulate


def moves(
    reader: BlockRunner, looks: ClipOutputs
) -> tuple[dict[str, Float64[np.ndarray, " N"]], dict[str, Float64[np.ndarray, "N T"]]]:
    """Measure how attention moves.

    A clip's value is the mean over its steps, or over its blocks.

    Args:
        reader: of the clips.
        looks: what the model made of them, with attention.

    Returns:
        `entropy`, `coverage`, `travel` and `agreement` of each clip; and entropy and travel of each
        clip by step of a block. See the functions of these names.
    """
    assert looks.attention is not None
    maps = looks.attention
    steps = {
        "entropy": tabulate([[entropy(block) for block in blocks] for blocks in maps]),
        "travel": tabulate([[centroid_shift(block) for block in blocks] for blocks in maps]),
    }
    by_clip = {
        "entropy": steps["entropy"][0],
        "coverage": np.array([np.mean([coverage(block) for block in own]) for own in maps]),
        "travel": steps["travel"][0],
        "agreement": agreements(reader, looks),
    }
    return by_clip, {name: table for name, (_, table) in steps.items()}


def entropy(attention: Float[np.ndarray, "T P"]) -> Float64[np.ndarray, " T"]:
    """Entropy of each step's attention as a share of the largest, log P.

    1 for uniform attention, 0 where one place has it all; NaN on a grid of one place.
    """
    known = attention.astype(np.float64)
    information = -np.log(known, where=known > 0, out=np.zeros_like(known))
    places = known.shape[1]
    most = math.log(places) if places > 1 else np.nan
    return np.asarray((known * information).sum(1) / most)


def coverage(attention: Float[np.ndarray, "T P"]) -> float:
    """How evenly a block's attention, over all its steps, covers the picture.

    The sum over places of min(mean over steps of l_t,i, 1/P): how much of what a block spends is
    spent on giving every place its share. The penalty of Eq. 7 with `lambda` pulls the sum over
    steps of every place to one number, and so this to 1, which uniform attention has; it is 1/P
    where a block never looks at any place but one.
    """
    mean = attention.astype(np.float64).mean(0)
    return float(np.minimum(mean, 1 / len(mean)).sum())


def centroid_shift(attention: Float[np.ndarray, "T P"]) -> Float64[np.ndarray, " T"]:
    """How far the centre of attention moved since the step before, in widths of the square frame.

    0 for attention that does not change, uniform or not; NaN at the first step.
    """
    side = math.isqrt(attention.shape[1])
    middle = (np.arange(side) + 0.5) / side
    maps = attention.astype(np.float64).reshape(-1, side, side)
    centre = np.stack([maps.sum(1) @ middle, maps.sum(2) @ middle], axis=1)
    return np.concatenate([[np.nan], np.linalg.norm(np.diff(centre, axis=0), axis=1)])


def agreement(
    one: Float[np.ndarray, "T P"], other: Float[np.ndarray, "T P"]
) -> Float64[np.ndarray, " T"]:
    """Histogram intersection of two attentions at each step: 1 if equal, 0 if nowhere both."""
    return np.asarray(np.minimum(one, other).sum(1), np.float64)


@torch.inference_mode()
def agreements(reader: BlockRunner, looks: ClipOutputs) -> Float64[np.ndarray, " N"]:
    """How alike two blocks look at the frames they share, the mean over each clip.

    Every block is compared with one that begins half a block (T/2) later, and so comes to the same
    frames with another past. Near the end of a clip that one is short. NaN for clips that have no
    more than half a block of frames. Uniform attention has 1.
    """
    assert looks.attention is not None
    half = max(reader.steps // 2, 1)
    later = [
        [start + half for start in starts if start + half < len(cubes)]
        for starts, cubes in zip(reader.starts, reader.opened.cubes, strict=True)
    ]
    total, count = np.zeros((2, len(later)))
    if reader.steps < 2 or not any(later):
        return np.full(len(later), np.nan)
    for batch in reader.batches("looking again", later):
        maps = reader.opened.model(batch.cubes, batch.mask).attention
        assert maps is not None
        lengths = batch.mask.sum(1).tolist()
        for clip, start, new, length in zip(
            batch.clip.tolist(), batch.start.tolist(), maps.cpu().numpy(), lengths, strict=True
        ):
            first = looks.attention[clip][reader.starts[clip].index(start - half)][half:]
            shared = min(len(first), length)
            total[clip] += agreement(first[:shared], new[:shared]).sum()
            count[clip] += shared
    with np.errstate(invalid="ignore"):
        return np.asarray(total / count)
