"""Skipping of static frames: nearly equal frames share the feature cube of the first of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float16, UInt8

from glimpses.backbones import Backbone
from glimpses.features.store import FRAMES_PER_PART


class ChangeDetector:
    """Detector of the frames of a video that differ enough to need a cube of their own.

    A frame is compared with the last computed one, not with its predecessor, so that slow changes
    accumulate. The first of every `FRAMES_PER_PART` frames is always computed, so that an
    interrupted extraction can resume at a part without the frames before it.

    Args:
        skip_static: mean absolute difference of pixels, in grey levels of 0 to 255, below which
            a frame counts as static; 0 to compute every frame.
    """

    def __init__(self, skip_static: float) -> None:
        self._skip_static = skip_static
        self._count = 0
        self._last: np.ndarray | None = None

    def __call__(self, frame: UInt8[np.ndarray, "S S 3"]) -> bool:
        """Return True if the next frame must be computed, False if the last cube serves for it."""
        first_of_part = self._count % FRAMES_PER_PART == 0
        self._count += 1
        if first_of_part or not self._skip_static or self._difference(frame) >= self._skip_static:
            self._last = frame
            return True
        return False

    def _difference(self, frame: UInt8[np.ndarray, "S S 3"]) -> float:
        assert self._last is not None
        # Unsigned bytes cannot hold negative differences, and wider types would be slower.
        larger, smaller = np.maximum(frame, self._last), np.minimum(frame, self._last)
        return float((larger - smaller).mean())


def repeat_static(
    changed: Sequence[bool],
    computed: Float16[np.ndarray, "M P D"] | None,
    previous: Float16[np.ndarray, "1 P D"] | None,
) -> Float16[np.ndarray, "N P D"]:
    """Return the cubes of consecutive frames, repeating the computed ones for static frames.

    Args:
        changed: for each of the N frames, whether its cube was computed.
        computed: the M computed cubes; None if M is 0.
        previous: the cube of the frame before these; None if the first of them was computed.
    """
    if computed is not None and len(computed) == len(changed):
        return computed
    cubes = np.concatenate([cube for cube in (previous, computed) if cube is not None])
    return np.asarray(cubes[np.cumsum(changed) - (previous is None)])


class FrameEncoder:
    """Encoder of one video's frames into the cubes that a feature store would hold for them."""

    def __init__(self, backbone: Backbone, skip_static: float) -> None:
        self._backbone = backbone
        self._has_changed = ChangeDetector(skip_static)
        self._previous: np.ndarray | None = None
        self._last_frame: np.ndarray | None = None

    def resume_after(self, frame: UInt8[np.ndarray, "S S 3"]) -> None:
        """Begin with the frame after this one, whose number is a multiple of `FRAMES_PER_PART`."""
        self._last_frame = frame

    def __call__(
        self, frames: Sequence[UInt8[np.ndarray, "S S 3"]]
    ) -> Float16[np.ndarray, "N P D"]:
        """Return the cubes of the next frames, one or more."""
        changed = [self._has_changed(frame) for frame in frames]
        to_compute = [frame for frame, new in zip(frames, changed, strict=True) if new]
        computed = self._backbone.half(to_compute, self._last_frame) if to_compute else None
        self._last_frame = frames[-1]
        cubes = repeat_static(changed, computed, self._previous)
        self._previous = cubes[-1:]
        return cubes
