"""How much of every cell of a grid something fills: areas, exact where an edge cuts a cell.

A frame is squeezed to the square that the CNN sees, nothing cut off, and every place of the
feature cube stands for one cell of it: cell (r, c) of a K x K grid is the part of the upright
picture from c/K to (c+1)/K of its width and from r/K to (r+1)/K of its height.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Float64

# Less of a cell's side than this is an error of rounding, and must not count as touched.
_NOTHING = 1e-9


def share_of_mask(mask: Bool[np.ndarray, "*T H W"], grid: int) -> Float64[np.ndarray, "*T K K"]:
    """Share of every cell that a mask fills, 0 to 1.

    Args:
        mask: pixels of the whole picture.
        grid: places along each side, K; row, then column.
    """
    height, width = mask.shape[-2:]
    rows, columns = (np.arange(pixels + 1) * grid / pixels for pixels in (height, width))
    return _share(mask, rows, columns, grid)


def share_of_boxes(
    boxes: Float[np.ndarray, "B 4"], size: tuple[float, float], grid: int
) -> Float64[np.ndarray, "K K"]:
    """Share of every cell that boxes cover together, 0 to 1; where they overlap counts once.

    Args:
        boxes: left, top, right and bottom in pixels from the top left corner of the picture; what
            lies outside of it is cut off. A box that is empty or has a NaN covers nothing.
        size: width and height of the picture in pixels.
        grid: places along each side, K; row, then column.
    """
    width, height = size
    scaled = boxes * grid / np.array([width, height, width, height])
    left, top, right, bottom = scaled[(scaled[:, :2] < scaled[:, 2:]).all(axis=1)].T
    # Between two neighbouring edges of boxes, of whichever, a box covers all or nothing.
    rows, columns = np.unique([top, bottom]), np.unique([left, right])
    if not len(rows):
        return np.zeros((grid, grid))
    down = (top[:, None] <= rows[:-1]) & (rows[1:] <= bottom[:, None])
    across = (left[:, None] <= columns[:-1]) & (columns[1:] <= right[:, None])
    return _share((down[:, :, None] & across[:, None, :]).any(axis=0), rows, columns, grid)


def _share(
    filled: Bool[np.ndarray, "*T R C"],
    rows: Float64[np.ndarray, " R+1"],
    columns: Float64[np.ndarray, " C+1"],
    grid: int,
) -> Float64[np.ndarray, "*T K K"]:
    """Share of every cell, of a picture in strips; their edges are given in cells' sides."""
    return np.asarray(
        _overlap(rows, grid) @ filled.astype(np.float64) @ _overlap(columns, grid).T
    ).clip(0, 1)


def _overlap(edges: Float64[np.ndarray, " N+1"], cells: int) -> Float64[np.ndarray, "K N"]:
    """Length of every strip that lies in every cell, along one side."""
    cell = np.arange(cells)[:, None]
    overlap = np.minimum(edges[1:], cell + 1) - np.maximum(edges[:-1], cell)
    return np.where(overlap > _NOTHING, overlap, 0.0)
