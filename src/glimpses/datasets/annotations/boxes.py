"""Actor annotation by any number of boxes, each over a range of frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64

from glimpses.datasets.annotations.grid_overlap import box_occupancy
from glimpses.video import frames_displayed_at, is_displaying


@dataclass(frozen=True)
class BoxTrack:
    """Box over a range of frames, moving at constant speed.

    Attributes:
        first: index of the first frame, from 0.
        end: index of the first frame after the range.
        box: left, top, right, bottom in pixels at `first`.
        to: the same at `end`.
    """

    first: int
    end: int
    box: Sequence[float]
    to: Sequence[float]


@dataclass(frozen=True)
class BoxAnnotation:
    """Annotation by boxes of any number of actors.

    Attributes:
        edges: seconds at which each frame appears and, last, at which the last one ends.
        size: width and height of the picture in the units of the boxes.
        span: index of the first annotated frame, and of the first one after the last.
        tracks: the boxes.
    """

    edges: Float64[np.ndarray, " F+1"]
    size: tuple[float, float]
    span: tuple[int, int]
    tracks: tuple[BoxTrack, ...]

    def occupancy(
        self, times: Float64[np.ndarray, " N"], grid: int
    ) -> Float64[np.ndarray, "N K K"]:
        """See `ActorAnnotation.occupancy`."""
        occupancy = np.zeros((len(times), grid, grid))
        frames = frames_displayed_at(self.edges, times)
        for index in np.flatnonzero(self.annotated(times)):
            visible = [track for track in self.tracks if track.first <= frames[index] < track.end]
            boxes = [self._box_at(track, int(frames[index])) for track in visible]
            occupancy[index] = box_occupancy(np.reshape(boxes, (-1, 4)), self.size, grid)
        return occupancy

    def annotated(self, times: Float64[np.ndarray, " N"]) -> Bool[np.ndarray, " N"]:
        """See `ActorAnnotation.annotated`."""
        frames = frames_displayed_at(self.edges, times)
        first, end = self.span
        return is_displaying(self.edges, times) & (first <= frames) & (frames < end)

    def _box_at(self, track: BoxTrack, frame: int) -> Float64[np.ndarray, "4"]:
        start, now, end = self.edges[[track.first, frame, track.end]]
        box, to = np.array(track.box, np.float64), np.array(track.to, np.float64)
        return np.asarray(box + (to - box) * ((now - start) / (end - start)))
