"""Fraction of frames that `--skip-static` does not compute.

    python benchmarks/stillness.py FOLDER [FOLDER ...]

Prints the fraction at each threshold, for 10 frames per second and for all frames. No CNN is run.
At most 50 videos of a folder are read, evenly spaced in the list.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from glimpses import video
from glimpses.features.frame_dedup import ChangeDetector
from glimpses.video import FrameRate

THRESHOLDS = (1, 2, 4, 8)
SUFFIXES = (".avi", ".mp4", ".mpg", ".mov", ".mkv", ".webm")
MOST = 50


def main() -> None:
    """Print the table."""
    print(f"| clips | frames/s | frames | {' | '.join(map(str, THRESHOLDS))} |")
    print(f"|---|---|---:{'|---:' * len(THRESHOLDS)}|")
    for folder in map(Path, sys.argv[1:]):
        videos = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
        chosen = videos[:: -(-len(videos) // MOST)]
        rates: tuple[FrameRate, ...] = (10.0, "native")
        for fps in rates:
            rows = np.array([row for path in chosen for row in computed(path, fps)])
            shares = " | ".join(f"{1 - share:.0%}" for share in rows.mean(0))
            clips = f"{folder.name}, {len(chosen)} of {len(videos)}"
            print(f"| {clips} | {fps} | {len(rows)} | {shares} |")


def computed(path: Path, fps: FrameRate) -> Iterator[list[bool]]:
    """Yield for every frame whether it is computed, by threshold."""
    changes = [ChangeDetector(threshold) for threshold in THRESHOLDS]
    for frame in video.FrameReader(path, fps=fps, size=224):
        yield [change(frame.pixels) for change in changes]


if __name__ == "__main__":
    main()
