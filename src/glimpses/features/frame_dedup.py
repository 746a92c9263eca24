"""Nearly equal frames share one cube: it is computed of the first of them, if that is asked for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float16, UInt8

from glimpses.backbones import Backbone
from glimpses.features.store import FRAMES_PER_PART


class Changes:
    """Tells of the frames of one video, in their order, which have to be computed.

    A frame is held to the last one that was computed, not to its neighbour, so that a slow change
    adds up until it counts. The first of every `FRAMES_PER_PART` frames is computed,
    so an extraction that goes on at a part of the store needs to know nothing of the part before.

    Args:
        skip_static: mean absolute difference of pixels, in grey levels of 0 to 255, below which
            a frame is nearly equal; at 0 none is.
    """

    def __init__(self, skip_static: float) -> None:
        self._skip_static = skip_static
        self._count = 0
        self._last: np.ndarray | None = None

    def __call__(self, frame: UInt8[np.ndarray, "S S 3"]) -> bool:
        """Whether the next frame is to be computed; if not, the last computed cube is its own."""
        first = self._count % FRAMES_PER_PART == 0
        self._count += 1
        if first or not self._skip_static or self._difference(frame) >= self._skip_static:
            self._last = frame
            return True
        return False

    def _difference(self, frame: UInt8[np.ndarray, "S S 3"]) -> float:
        assert self._last is not None
        # Bytes have no sign, and wider numbers would take longer.
        larger, smaller = np.maximum(frame, self._last), np.minimum(frame, self._last)
        return float((larger - smaller).mean())


def spread(
    own: Sequence[bool],
    computed: Float16[np.ndarray, "M P D"] | None,
    before: Float16[np.ndarray, "1 P D"] | None,
) -> Float16[np.ndarray, "N P D"]:
    """Cubes of consecutive frames, from those that were computed.

    Args:
        own: of each frame whether its cube was computed, N of them.
        computed: the cubes that were, M of them; None if M is 0.
        before: the cube of the frame before; None if the first frame has one of its own.
    """
    if computed is not None and len(computed) == len(own):
        return computed
    cubes = np.concatenate([some for some in (before, computed) if some is not None])
    found: np.ndarray = cubes[np.cumsum(own) - (before is None)]
    return found


class FrameEncoder:
    """Makes the cubes of one video's frames as they are read, the same that a store has of them.

    Args:
        backbone: what computes them.
        skip_static: see `Changes`.
    """

    def __init__(self, backbone: Backbone, skip_static: float) -> None:
        self._backbone = backbone
        self._changes = Changes(skip_static)
        self._before: np.ndarray | None = None

    def __call__(
        self, frames: Sequence[UInt8[np.ndarray, "S S 3"]]
    ) -> Float16[np.ndarray, "N P D"]:
        """Cubes of the next frames, one or more."""
        own = [self._changes(frame) for frame in frames]
        new = [frame for frame, computed in zip(frames, own, strict=True) if computed]
        cubes = spread(own, self._backbone.half(new) if new else None, self._before)
        self._before = cubes[-1:]
        return cubes
