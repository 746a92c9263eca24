"""The segment: an action in a file, from one time to another."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float


@dataclass(frozen=True, kw_only=True)
class Segment:
    """Part of a video with one label.

    Times are seconds since the first frame, and intervals are half-open: a segment contains its
    start but not its end, so that one segment may end where the next one starts. A segment of
    length 0 is an instant, as in spotting.

    Attributes:
        file: path or name of the video.
        start: its first time.
        end: the first time after it.
        label: name of the class.
        score: confidence, higher is surer; None for annotations.
        peak: time of the highest score.
        box: attended part of the frame: left, top, right, bottom as fractions of its size.
        frames: number of its first frame, and of the first frame after it, both from 0.
        attention: mean attention at each place of the grid; not compared, and in no table.

    Raises:
        ValueError: a value is impossible.
    """

    file: str
    start: float
    end: float
    label: str
    score: float | None = None
    peak: float | None = None
    box: tuple[float, float, float, float] | None = None
    frames: tuple[int, int] | None = None
    attention: Float[np.ndarray, "K K"] | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        if not self.label.strip():
            raise ValueError("the label is empty")
        if not (math.isfinite(self.start) and math.isfinite(self.end)):
            raise ValueError(f"times must be finite, not {self.start:g} and {self.end:g}")
        if self.start < 0:
            raise ValueError(f"it starts at {self.start:g} s, before the video")
        if self.end < self.start:
            raise ValueError(f"it ends at {self.end:g} s, before its start at {self.start:g} s")
        if self.score is not None and not math.isfinite(self.score):
            raise ValueError(f"the score must be finite, not {self.score:g}")
        if self.peak is not None and not self.start <= self.peak <= self.end:
            raise ValueError(f"the peak at {self.peak:g} s is outside the segment")
        if self.box is not None:
            left, top, right, bottom = self.box
            if not (0 <= left <= right <= 1 and 0 <= top <= bottom <= 1):
                raise ValueError("the box must be left, top, right, bottom from 0 to 1")
        if self.frames is not None and not 0 <= self.frames[0] <= self.frames[1]:
            raise ValueError(f"frames {self.frames[0]} to {self.frames[1]} are not a range")

    @property
    def duration(self) -> float:
        """Length in seconds."""
        return self.end - self.start

    @classmethod
    def from_frames(
        cls, file: str, first: int, stop: int, label: str, *, fps: float, score: float | None = None
    ) -> Segment:
        """Return the segment of the frames from `first` up to, but not including, `stop`."""
        return cls(
            file=file, start=first / fps, end=stop / fps, label=label, score=score,
            frames=(first, stop),
        )  # fmt: skip

    def frame_range(self, fps: float) -> tuple[int, int]:
        """Return the first frame and the first frame after the segment, to the nearest frame.

        Args:
            fps: frame rate of the file. The frames that `from_frames` was called with return.
        """
        return round(self.start * fps), round(self.end * fps)

    def to_json(self) -> dict[str, Any]:
        """Return the values that are present as a JSON-compatible dictionary."""
        values = {
            "file": self.file, "start": self.start, "end": self.end, "label": self.label,
            "score": self.score, "peak": self.peak,
            "box": None if self.box is None else list(self.box),
            "frames": None if self.frames is None else list(self.frames),
        }  # fmt: skip
        return {name: value for name, value in values.items() if value is not None}


def sort_segments(segments: Iterable[Segment]) -> list[Segment]:
    """Return the segments by file, start, end and label."""
    return sorted(segments, key=lambda one: (one.file, one.start, one.end, one.label))


def overlap(one: Segment, other: Segment) -> float:
    """Return the temporal intersection over union (tIoU) of two segments, from 0 to 1."""
    shared = min(one.end, other.end) - max(one.start, other.start)
    if shared <= 0:
        return 0.0
    return shared / (one.duration + other.duration - shared)
