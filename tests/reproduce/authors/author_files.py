"""Feature files in the authors' format, laid out number by number."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np

from glimpses import datasets
from glimpses.features import open_features

GRID, CHANNELS = 2, 3
# Names in HMDB-51's style: films with several clips, two actions.
NAMES = [
    f"{action}/film{film}_{action}_f_cm_np1_le_goo_{clip}.avi"
    for film in range(4)
    for action in ("wave", "climb")
    for clip in range(2)
]


def write_author_files(
    folder: Path, *, labels: list[str] | None = None, seed: int = 0, frames: int = 5
) -> dict[str, np.ndarray]:
    """Write the authors' files and return each clip's features as (frames, row, column, channel).

    Place p = row * K + column of channel d is written as number p + K*K d of a row.
    """
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    features = {}
    for index, prefix in enumerate(("train", "valid", "test")):
        names = NAMES[:8] if index == 0 else NAMES[4 + 4 * index : 8 + 4 * index]
        lengths = [frames + number % 3 for number in range(len(names))]
        rows = np.zeros((sum(lengths), GRID * GRID * CHANNELS), np.float32)
        row = 0
        for name, length in zip(names, lengths, strict=True):
            features[name] = rng.normal(size=(length, GRID, GRID, CHANNELS)).astype(np.float32)
            for frame in range(length):
                for (y, x, channel), value in np.ndenumerate(features[name][frame]):
                    rows[row, y * GRID + x + GRID * GRID * channel] = value
                row += 1
        with h5py.File(folder / f"{prefix}_features.h5", "w") as file:
            file.create_dataset("features", data=rows, maxshape=(None, None))
        label_lines = labels or ["1" if name.startswith("wave") else "0" for name in names]
        for kind, lines in (("filename", names), ("framenum", lengths), ("labels", label_lines)):
            text = "".join(f"{line}\n" for line in lines[: len(names)])
            (folder / f"{prefix}_{kind}.txt").write_text(text)
    return features


def cubes_of(data: Path) -> dict[str, np.ndarray]:
    features = open_features(datasets.load(data), "unused", fps=1.0)
    return {id: clip.block(0, len(clip)).numpy() for id, clip in features.clips.items()}
