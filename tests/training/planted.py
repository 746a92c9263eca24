"""Feature sets with a planted difference between two classes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from glimpses.datasets.layouts import feature_set
from glimpses.features.store import CubeStore

GRID, CHANNELS, FRAMES = 3, 3, 8

#: Makes the cubes (T, K*K, D) of a clip of a class.
Make = Callable[[np.random.Generator, int], np.ndarray]


def deviation(rng: np.random.Generator, label: int) -> np.ndarray:
    """Channel 0 flickers more in class 1, everywhere; its mean over time shows nothing."""
    cubes = rng.normal(size=(FRAMES, GRID**2, CHANNELS))
    cubes[:, :, 0] += (0.5 + 2 * label) * rng.choice([-1, 1], size=(FRAMES, 1))
    return cubes


def diffuse(rng: np.random.Generator, label: int) -> np.ndarray:
    """The mean over all places and frames shows the class, but not where something moves."""
    cubes = rng.normal(size=(FRAMES, GRID**2, CHANNELS))
    place = rng.integers(GRID**2)
    cubes[:, :, 0] += 0.6 * label
    cubes[:, place, 0] = 3 * rng.normal(size=FRAMES)
    cubes[:, place, 2] += 6 * (np.arange(FRAMES) % 2)
    return cubes


def moving_place(rng: np.random.Generator, label: int) -> np.ndarray:
    """One place changes in channel 2 and shows the class in channel 0 or 1; others show either."""
    cubes = 0.05 * rng.normal(size=(FRAMES, GRID**2, CHANNELS))
    shown = rng.integers(2, size=GRID**2)
    place = rng.integers(GRID**2)
    shown[place] = label
    cubes[:, np.arange(GRID**2), shown] += 2
    cubes[:, place, 2] += 4 * (np.arange(FRAMES) % 2)
    return cubes


def everywhere(rng: np.random.Generator, label: int) -> np.ndarray:
    """Every place of every frame shows the class, and the first one moves."""
    cubes = 0.1 * rng.normal(size=(FRAMES, GRID**2, CHANNELS))
    cubes[:, :, label] += 3
    cubes[:, 0, 2] += np.arange(FRAMES) % 2
    return cubes


def make_set(root: Path, make: Make, *, groups: int = 12, clips: int = 4, seed: int = 0) -> Path:
    """Write a feature set of two classes; every recording has `clips` clips of one class."""
    rng = np.random.default_rng(seed)
    store, listed = CubeStore(root / feature_set.CUBES), []
    for label in range(2):
        for group in range(groups):
            for number in range(clips):
                id = f"{'ab'[label]}/{group:02}_{number}.avi"
                digest = f"{label}{group:02}{number}"
                store.write_part(digest, 0, make(rng, label).astype(np.float16))
                store.finish(digest, [t / 10 for t in range(FRAMES)], None)
                listed.append(
                    feature_set.FeatureClip(id, (label,), f"{label}-{group}", FRAMES, None, digest)
                )
    feature_set.write(
        root,
        feature_set.FeatureSet(
            classes=("a", "b"), multi_label=False, grouped=True, backbone="authors:planted",
            weights="unknown", fps=10.0, size=32, grid=GRID, channels=CHANNELS,
            clips=tuple(sorted(listed, key=lambda clip: clip.id)),
        ),
    )  # fmt: skip
    return root
