"""Generated clips and model outputs for the tests of drawing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from glimpses import video


def grey_clip(
    path: Path, *, width: int = 120, height: int = 80, count: int = 20, fps: float = 10
) -> Path:
    """Write a clip whose frame i has grey level 40 + 10 i, up to 230."""

    def frames() -> Iterator[np.ndarray]:
        for number in range(count):
            yield np.full((height, width, 3), min(40 + 10 * number, 230), np.uint8)

    video.write(path, frames(), fps=fps)
    return path


def model_output(
    *, steps: int = 20, fps: float = 10, classes: int = 3, grid: int = 7
) -> dict[str, Any]:
    """Return random model outputs for a clip, as arguments of the drawing functions."""
    rng = np.random.default_rng(0)
    step_probabilities = rng.dirichlet(np.ones(classes), steps)
    return {
        "times": np.arange(steps) / fps,
        "attention": rng.dirichlet(np.ones(grid**2), steps).reshape(steps, grid, grid),
        "step_probabilities": step_probabilities,
        "probabilities": step_probabilities.mean(axis=0),
        "classes": [f"action {number}" for number in range(classes)],
    }
