"""How many frames of videos `--reuse` would not compute.

    python benchmarks/stillness.py FOLDER [FOLDER ...]

prints, for 10 frames a second and for all, the share of frames that would take another's cube at
each threshold. It takes no CNN, and looks at 50 videos of a folder at most, evenly chosen.
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
        found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
        chosen = found[:: -(-len(found) // MOST)]
        rates: tuple[FrameRate, ...] = (10.0, "native")
        for fps in rates:
            own = np.array([row for path in chosen for row in computed(path, fps)])
            shares = " | ".join(f"{1 - share:.0%}" for share in own.mean(0))
            print(
                f"| {folder.name}, {len(chosen)} of {len(found)} | {fps} | {len(own)} | {shares} |"
            )


def computed(path: Path, fps: FrameRate) -> Iterator[list[bool]]:
    """Of every frame whether it is computed, by threshold."""
    changes = [ChangeDetector(threshold) for threshold in THRESHOLDS]
    for frame in video.FrameReader(path, fps=fps, size=224):
        yield [change(frame.pixels) for change in changes]


if __name__ == "__main__":
    main()
