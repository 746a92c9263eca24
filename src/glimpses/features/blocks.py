"""Blocks: T consecutive sampled frames that a model processes together (T = 30 in the paper)."""

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
    """One block of a clip, or a batch of blocks.

    Attributes:
        cubes: feature cubes X in half precision; zeros after the end of a short clip.
        mask: True where a step is a real frame.
        clip: index of the clip of each block.
        start: index of the block's first frame in its clip.
    """

    cubes: Float16[Tensor, "*B T P D"]
    mask: Bool[Tensor, "*B T"]
    clip: Tensor
    start: Tensor


def grid_starts(frames: int, block_length: int, stride: int) -> list[int]:
    """Return the first frames of blocks at a fixed stride that cover the whole clip.

    The paper and the authors' code use `stride=1`. If the stride does not divide the clip, a last
    block ends with the clip. A clip no longer than a block has one block.

    Args:
        frames: length of the clip in sampled frames, N.
        block_length: T.
        stride: frames from one block to the next, at least 1.
    """
    last = max(frames - block_length, 0)
    starts = list(range(0, last + 1, stride))
    return starts if starts[-1] == last else [*starts, last]


def random_starts(frames: int, block_length: int, generator: np.random.Generator) -> list[int]:
    """Draw the first frames of ceil(N / T) random blocks, as many as cover the clip once.

    A training epoch then reads about as many frames as the clips have, and every epoch has other
    blocks.
    """
    last = max(frames - block_length, 0)
    return sorted(generator.integers(0, last + 1, size=-(-frames // block_length)).tolist())


def causal_stride(block_length: int, stride: int | None = None) -> int:
    """Return the stride of blocks for a clip processed frame by frame; by default half a block.

    Raises:
        ValueError: the stride is below 1, or so long that some frames would be in no block.
    """
    if stride is None:
        return max(1, block_length // 2)
    if not 1 <= stride <= block_length:
        raise ValueError(f"stride {stride}: must be from 1 to the block length, {block_length}")
    return stride


def read_block(clip: ClipFeatures, index: int, start: int, block_length: int) -> Block:
    """Read one block of a clip, padded with zeros to `block_length`."""
    cubes = clip.block(start, block_length)
    mask = torch.arange(block_length) < len(cubes)
    if len(cubes) < block_length:
        padding = cubes.new_zeros((block_length - len(cubes), *cubes.shape[1:]))
        cubes = torch.cat([cubes, padding])
    return Block(cubes, mask, torch.tensor(index), torch.tensor(start))


class Blocks(Dataset[Block]):
    """Dataset of the blocks of many clips.

    Args:
        clips: features of the clips.
        starts: first frames of the blocks of each clip.
        block_length: T.
    """

    def __init__(
        self, clips: Sequence[ClipFeatures], starts: Sequence[Sequence[int]], block_length: int
    ) -> None:
        self._clips = clips
        self._block_length = block_length
        self._positions = [(clip, start) for clip, row in enumerate(starts) for start in row]

    def __len__(self) -> int:
        return len(self._positions)

    def __getitem__(self, index: int) -> Block:
        clip, start = self._positions[index]
        return read_block(self._clips[clip], clip, start, self._block_length)

    def batch(self, indices: Sequence[int]) -> Block:
        """Read several blocks straight into one batch, equal to `collate` of the single blocks.

        Raises:
            GlimpsesError: a file of the feature store is missing or damaged.
        """
        positions = [self._positions[index] for index in indices]
        remaining = (len(self._clips[clip]) - start for clip, start in positions)
        lengths = [min(self._block_length, frames) for frames in remaining]
        longest = max(lengths)
        shape = len(positions), longest, *self._clips[positions[0][0]].shape
        cubes = torch.empty(shape, dtype=torch.half)
        # NumPy fills the batch: PyTorch would use threads that the model's steps need.
        rows = cubes.numpy()
        for row, (clip, start), length in zip(rows, positions, lengths, strict=True):
            self._clips[clip].read_into(start, row[:length])
            row[length:] = 0
        clips, starts = (torch.tensor(indices) for indices in zip(*positions, strict=True))
        mask = torch.arange(longest) < torch.tensor(lengths)[:, None]
        return Block(cubes, mask, clips, starts)


def collate(blocks: Sequence[Block]) -> Block:
    """Stack blocks into a batch, without the steps that are padding in all of them."""
    batch = Block(*(torch.stack(fields) for fields in zip(*blocks, strict=True)))
    longest = int(batch.mask.sum(1).max())
    return batch._replace(cubes=batch.cubes[:, :longest], mask=batch.mask[:, :longest])
