"""Scenes with a background and something that moves, for tests of copies."""

from __future__ import annotations

import numpy as np
from jaxtyping import UInt8


def moving_scene(
    seed: int, frames: int = 30, size: int = 96, radius: int = 8
) -> UInt8[np.ndarray, "N S S 3"]:
    """Return a coarse random background with a bright disc on a path of its own."""
    generator = np.random.default_rng(seed)
    coarse = generator.integers(40, 200, (6, 6, 3), np.uint8)
    background = np.kron(coarse, np.ones((size // 6, size // 6, 1), np.uint8))
    path = generator.normal(0, 6, (frames, 2)).cumsum(0) + size / 2
    rows, columns = np.mgrid[:size, :size]
    scene = np.repeat(background[None], frames, axis=0)
    for frame, (row, column) in zip(scene, path % size, strict=True):
        frame[np.hypot(rows - row, columns - column) < radius] = 255
    return scene
