"""Index of the frame that is on display at a time."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float64, Int

#: Seconds by which a frame may be early. Containers round time stamps to their own unit, which may
#: be a millisecond, so a frame that is due within this tolerance counts as displayed.
DISPLAY_TOLERANCE = 1e-3


def frames_displayed_at(
    starts: Float64[np.ndarray, " F"], times: Float64[np.ndarray, " N"]
) -> Int[np.ndarray, " N"]:
    """Return the index of the frame on display at each time.

    The index is -1 before the first frame. If the end of the last frame is appended to `starts`
    (see `frame_edges`), times after it get the index of that end.

    Args:
        starts: seconds at which each frame appears, ascending.
        times: in seconds.
    """
    return np.searchsorted(starts, np.asarray(times) + DISPLAY_TOLERANCE, side="right") - 1


def is_displaying(
    edges: Float64[np.ndarray, " F+1"], times: Float64[np.ndarray, " N"]
) -> Bool[np.ndarray, " N"]:
    """Return at which times any frame is on display, given `frame_edges`."""
    frames = frames_displayed_at(edges, times)
    return (frames >= 0) & (frames < len(edges) - 1)
