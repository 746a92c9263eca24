"""Features of segments of long recordings, as views of the features of the whole file."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float16

from glimpses.features.store import ClipFeatures

# Seconds by which a frame may be before a segment that contains it: stored times are rounded.
_TOLERANCE = 1e-4


@dataclass(frozen=True)
class SegmentFeatures(ClipFeatures):
    """Stored feature cubes of a segment; `times` stay relative to the start of the file.

    Attributes:
        recording: features of the whole file.
        first: number of the segment's first sampled frame in the file.
    """

    recording: ClipFeatures
    first: int

    @classmethod
    def of(cls, recording: ClipFeatures, first: int, stop: int) -> SegmentFeatures:
        """Return the features of the sampled frames from `first` up to, but without, `stop`."""
        return cls(
            recording.digest, recording.times[first:stop], recording.problem, recording.shape,
            recording.remedy, (), recording, first,
        )  # fmt: skip

    def read_into(self, start: int, out: Float16[np.ndarray, "T P D"]) -> None:
        """Fill `out` with consecutive cubes; see `ClipFeatures.read_into`."""
        self.recording.read_into(self.first + start, out)


def cut(recording: ClipFeatures, start: float, end: float | None) -> SegmentFeatures | None:
    """Return the features of a segment of a file; None if the file ends before it.

    Args:
        recording: features of the whole file.
        start: first time, in seconds since the first frame of the file.
        end: first time after the segment; None for the end of the file. A segment between two
            sampled frames has the frame on display at its start.
    """
    times = recording.times + _TOLERANCE
    first = int(np.searchsorted(times, start))
    stop = len(times) if end is None else int(np.searchsorted(times, end))
    if first >= stop:
        step = times[1] - times[0] if len(times) > 1 else 0.0
        if end is None or start > times[-1] + step:
            return None
        first = max(int(np.searchsorted(times, start, "right")) - 1, 0)
        stop = first + 1
    return SegmentFeatures.of(recording, first, stop)


def whole(features: ClipFeatures) -> ClipFeatures:
    """Return the features of the file that a segment is part of."""
    return features.recording if isinstance(features, SegmentFeatures) else features
