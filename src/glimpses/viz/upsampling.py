"""Smooth upsampling of attention from places to pixels."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float, Float32

# Standard deviation of the Gaussian in places: wide enough to hide the grid, narrow enough that
# attention on one place still peaks there.
_STD = 0.5
# Beyond this many places from its source the Gaussian is below float32's resolution.
_REACH = 4


def upsample(
    attention: Float[np.ndarray, "T K K"], height: int, width: int
) -> Float32[np.ndarray, "T H W"]:
    """Upsample attention smoothly from places to pixels.

    Every place fills its cell of the frame uniformly, as if enlarged by the backbone's stride; a
    Gaussian of half a cell then hides the grid (as in the paper's figures, after Xu et al., 2015,
    section 5.4). The Gaussian is reflected at the frame's edge, so nothing is lost there. The
    integral over each pixel is exact for any ratio of pixels to places.

    Args:
        attention: location softmax l on its grid, or any other value per place; row, then column.
        height: height of the frame in pixels.
        width: width of the frame in pixels.

    Returns:
        Values in the unit of `attention`, so that frames are comparable: uniform attention is
        unchanged, the mean over pixels is the mean over places, and no value is below the smallest
        input.
    """
    rows = _pixel_weights(attention.shape[1], height)
    columns = _pixel_weights(attention.shape[2], width)
    smooth = rows @ attention.astype(np.float32) @ columns.T
    return np.asarray(smooth, np.float32)


@lru_cache(maxsize=16)
def _pixel_weights(places: int, pixels: int) -> Float32[np.ndarray, "pixels places"]:
    """Return the weight of each place in each pixel along one axis; rows sum to 1."""
    cells = torch.arange(-_REACH, places + _REACH + 1, dtype=torch.float64)
    edges = torch.linspace(0, places, pixels + 1, dtype=torch.float64)
    distance = (edges[:, None] - cells[None, :]) / _STD
    # Integral of the normal distribution function; its second difference is the overlap of a
    # blurred cell with a pixel.
    normal = torch.exp(-(distance**2) / 2) / (2 * torch.pi) ** 0.5
    ramp = (distance * torch.special.ndtr(distance) + normal) * _STD
    overlap = (ramp[1:, :-1] - ramp[:-1, :-1] - ramp[1:, 1:] + ramp[:-1, 1:]) * pixels / places
    # Fold the mirrored places beyond the edge back onto their originals.
    mirrored = np.pad(np.arange(places), _REACH, mode="symmetric")
    weights = overlap @ torch.eye(places, dtype=torch.float64)[mirrored]
    # Cancellation leaves -1e-16 beyond the Gaussian's reach.
    return np.asarray(weights.clamp(min=0).float())
