"""Blocks of a video, run as its feature cubes arrive."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float16, Float64
from torch import Tensor

from glimpses.features import Block, collate
from glimpses.inference.aggregate import BlockResult, run_blocks
from glimpses.models import ActionModel


class BlockRunner:
    """Runner of a model on the blocks of `features.grid_starts`, in constant memory.

    Only the cubes that later blocks need are kept.

    Args:
        model: the model.
        block_length: T.
        stride: frames between the starts of blocks.
        multi_label: see `run_blocks`.
        first: number of the first frame, a multiple of the stride.

    Attributes:
        settled: frame before which no later block begins.
    """

    def __init__(
        self, model: ActionModel, *, block_length: int, stride: int, multi_label: bool,
        first: int = 0,
    ) -> None:  # fmt: skip
        self._model, self._multi_label = model, multi_label
        self._steps, self._stride = block_length, stride
        self._cubes: list[Tensor] = []
        # Frame of the first kept cube; start of the next block; start of the last one that was run.
        self._first, self._start, self._previous = first, first, -1
        self.settled = first

    def add(self, cubes: Float16[Tensor, "N P D"]) -> list[BlockResult]:
        """Return the results of the blocks that end with the next frames."""
        self._cubes += cubes
        starts = []
        while self._first + len(self._cubes) >= self._start + self._steps:
            starts.append(self._start)
            self._previous, self._start = self._start, self._start + self._stride
        if starts:
            # The last block ends with the video, so it may begin before the next one would.
            self.settled = self._previous
        results = self._run(starts)
        # The last block ends with the video, so a block's worth of cubes is always kept.
        excess = min(self._start - self._first, len(self._cubes) - self._steps)
        if excess > 0:
            del self._cubes[:excess]
            self._first += excess
        return results

    def finish(self) -> list[BlockResult]:
        """Return the result of the last block, which ends with the video, if it is not done yet."""
        last = max(self._first + len(self._cubes) - self._steps, 0)
        return self._run([last]) if last != self._previous and self._cubes else []

    def _run(self, starts: list[int]) -> list[BlockResult]:
        blocks = []
        for start in starts:
            first = start - self._first
            cubes = torch.stack(self._cubes[first : first + self._steps])
            mask = torch.ones(len(cubes), dtype=torch.bool)
            blocks.append(Block(cubes, mask, torch.tensor(0), torch.tensor(start)))
        if not blocks:
            return []
        return list(run_blocks(self._model, collate(blocks), multi_label=self._multi_label))


class StepMean:
    """Mean of the rows of overlapping blocks, given out once no later block changes them."""

    def __init__(self, first: int = 0) -> None:
        self._first = first
        self._sum: Float64[np.ndarray, "N X"] | None = None
        self._count: Float64[np.ndarray, "N 1"] = np.zeros((0, 1))

    def add(self, start: int, rows: Float64[np.ndarray, "T X"]) -> None:
        """Add the rows of a block that begins at frame `start`."""
        first, end = start - self._first, start - self._first + len(rows)
        missing = max(end - len(self._count), 0)
        old = np.zeros((0, rows.shape[1])) if self._sum is None else self._sum
        self._sum = np.pad(old, ((0, missing), (0, 0)))
        self._count = np.pad(self._count, ((0, missing), (0, 0)))
        self._sum[first:end] += rows
        self._count[first:end] += 1

    def take(self, end: int | None = None) -> Float64[np.ndarray, "N X"]:
        """Return the means of the frames before `end` that were not returned yet, or of all."""
        if self._sum is None:
            return np.zeros((0, 0))
        count = len(self._count) if end is None else max(end - self._first, 0)
        means = np.asarray(self._sum[:count] / self._count[:count])
        self._sum, self._count = self._sum[count:], self._count[count:]
        self._first += count
        return means
