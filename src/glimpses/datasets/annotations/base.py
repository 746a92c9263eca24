"""What is asked of ground truth, whatever form it has."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from jaxtyping import Bool, Float64, Int

# Time stamps are rounded to the container's unit; a frame due within this counts as on display,
# as it does in sampling.
_EARLY = 1e-3


class ActorAnnotation(Protocol):
    """Where the actor is in a clip over time. Times are seconds after the first frame."""

    def share(self, times: Float64[np.ndarray, " N"], grid: int) -> Float64[np.ndarray, "N K K"]:
        """How much of every cell of a K x K grid the actor fills, 0 to 1; row, then column.

        It is that of the frame on display at each time; of several actors, that of all together.
        Zeros where none is visible, and where nothing is known.
        """

    def known(self, times: Float64[np.ndarray, " N"]) -> Bool[np.ndarray, " N"]:
        """At which times something is known: of a frame annotated as empty it is that."""


def frames_at(
    shown: Float64[np.ndarray, " F+1"], times: Float64[np.ndarray, " N"]
) -> Int[np.ndarray, " N"]:
    """Index of the frame on display at each time; F after the end, -1 before the start."""
    return np.searchsorted(shown, np.asarray(times) + _EARLY, side="right") - 1


def on_display(
    shown: Float64[np.ndarray, " F+1"], times: Float64[np.ndarray, " N"]
) -> Bool[np.ndarray, " N"]:
    """At which times any frame is on display."""
    frames = frames_at(shown, times)
    return (frames >= 0) & (frames < len(shown) - 1)
