"""Interface that every form of actor annotation implements."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from jaxtyping import Bool, Float64


class ActorAnnotation(Protocol):
    """Position of the actor in a clip over time. Times are seconds after the first frame."""

    def occupancy(
        self, times: Float64[np.ndarray, " N"], grid: int
    ) -> Float64[np.ndarray, "N K K"]:
        """Return the fraction of every cell of a K x K grid that the actor covers, 0 to 1.

        The frame on display at each time counts. Several actors count together. Cells are indexed
        by row, then column. The result is 0 where no actor is visible or nothing is annotated.
        """

    def annotated(self, times: Float64[np.ndarray, " N"]) -> Bool[np.ndarray, " N"]:
        """Return the times that are annotated, including frames annotated as having no actor."""
