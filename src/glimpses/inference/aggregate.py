"""Aggregation of a model's output from blocks to clips: over steps, then over blocks."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from glimpses.features import (
    BatchLoader,
    Block,
    Blocks,
    ClipFeatures,
    causal_stride,
    collate,
    grid_starts,
    read_block,
)
from glimpses.models import ActionModel

#: Aggregation of the predictions of a clip's blocks.
Aggregation = Literal["mean", "logits", "majority"]

# Blocks in a forward pass.
_BATCH = 32
# Weight of the mean probabilities in a majority vote: enough to break ties.
_TIE = 1e-6
# Smallest probability that has a logarithm.
_TINY = 1e-300


@dataclass(frozen=True)
class BlockResult:
    """Output of a model for one block, without the padding.

    Attributes:
        clip: index of the clip.
        start: index of the block's first frame in the clip.
        probabilities: class probabilities at each step, (T, C).
        attention: location softmax at each step, (T, P); None for a model without attention.
    """

    clip: int
    start: int
    probabilities: Float64[np.ndarray, "T C"]
    attention: Float64[np.ndarray, "T P"] | None


@dataclass(frozen=True)
class ClipResult:
    """Output of a model for one clip.

    Attributes:
        probabilities: class probabilities, (C,): the mean over the steps of a block and then over
            blocks (section 3 of the paper), the softmax of the mean logits (`logits`), or the share
            of blocks that predict each class (`majority`).
        step_probabilities: class probabilities at each sampled frame, (N, C); the mean where
            blocks overlap.
        attention: location softmax at each sampled frame, row-major, (N, P); None for a model
            without attention.
    """

    probabilities: Float64[np.ndarray, " C"]
    step_probabilities: Float64[np.ndarray, "N C"]
    attention: Float64[np.ndarray, "N P"] | None

    @property
    def attention_maps(self) -> Float64[np.ndarray, "N L L"] | None:
        """Attention on its own grid, which may be finer than the feature cube's."""
        if self.attention is None:
            return None
        grid = math.isqrt(self.attention.shape[1])
        return self.attention.reshape(-1, grid, grid)


def predict_clips(
    model: ActionModel,
    clips: Sequence[ClipFeatures],
    *,
    block_length: int,
    stride: int,
    multi_label: bool = False,
    last_steps: int | None = None,
    aggregate: Aggregation = "mean",
) -> Iterator[ClipResult]:
    """Run a model on all blocks of some clips and aggregate its output per clip.

    Args:
        model: the model, on any device.
        clips: features of the clips.
        block_length: length of a block in frames, T.
        stride: distance between the starts of blocks, in frames.
        multi_label: whether classes are independent (sigmoid) or mutually exclusive (softmax).
        last_steps: see `ClipAggregator`.
        aggregate: see `ClipAggregator`.

    Yields:
        One result per clip, in order, as soon as its last block is done.
    """
    starts = [grid_starts(len(clip), block_length, stride) for clip in clips]
    blocks = Blocks(clips, starts, block_length)
    new_aggregator = partial(ClipAggregator, last_steps, aggregate, multi_label=multi_label)
    current, average = 0, new_aggregator()
    for batch in BatchLoader(blocks, _BATCH, device=next(model.parameters()).device):
        for block in run_blocks(model, batch, multi_label=multi_label):
            if block.clip != current:
                yield average.result()
                current, average = block.clip, new_aggregator()
            average.add(block)
    if clips:
        yield average.result()


def predict_causally(
    model: ActionModel,
    clips: Sequence[ClipFeatures],
    *,
    block_length: int,
    stride: int | None = None,
    multi_label: bool = False,
) -> Iterator[ClipResult]:
    """Run a model on clips as `Stream` does, where no output depends on later frames.

    `Stream` documents the rules. This function computes the same numbers block by block. The
    prediction of a clip is the mean over its frames.

    Args:
        model: the model, on any device.
        clips: features of the clips.
        block_length: length of a block in frames, T.
        stride: distance between the starts of blocks in frames, 1 to T; T / 2 by default.
        multi_label: whether classes are independent (sigmoid) or mutually exclusive (softmax).

    Yields:
        One result per clip, in order.

    Raises:
        ValueError: `stride` is out of range.
    """
    stride = causal_stride(block_length, stride)
    device = next(model.parameters()).device
    for index, clip in enumerate(clips):
        # A block gives the output of the frames that no earlier block holds: its last `stride`.
        starts = [0, *range(stride, len(clip) - block_length + stride, stride)]
        probabilities, attention = [], []
        for first in range(0, len(starts), _BATCH):
            batch_starts = starts[first : first + _BATCH]
            batch = collate(
                [read_block(clip, index, start, block_length) for start in batch_starts]
            )
            means = torch.stack([_mean_until(clip, start, block_length) for start in batch_starts])
            for result in run_blocks(model, batch, multi_label=multi_label, mean=means.to(device)):
                overlap = block_length - stride if result.start else 0
                probabilities.append(result.probabilities[overlap:])
                if result.attention is not None:
                    attention.append(result.attention[overlap:])
        step_probabilities = np.concatenate(probabilities)
        yield ClipResult(
            probabilities=step_probabilities.mean(0),
            step_probabilities=step_probabilities,
            attention=np.concatenate(attention) if attention else None,
        )


def _mean_until(clip: ClipFeatures, frame: int, block_length: int) -> Float[Tensor, " D"]:
    """Return the mean feature slice of the last frames, at most a block, up to `frame`."""
    first = max(0, frame + 1 - block_length)
    return clip.block(first, frame + 1 - first).float().mean(1).mean(0)


def run_blocks(
    model: ActionModel, batch: Block, *, multi_label: bool, mean: Float[Tensor, "B D"] | None = None
) -> Iterator[BlockResult]:
    """Run a model on a batch of blocks and yield each block's result without the padding.

    Args:
        model: the model, on any device; its training mode is restored afterwards.
        batch: the blocks.
        multi_label: whether to apply a sigmoid instead of a softmax over the classes.
        mean: mean feature slices to start from instead of the blocks' own; see
            `ActionModel.forward`.
    """
    device = next(model.parameters()).device
    training = model.training
    with torch.inference_mode():
        output = model.eval()(batch.cubes.to(device), batch.mask.to(device), mean=mean)
        logits = output.logits.double()
        probabilities = model.to_probabilities(logits, multi_label=multi_label).cpu().numpy()
        attention = None if output.attention is None else output.attention.double().cpu().numpy()
    model.train(training)
    lengths, clips, starts = batch.mask.sum(1).tolist(), batch.clip.tolist(), batch.start.tolist()
    for row, (length, clip, start) in enumerate(zip(lengths, clips, starts, strict=True)):
        yield BlockResult(
            clip=clip,
            start=start,
            probabilities=probabilities[row, :length],
            attention=None if attention is None else attention[row, :length],
        )


class ClipAggregator:
    """Running aggregate of the blocks of one clip; memory grows with frames, not with blocks.

    Args:
        last_steps: number of steps at the end of a block that count for its prediction (`last_n`
            in the authors' code); None for all, as in the paper.
        aggregate: "mean" averages the predictions of the blocks (the paper); "majority" counts the
            blocks that predict each class (the authors' code for single-label data); "logits"
            averages logits, which is the normalized geometric mean of the probabilities.
        multi_label: whether classes are independent of each other.
    """

    def __init__(
        self,
        last_steps: int | None = None,
        aggregate: Aggregation = "mean",
        *,
        multi_label: bool = False,
    ) -> None:
        self._last_steps = last_steps
        self._aggregate = aggregate
        self._multi_label = multi_label
        self._blocks = 0
        self._votes: Float64[np.ndarray, " C"] = np.zeros(0)
        self._sum: Float64[np.ndarray, " C"] = np.zeros(0)
        self._step_probabilities = _FrameMean()
        self._attention = _FrameMean()

    def add(self, block: BlockResult) -> None:
        """Add a block."""
        self._blocks += 1
        probabilities = block.probabilities[-(self._last_steps or len(block.probabilities)) :]
        if self._aggregate == "logits":
            probabilities = _logits(probabilities, multi_label=self._multi_label)
        mean = probabilities.mean(0)
        if self._blocks == 1:
            self._sum, self._votes = np.zeros_like(mean), np.zeros_like(mean)
        self._sum += mean
        self._votes[mean.argmax()] += 1
        self._step_probabilities.add(block.start, block.probabilities)
        if block.attention is not None:
            self._attention.add(block.start, block.attention)

    def result(self) -> ClipResult:
        """Return the clip's result over all blocks added so far."""
        probabilities = self._sum / self._blocks
        if self._aggregate == "logits":
            odds = np.exp(probabilities - (0 if self._multi_label else probabilities.max()))
            probabilities = odds / ((1 + odds) if self._multi_label else odds.sum())
        elif self._aggregate == "majority":
            probabilities = (1 - _TIE) * self._votes / self._blocks + _TIE * probabilities
        return ClipResult(
            probabilities=probabilities,
            step_probabilities=self._step_probabilities.result(),
            attention=None if self._attention.is_empty else self._attention.result(),
        )


def _logits(
    probabilities: Float64[np.ndarray, "T C"], *, multi_label: bool
) -> Float64[np.ndarray, "T C"]:
    """Return logits of some probabilities, each row up to a constant if classes are exclusive."""
    odds = probabilities / np.maximum(1 - probabilities, _TINY) if multi_label else probabilities
    return np.asarray(np.log(np.maximum(odds, _TINY)))


class _FrameMean:
    """Running mean at each frame over the blocks that cover it."""

    def __init__(self) -> None:
        self._sum: Float64[np.ndarray, "N X"] = np.zeros((0, 0))
        self._count: Float64[np.ndarray, "N 1"] = np.zeros((0, 1))

    @property
    def is_empty(self) -> bool:
        return len(self._count) == 0

    def add(self, start: int, values: Float64[np.ndarray, "T X"]) -> None:
        end = start + len(values)
        if end > len(self._count):
            # Doubling keeps the total cost of copying linear.
            capacity = end if self.is_empty else max(end, 2 * len(self._count))
            total, count = np.zeros((capacity, values.shape[1])), np.zeros((capacity, 1))
            if not self.is_empty:
                total[: len(self._sum)], count[: len(self._count)] = self._sum, self._count
            self._sum, self._count = total, count
        self._sum[start:end] += values
        self._count[start:end] += 1

    def result(self) -> Float64[np.ndarray, "N X"]:
        frames = int(np.flatnonzero(self._count[:, 0])[-1]) + 1
        return np.asarray(self._sum[:frames] / self._count[:frames])
