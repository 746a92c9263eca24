"""Extraction that kills itself: `python -m tests.features.killed_extraction FOLDER CALL NUMBER`.

It extracts the clips of a folder, and sends itself SIGKILL at the given call of a function of `os`.
Without PyTorch, it starts fast.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np

from glimpses import features
from glimpses.datasets import Clip


class MeanBackbone:
    """A stand-in whose cube holds the mean of the picture."""

    name, weights, size, grid, channels = "mean", "abc", 32, 1, 1
    fine_channels, fine_ratio, flow_channels = 0, 1, 0
    batch, threads = 16, 2

    def half(
        self, frames: Collection[np.ndarray], previous: np.ndarray | None = None
    ) -> np.ndarray:
        return np.stack(list(frames)).mean((1, 2, 3)).astype(np.float16).reshape(-1, 1, 1)


def extract(folder: Path, store: Path) -> features.Features:
    """Extract every clip of a folder in parts of 16 frames."""
    features.store.FRAMES_PER_PART = features.fill.FRAMES_PER_PART = 16
    clips = [Clip(path.name, path, (0,), "g") for path in sorted(folder.glob("*.mp4"))]
    return features.extract_clips(clips, MeanBackbone(), fps=10, feature_dir=store)  # type: ignore[arg-type]


def main(folder: str, name: str, number: str) -> None:
    """Extract until the call."""
    calls, original = 0, getattr(os, name)

    def call(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == int(number):
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*arguments, **options)

    setattr(os, name, call)
    extract(Path(folder), Path(folder, "store"))


if __name__ == "__main__":
    main(*sys.argv[1:])
