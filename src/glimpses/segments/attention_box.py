"""The attended part of the frame, from a map of attention."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

# Share of the highest attention that a place in the box must have.
_SHARE = 0.5


def attention_box(attention: Float[np.ndarray, "K K"]) -> tuple[float, float, float, float]:
    """Return the box around the most attended places: left, top, right, bottom from 0 to 1.

    It holds the place with the highest attention and the places connected with it, also by
    corners, that have at least half of it. Uniform attention gives the whole frame.
    """
    # Loaded here because it takes longer than all else in this package.
    from scipy import ndimage

    rows, columns = attention.shape
    # Rounding must not cut places out of uniform attention.
    attended = attention >= _SHARE * attention.max() * (1 - 1e-9)
    parts, _ = ndimage.label(attended, structure=np.ones((3, 3), int))
    best = np.unravel_index(int(attention.argmax()), attention.shape)
    down, across = ndimage.find_objects((parts == parts[best]).astype(int))[0]
    return across.start / columns, down.start / rows, across.stop / columns, down.stop / rows
