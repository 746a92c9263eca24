"""From one number per place to one per pixel, smoothly."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float, Float32

# Deviation of the Gaussian in places: wide enough to hide the grid, narrow enough that attention
# on one place still peaks there.
_DEVIATION = 0.5
# Beyond this many places from its source the Gaussian is below float32's resolution.
_REACH = 4


def upsample(
    attention: Float[np.ndarray, "T K K"], height: int, width: int
) -> Float32[np.ndarray, "T H W"]:
    """Spread attention over places smoothly over pixels.

    Every place fills its cell of the picture evenly, as if enlarged by the backbone's stride, and
    a Gaussian of half a cell then hides the grid (as the paper's figures do, after Xu et al.,
    2015, section 5.4). The Gaussian is reflected at the picture's edge, so nothing is lost there.
    The integral over each pixel is taken exactly, whatever the ratio of pixels to places.

    Args:
        attention: location softmax l on its grid, or any other number per place; row, then column.
        height: of the picture, in pixels.
        width: of the picture, in pixels.

    Returns:
        In the unit of `attention`, so that frames compare: even attention stays as it was, the
        mean over pixels is the mean over places, and nothing falls below the smallest input.
    """
    rows = _spread(attention.shape[1], height)
    columns = _spread(attention.shape[2], width)
    smooth = rows @ attention.astype(np.float32) @ columns.T
    return np.asarray(smooth, np.float32)


@lru_cache(maxsize=16)
def _spread(places: int, pixels: int) -> Float32[np.ndarray, "pixels places"]:
    """How much of each pixel, along one axis, belongs to each place; rows sum to 1."""
    cells = torch.arange(-_REACH, places + _REACH + 1, dtype=torch.float64)
    edges = torch.linspace(0, places, pixels + 1, dtype=torch.float64)
    distance = (edges[:, None] - cells[None, :]) / _DEVIATION
    # Integral of the normal distribution function; its second difference is the overlap of a
    # blurred cell with a pixel.
    normal = torch.exp(-(distance**2) / 2) / (2 * torch.pi) ** 0.5
    ramp = (distance * torch.special.ndtr(distance) + normal) * _DEVIATION
    overlap = (ramp[1:, :-1] - ramp[:-1, :-1] - ramp[1:, 1:] + ramp[:-1, 1:]) * pixels / places
    # The mirrored places beyond the edge are folded back onto their originals.
    mirrored = np.pad(np.arange(places), _REACH, mode="symmetric")
    spread = overlap @ torch.eye(places, dtype=torch.float64)[mirrored]
    # Cancellation leaves -1e-16 where nothing reaches.
    return np.asarray(spread.clamp(min=0).float())
