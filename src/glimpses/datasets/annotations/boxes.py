"""Where the actor is by boxes: any number of them, each over a stretch of frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64

from glimpses.datasets.annotations.base import frames_at, on_display
from glimpses.datasets.annotations.grid_overlap import share_of_boxes


@dataclass(frozen=True)
class BoxTrack:
    """A box over some frames, moving evenly from where it is in the first.

    Attributes:
        first: index of the frame it begins in, from 0.
        end: index of the frame it has gone in.
        box: left, top, right, bottom in pixels at `first`.
        to: where it would be at `end`.
    """

    first: int
    end: int
    box: Sequence[float]
    to: Sequence[float]


@dataclass(frozen=True)
class BoxAnnotation:
    """Annotation by boxes, of any number of actors.

    Attributes:
        shown: when each frame appears and, last, when the last one disappears, ascending.
        size: width and height of the picture in the pixels of the boxes.
        span: first frame of which something is known, and the one after the last.
        stretches: the boxes; frames after the last are none.
    """

    shown: Float64[np.ndarray, " F+1"]
    size: tuple[float, float]
    span: tuple[int, int]
    stretches: tuple[BoxTrack, ...]

    def share(self, times: Float64[np.ndarray, " N"], grid: int) -> Float64[np.ndarray, "N K K"]:
        """See `ActorAnnotation.share`."""
        share = np.zeros((len(times), grid, grid))
        frames = frames_at(self.shown, times)
        for index in np.flatnonzero(self.known(times)):
            frame = int(frames[index])
            here = [one for one in self.stretches if one.first <= frame < one.end]
            boxes = [self._box(stretch, frame) for stretch in here]
            share[index] = share_of_boxes(np.reshape(boxes, (-1, 4)), self.size, grid)
        return share

    def known(self, times: Float64[np.ndarray, " N"]) -> Bool[np.ndarray, " N"]:
        """See `ActorAnnotation.known`."""
        frames = frames_at(self.shown, times)
        first, end = self.span
        return on_display(self.shown, times) & (first <= frames) & (frames < end)

    def _box(self, stretch: BoxTrack, frame: int) -> Float64[np.ndarray, "4"]:
        start, now, end = self.shown[[stretch.first, frame, stretch.end]]
        box, to = np.array(stretch.box, np.float64), np.array(stretch.to, np.float64)
        return np.asarray(box + (to - box) * ((now - start) / (end - start)))
