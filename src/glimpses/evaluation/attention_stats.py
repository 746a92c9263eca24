"""Statistics of attention: entropy, coverage, centroid shift and overlap between blocks."""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Float, Float64

from glimpses.evaluation.block_runner import BlockRunner, ClipOutputs
from glimpses.evaluation.localisation import average_blocks


def attention_stats(
    runner: BlockRunner, outputs: ClipOutputs
) -> tuple[dict[str, Float64[np.ndarray, " N"]], dict[str, Float64[np.ndarray, "N T"]]]:
    """Compute the attention statistics of each clip.

    The value of a clip is the mean over its steps or over its blocks.

    Args:
        runner: runner of the clips.
        outputs: outputs of the model, with attention.

    Returns:
        `entropy`, `coverage`, `centroid_shift` and `overlap` of each clip; and entropy and centroid
        shift of each clip by step of a block. See the functions of these names.
    """
    assert outputs.attention is not None
    maps = outputs.attention
    steps = {
        "entropy": average_blocks([[entropy(block) for block in blocks] for blocks in maps]),
        "centroid_shift": average_blocks(
            [[centroid_shift(block) for block in blocks] for blocks in maps]
        ),
    }
    by_clip = {
        "entropy": steps["entropy"][0],
        "coverage": np.array([np.mean([coverage(block) for block in blocks]) for blocks in maps]),
        "centroid_shift": steps["centroid_shift"][0],
        "overlap": block_overlap(runner, outputs),
    }
    return by_clip, {name: table for name, (_, table) in steps.items()}


def entropy(attention: Float[np.ndarray, "T P"]) -> Float64[np.ndarray, " T"]:
    """Return the entropy of each step's attention as a fraction of the maximum, log P.

    1 for uniform attention, 0 if one place has it all; NaN on a grid of one place.
    """
    weights = attention.astype(np.float64)
    information = -np.log(weights, where=weights > 0, out=np.zeros_like(weights))
    places = weights.shape[1]
    maximum = math.log(places) if places > 1 else np.nan
    return np.asarray((weights * information).sum(1) / maximum)


def coverage(attention: Float[np.ndarray, "T P"]) -> float:
    """Return how evenly the attention of a block, over all its steps, covers the frame.

    The sum over places of min(mean over steps of l_t,i, 1/P). 1 for uniform attention, 1/P if the
    block attends to a single place. The penalty of Eq. 7 with `lambda` pulls the sum over steps of
    every place to the same number, and so the coverage to 1.
    """
    mean = attention.astype(np.float64).mean(0)
    return float(np.minimum(mean, 1 / len(mean)).sum())


def centroid_shift(attention: Float[np.ndarray, "T P"]) -> Float64[np.ndarray, " T"]:
    """Return how far the centroid moved since the previous step, in widths of the square frame.

    0 for constant attention; NaN at the first step.
    """
    side = math.isqrt(attention.shape[1])
    centres = (np.arange(side) + 0.5) / side
    maps = attention.astype(np.float64).reshape(-1, side, side)
    centroid = np.stack([maps.sum(1) @ centres, maps.sum(2) @ centres], axis=1)
    return np.concatenate([[np.nan], np.linalg.norm(np.diff(centroid, axis=0), axis=1)])


def overlap(
    first: Float[np.ndarray, "T P"], second: Float[np.ndarray, "T P"]
) -> Float64[np.ndarray, " T"]:
    """Return the histogram intersection at each step: 1 if equal, 0 if disjoint."""
    return np.asarray(np.minimum(first, second).sum(1), np.float64)


@torch.inference_mode()
def block_overlap(runner: BlockRunner, outputs: ClipOutputs) -> Float64[np.ndarray, " N"]:
    """Return the mean overlap, for each clip, of the attention of blocks that share frames.

    Every block is compared with one that starts half a block (T/2) later and so reaches the same
    frames with a different past. Near the end of a clip that block is shorter. NaN for clips of at
    most half a block. 1 for uniform attention.
    """
    assert outputs.attention is not None
    half = max(runner.steps // 2, 1)
    later_starts = [
        [start + half for start in starts if start + half < len(cubes)]
        for starts, cubes in zip(runner.starts, runner.opened.cubes, strict=True)
    ]
    total, count = np.zeros((2, len(later_starts)))
    if runner.steps < 2 or not any(later_starts):
        return np.full(len(later_starts), np.nan)
    for batch in runner.batches("comparing overlapping blocks", later_starts):
        maps = runner.opened.model(batch.cubes, batch.mask).attention
        assert maps is not None
        lengths = batch.mask.sum(1).tolist()
        for clip, start, later, length in zip(
            batch.clip.tolist(), batch.start.tolist(), maps.cpu().numpy(), lengths, strict=True
        ):
            index = runner.starts[clip].index(start - half)
            earlier = outputs.attention[clip][index][half:]
            shared = min(len(earlier), length)
            total[clip] += overlap(earlier[:shared], later[:shared]).sum()
            count[clip] += shared
    with np.errstate(invalid="ignore"):
        return np.asarray(total / count)
