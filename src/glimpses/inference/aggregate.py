"""From blocks to clips: a model's output, averaged over steps and then over blocks."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
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

#: How the blocks of a clip become its prediction.
Vote = Literal["mean", "majority"]

# Blocks in one pass of the model.
_BATCH = 32
# What the mean counts where blocks vote: enough to part two classes with equally many votes.
_TIE = 1e-6


@dataclass(frozen=True)
class BlockResult:
    """What a model makes of one block: class probabilities and attention at its real frames.

    Attributes:
        clip: index of the clip.
        start: first frame of the block in its clip.
        probabilities: of the classes at every step, (T, C).
        attention: on the places of its grid at every step, (T, P), or None for a model without.
    """

    clip: int
    start: int
    probabilities: Float64[np.ndarray, "T C"]
    attention: Float64[np.ndarray, "T P"] | None


@dataclass(frozen=True)
class ClipResult:
    """What a model makes of one clip.

    Attributes:
        probabilities: of the classes, the mean over the steps of a block and then over blocks
            (section 3 of the paper) or, by majority, the share of blocks that lead with it, (C,).
        steps: class probabilities at every sampled frame; where blocks overlap, their mean, (N, C).
        attention: on the places of its grid at every sampled frame, row by row, (N, P), or None
            for a model without.
    """

    probabilities: Float64[np.ndarray, " C"]
    steps: Float64[np.ndarray, "N C"]
    attention: Float64[np.ndarray, "N P"] | None

    @property
    def attention_maps(self) -> Float64[np.ndarray, "N L L"] | None:
        """Attention laid out on its own grid, which may be finer than the cube's."""
        if self.attention is None:
            return None
        side = math.isqrt(self.attention.shape[1])
        return self.attention.reshape(-1, side, side)


def predict_clips(
    model: ActionModel,
    clips: Sequence[ClipFeatures],
    *,
    steps: int,
    stride: int,
    multi_label: bool = False,
    last_steps: int | None = None,
    vote: Vote = "mean",
) -> Iterator[ClipResult]:
    """Run a model over every block of some clips and average.

    Args:
        model: the model, on any device.
        clips: features of the clips.
        steps: length of a block, T.
        stride: distance of two blocks in frames.
        multi_label: whether classes are independent (sigmoid) or exclude each other (softmax).
        last_steps: see `ClipAverage`.
        vote: see `ClipAverage`.

    Yields:
        One result per clip, in order, as soon as its last block is done.
    """
    starts = [grid_starts(len(clip), steps, stride) for clip in clips]
    blocks = Blocks(clips, starts, steps)
    current, average = 0, ClipAverage(last_steps, vote)
    for batch in BatchLoader(blocks, _BATCH, device=next(model.parameters()).device):
        for block in run_blocks(model, batch, multi_label=multi_label):
            if block.clip != current:
                yield average.result()
                current, average = block.clip, ClipAverage(last_steps, vote)
            average.add(block)
    if clips:
        yield average.result()


def predict_causally(
    model: ActionModel,
    clips: Sequence[ClipFeatures],
    *,
    steps: int,
    stride: int | None = None,
    multi_label: bool = False,
) -> Iterator[ClipResult]:
    """Run a model over clips as `streaming.Stream` reads them: no frame knows of later ones.

    What that means is said there; here it is done block by block, with the same numbers. A clip's
    prediction is the mean over its frames.

    Args:
        model: the model, on any device.
        clips: features of the clips.
        steps: length of a block, T.
        stride: distance of two blocks in frames, 1 to T; half a block if not given.
        multi_label: whether classes are independent (sigmoid) or exclude each other (softmax).

    Yields:
        One result per clip, in order.

    Raises:
        ValueError: `stride` is out of range.
    """
    stride = causal_stride(steps, stride)
    device = next(model.parameters()).device
    for index, clip in enumerate(clips):
        # A block speaks for the frames that no older one holds: its last `stride`.
        starts = [0, *range(stride, len(clip) - steps + stride, stride)]
        shown = []
        for first in range(0, len(starts), _BATCH):
            some = starts[first : first + _BATCH]
            batch = collate([read_block(clip, index, start, steps) for start in some])
            means = torch.stack([_mean_until(clip, start, steps) for start in some])
            for result in run_blocks(model, batch, multi_label=multi_label, mean=means.to(device)):
                old = steps - stride if result.start else 0
                shown.append(
                    (
                        result.probabilities[old:],
                        None if result.attention is None else result.attention[old:],
                    )
                )
        probabilities, attention = zip(*shown, strict=True)
        every = np.concatenate(probabilities)
        yield ClipResult(
            probabilities=every.mean(0),
            steps=every,
            attention=None if attention[0] is None else np.concatenate(attention),
        )


def _mean_until(clip: ClipFeatures, frame: int, steps: int) -> Float[Tensor, " D"]:
    """Mean feature slice of the last `steps` frames up to one."""
    first = max(0, frame + 1 - steps)
    return clip.block(first, frame + 1 - first).float().mean(1).mean(0)


def run_blocks(
    model: ActionModel,
    batch: Block,
    *,
    multi_label: bool,
    mean: Float[Tensor, "B D"] | None = None,
) -> Iterator[BlockResult]:
    """Run a model over a batch of blocks, padding cut off again.

    Args:
        model: the model, on any device; its mode is left as it was.
        batch: the blocks.
        multi_label: sigmoid in place of softmax over the classes.
        mean: what the blocks start from instead of their own means; see `ActionModel.forward`.

    Yields:
        The result of each block.
    """
    device = next(model.parameters()).device
    training = model.training
    with torch.inference_mode():
        output = model.eval()(batch.cubes.to(device), batch.mask.to(device), mean=mean)
        logits = output.logits.double()
        probabilities = (logits.sigmoid() if multi_label else logits.softmax(-1)).cpu().numpy()
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


class ClipAverage:
    """Brings the blocks of one clip together; what it holds grows with frames, not with blocks.

    Args:
        last_steps: how many steps at the end of a block count for its prediction (`last_n` in the
            authors' code); None for all, as in the paper.
        vote: whether a clip's prediction is the `mean` of its blocks' (the paper), or the
            `majority` of the classes that lead in them (the authors' code, for one label a clip).
    """

    def __init__(self, last_steps: int | None = None, vote: Vote = "mean") -> None:
        self._last_steps = last_steps
        self._vote = vote
        self._blocks = 0
        self._votes: Float64[np.ndarray, " C"] = np.zeros(0)
        self._whole: Float64[np.ndarray, " C"] = np.zeros(0)
        self._steps = _FrameMean()
        self._attention = _FrameMean()

    def add(self, block: BlockResult) -> None:
        """Take in one more block."""
        self._blocks += 1
        mean = block.probabilities[-(self._last_steps or len(block.probabilities)) :].mean(0)
        if self._blocks == 1:
            self._whole, self._votes = np.zeros_like(mean), np.zeros_like(mean)
        self._whole += mean
        self._votes[mean.argmax()] += 1
        self._steps.add(block.start, block.probabilities)
        if block.attention is not None:
            self._attention.add(block.start, block.attention)

    def result(self) -> ClipResult:
        """The clip's prediction over all blocks taken in."""
        probabilities = self._whole / self._blocks
        if self._vote == "majority":
            probabilities = (1 - _TIE) * self._votes / self._blocks + _TIE * probabilities
        return ClipResult(
            probabilities=probabilities,
            steps=self._steps.result(),
            attention=self._attention.result() if self._attention.any else None,
        )


class _FrameMean:
    """Mean of what blocks say of each frame, as blocks come in."""

    def __init__(self) -> None:
        self._total: Float64[np.ndarray, "N X"] = np.zeros((0, 0))
        self._count: Float64[np.ndarray, "N 1"] = np.zeros((0, 1))

    @property
    def any(self) -> bool:
        return len(self._count) > 0

    def add(self, start: int, values: Float64[np.ndarray, "T X"]) -> None:
        end = start + len(values)
        if end > len(self._count):
            # Twice as long each time, so that growing costs little.
            room = max(end, 2 * len(self._count)) if self.any else end
            total, count = np.zeros((room, values.shape[1])), np.zeros((room, 1))
            if self.any:
                total[: len(self._total)], count[: len(self._count)] = self._total, self._count
            self._total, self._count = total, count
        self._total[start:end] += values
        self._count[start:end] += 1

    def result(self) -> Float64[np.ndarray, "N X"]:
        frames = int(np.flatnonzero(self._count[:, 0])[-1]) + 1
        return np.asarray(self._total[:frames] / self._count[:frames])
