"""Blocks: the T consecutive sampled frames that a model reads at a time (T = 30 in the paper)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float16
from torch import Tensor
from torch.utils.data import Dataset

from glimpses.features.store import ClipFeatures


class Block(NamedTuple):
    """Some blocks of clips, or one of them.

    Attributes:
        cubes: feature cubes X in half precision; zeros where a clip was too short.
        mask: True where a step is a real frame.
        clip: index of the clip each block is from.
        start: the block's first frame in its clip.
    """

    cubes: Float16[Tensor, "*B T P D"]
    mask: Bool[Tensor, "*B T"]
    clip: Tensor
    start: Tensor


def grid_starts(frames: int, steps: int, stride: int) -> list[int]:
    """First frames of the blocks of a clip, `stride` apart, so that every frame is in a block.

    The paper and the authors' code move by one frame (`stride=1`). Where the stride does not
    divide the clip, a last block ends with it; a clip no longer than a block is one block.

    Args:
        frames: length of the clip in sampled frames, N.
        steps: length of a block, T.
        stride: distance of two blocks in frames, at least 1.
    """
    last = max(frames - steps, 0)
    starts = list(range(0, last + 1, stride))
    return starts if starts[-1] == last else [*starts, last]


def random_starts(frames: int, steps: int, generator: np.random.Generator) -> list[int]:
    """Random first frames of blocks, as many as it takes to cover the clip once.

    A training epoch so costs one look at each frame, and the next epoch sees other blocks.
    """
    last = max(frames - steps, 0)
    return sorted(generator.integers(0, last + 1, size=-(-frames // steps)).tolist())


def causal_stride(steps: int, stride: int | None = None) -> int:
    """Distance of two blocks where a clip is read frame by frame: half a block if not given.

    Raises:
        ValueError: it leaves frames in no block, or is none.
    """
    if stride is None:
        return max(1, steps // 2)
    if not 1 <= stride <= steps:
        raise ValueError(f"stride {stride}: must be from 1 to the length of a block, {steps}")
    return stride


def read_block(clip: ClipFeatures, index: int, start: int, steps: int) -> Block:
    """Read one block of a clip and pad it to `steps`."""
    cubes = clip.block(start, steps)
    mask = torch.arange(steps) < len(cubes)
    if len(cubes) < steps:
        padding = cubes.new_zeros((steps - len(cubes), *cubes.shape[1:]))
        cubes = torch.cat([cubes, padding])
    return Block(cubes, mask, torch.tensor(index), torch.tensor(start))


class Blocks(Dataset[Block]):
    """Blocks of many clips for a data loader.

    Args:
        clips: features of the clips.
        starts: first frames of the blocks of each clip.
        steps: length of a block, T.
    """

    def __init__(
        self, clips: Sequence[ClipFeatures], starts: Sequence[Sequence[int]], steps: int
    ) -> None:
        self._clips = clips
        self._steps = steps
        self._where = [(index, start) for index, own in enumerate(starts) for start in own]

    def __len__(self) -> int:
        return len(self._where)

    def __getitem__(self, index: int) -> Block:
        clip, start = self._where[index]
        return read_block(self._clips[clip], clip, start, self._steps)

    def batch(self, indices: Sequence[int]) -> Block:
        """Several blocks, read into one batch; the same as `collate` of each.

        Raises:
            GlimpsesError: a file of the store is gone or damaged.
        """
        where = [self._where[index] for index in indices]
        real = [min(self._steps, len(self._clips[clip]) - start) for clip, start in where]
        longest = max(real)
        shape = len(where), longest, *self._clips[where[0][0]].shape
        cubes = torch.empty(shape, dtype=torch.half)
        # By NumPy: PyTorch would fill it with threads that the model's steps need.
        rows = cubes.numpy()
        for row, (clip, start), count in zip(rows, where, real, strict=True):
            self._clips[clip].read(start, row[:count])
            row[count:] = 0
        clips, starts = (torch.tensor(each) for each in zip(*where, strict=True))
        return Block(cubes, torch.arange(longest) < torch.tensor(real)[:, None], clips, starts)


def collate(blocks: Sequence[Block]) -> Block:
    """Stack blocks into a batch, without steps that are padding in all of them."""
    batch = Block(*(torch.stack(parts) for parts in zip(*blocks, strict=True)))
    longest = int(batch.mask.sum(1).max())
    return batch._replace(cubes=batch.cubes[:, :longest], mask=batch.mask[:, :longest])
