"""Stand-ins that are quick and whose truth is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from glimpses import video


class GreyBackbone:
    """A stand-in whose cube holds the mean grey of each quarter of the picture."""

    name, weights, size, grid, channels = "grey:2", "abc", 32, 2, 1
    fine_channels, fine_ratio = 0, 1
    batch, threads = 16, 2

    def __init__(self, fail_after: int | None = None) -> None:
        self.calls = 0
        self.frames = 0
        self._fail_after = fail_after

    def __call__(self, frames: np.ndarray) -> Tensor:
        if self.calls == self._fail_after:
            raise KeyboardInterrupt
        self.calls += 1
        self.frames += len(frames)
        grey = torch.from_numpy(frames).float().mean(-1)
        return grey.reshape(-1, 2, 16, 2, 16).mean((2, 4)).reshape(-1, 4, 1)


def make_moving_set(root: Path, *, groups: int = 6, length: int = 12) -> Path:
    """Two actions that only time tells apart: a light that goes left to right, or back.

    Each group has one clip of either, with a grey level of its own.
    """
    for group in range(groups):
        for action, order in (("forth", 1), ("back", -1)):
            frames = np.full((length, 32, 32, 3), 10 + 5 * group, np.uint8)
            for step in range(length):
                column = (step if order > 0 else length - 1 - step) * 32 // length
                frames[step, :, column : column + 4] = 250
            video.write(root / action / f"v_{action}_{group:02}_01.avi", frames, fps=10)
    return root
