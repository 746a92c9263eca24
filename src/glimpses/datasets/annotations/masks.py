"""Where the actor is, pixel by pixel: the generated set's ground truth."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float64, UInt8

from glimpses.datasets.annotations.base import frames_at, on_display
from glimpses.datasets.annotations.grid_overlap import share_of_mask
from glimpses.datasets.annotations.mask_file import load_annotation


@dataclass(frozen=True)
class MaskAnnotation:
    """Annotation by pixels.

    Attributes:
        shown: when each frame appears and, last, when the last one disappears, ascending.
        packed: visible pixels of the actor in each frame, eight columns to a byte.
        width: of the frames in pixels.
    """

    shown: Float64[np.ndarray, " T+1"]
    packed: UInt8[np.ndarray, "T H W/8"]
    width: int

    def share(self, times: Float64[np.ndarray, " N"], grid: int) -> Float64[np.ndarray, "N K K"]:
        """See `ActorAnnotation.share`."""
        share = np.zeros((len(times), grid, grid))
        known, frames = self.known(times), frames_at(self.shown, times)
        needed, places = np.unique(frames[known], return_inverse=True)
        masks = np.unpackbits(self.packed[needed], axis=-1, count=self.width).astype(bool)
        share[known] = share_of_mask(masks, grid)[places]
        return share

    def known(self, times: Float64[np.ndarray, " N"]) -> Bool[np.ndarray, " N"]:
        """See `ActorAnnotation.known`."""
        return on_display(self.shown, times)


def read_masks(file: Path) -> MaskAnnotation:
    """Read a generated clip's masks of the actor.

    Raises:
        GlimpsesError: the file is no annotation.
    """
    known = load_annotation(file)
    # The last frame is shown as long as those before it are.
    period = np.diff(known.times).mean() if len(known.times) > 1 else np.inf
    return MaskAnnotation(
        shown=np.append(known.times, known.times[-1:] + period),
        packed=np.packbits(known.masks, axis=-1),
        width=known.masks.shape[-1],
    )
