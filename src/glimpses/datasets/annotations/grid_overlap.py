"""Exact area overlap of masks and boxes with the cells of a grid.

The whole frame is squeezed to the square input of the CNN, so every place of the feature cube
stands for one cell of it: cell (r, c) of a K x K grid is the part of the upright picture from c/K
to (c+1)/K of its width and from r/K to (r+1)/K of its height.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Float64

# Smaller overlaps, in cell widths, are rounding errors and must not count as covered.
_ROUNDING = 1e-9


def mask_occupancy(mask: Bool[np.ndarray, "*T H W"], grid: int) -> Float64[np.ndarray, "*T K K"]:
    """Return the fraction of every cell that a mask covers, 0 to 1.

    Args:
        mask: pixels of the whole picture.
        grid: places along each side, K.
    """
    height, width = mask.shape[-2:]
    rows, columns = (np.arange(pixels + 1) * grid / pixels for pixels in (height, width))
    return _occupancy(mask, rows, columns, grid)


def box_occupancy(
    boxes: Float[np.ndarray, "B 4"], size: tuple[float, float], grid: int
) -> Float64[np.ndarray, "K K"]:
    """Return the fraction of every cell that the union of some boxes covers, 0 to 1.

    Args:
        boxes: left, top, right and bottom in pixels from the top left corner of the picture.
            Boxes are clipped to the picture; a box that is empty or has a NaN covers nothing.
        size: width and height of the picture in pixels.
        grid: places along each side, K.
    """
    width, height = size
    scaled = boxes * grid / np.array([width, height, width, height])
    left, top, right, bottom = scaled[(scaled[:, :2] < scaled[:, 2:]).all(axis=1)].T
    # Between two neighbouring edges, of any boxes, each box covers all or nothing.
    rows, columns = np.unique([top, bottom]), np.unique([left, right])
    if not len(rows):
        return np.zeros((grid, grid))
    down = (top[:, None] <= rows[:-1]) & (rows[1:] <= bottom[:, None])
    across = (left[:, None] <= columns[:-1]) & (columns[1:] <= right[:, None])
    return _occupancy((down[:, :, None] & across[:, None, :]).any(axis=0), rows, columns, grid)


def _occupancy(
    filled: Bool[np.ndarray, "*T R C"],
    rows: Float64[np.ndarray, " R+1"],
    columns: Float64[np.ndarray, " C+1"],
    grid: int,
) -> Float64[np.ndarray, "*T K K"]:
    """Return the filled fraction of every cell, given strips with edges in cell widths."""
    covered = _overlap(rows, grid) @ filled.astype(np.float64) @ _overlap(columns, grid).T
    return np.asarray(covered).clip(0, 1)


def _overlap(edges: Float64[np.ndarray, " N+1"], cells: int) -> Float64[np.ndarray, "K N"]:
    """Return the length of every strip inside every cell, along one axis."""
    cell = np.arange(cells)[:, None]
    overlap = np.minimum(edges[1:], cell + 1) - np.maximum(edges[:-1], cell)
    return np.where(overlap > _ROUNDING, overlap, 0.0)
