"""How attention looks on a picture: in colour and light where the model looks, dim elsewhere."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from glimpses.viz.upsampling import upsample

# What is left of a picture's light and colours where the model does not look: little enough for the
# eye to go elsewhere, enough to tell what is there.
_DIM_LIGHT = 0.3
_DIM_COLOUR = 0.4
# White of a warm lamp, and how much of it covers the brightest spot: it shows on black clothes,
# where brightening alone would not.
_GLOW = (255, 243, 214)
_GLOW_STRENGTH = 0.36
# The eye sees light about as its square root; a little less of that keeps the edge of the spot
# narrow.
_GAMMA = 0.65

_LUMA = (0.299, 0.587, 0.114)
_DIM_MATRIX = tuple(
    value
    for row in range(3)
    for value in (
        *(
            _DIM_LIGHT * ((1 - _DIM_COLOUR) * _LUMA[column] + _DIM_COLOUR * (row == column))
            for column in range(3)
        ),
        0.0,
    )
)


def heatmap_scale(attention: Float[np.ndarray, "T K K"]) -> float:
    """How much attention on a place is shown at full light; one value for a clip.

    With one value for all frames their brightness compares. It is what the strongest place has in
    the clip's more focused steps, but never less than three times an even share: attention that
    is spread evenly must look even and dim, not bright everywhere.

    Args:
        attention: location softmax l of every step, rows sum to 1.

    Returns:
        Attention per place, in the unit of `upsample`.
    """
    # Step by step: the clip may be an hour long.
    return _full([_peak(step) for step in attention], attention[0].size)


class RunningScale:
    """`heatmap_scale` for a stream: of its last steps, so that brightness changes slowly.

    Args:
        steps: how many.
    """

    def __init__(self, steps: int) -> None:
        self._peaks: deque[float] = deque(maxlen=steps)

    def __call__(self, attention: Float[np.ndarray, "K K"]) -> float:
        """Take in one more step; gives how much attention on a place is shown at full light."""
        self._peaks.append(_peak(attention))
        return _full(self._peaks, attention.size)


def _peak(attention: Float[np.ndarray, "K K"]) -> float:
    """What the strongest place has, as it will be shown."""
    rows, columns = attention.shape
    return float(upsample(attention[None], 4 * rows, 4 * columns).max())


def _full(peaks: Collection[float], places: int) -> float:
    return float(max(np.quantile(list(peaks), 0.9), 3 / places))


def draw_heatmap(
    frame: UInt8[np.ndarray, "H W 3"], attention: Float[np.ndarray, "K K"], full: float
) -> UInt8[np.ndarray, "H W 3"]:
    """Show where the model looks on one frame.

    Only light and saturation carry the message, so it reads the same in any colour vision.

    Args:
        frame: RGB.
        attention: location softmax l of this frame.
        full: attention at full light, from `heatmap_scale`.

    Returns:
        The frame, as it was under full attention plus a soft glow, dimmed and greyed elsewhere.
    """
    height, width, _ = frame.shape
    light = np.minimum(upsample(attention[None], height, width)[0] / full, 1)
    lit = Image.fromarray((255 * light**_GAMMA).astype(np.uint8))
    picture = Image.fromarray(frame)
    dim = picture.convert("RGB", _DIM_MATRIX)
    shown = Image.composite(picture, dim, lit)
    glow = Image.fromarray((255 * _GLOW_STRENGTH * light**2).astype(np.uint8))
    shown.paste(_GLOW, (0, 0, width, height), glow)
    return np.array(shown)
