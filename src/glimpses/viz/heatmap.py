"""Heat maps of attention on frames: attended places stay bright, the rest is dimmed."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from functools import lru_cache

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from glimpses.viz.upsampling import upsample

# Warm white.
_GLOW_COLOUR = (255, 243, 214)
# The eye perceives brightness roughly as its square root; a slightly larger exponent keeps the edge
# of bright regions narrow.
_GAMMA = 0.65
# Rec. 601.
_LUMA = (0.299, 0.587, 0.114)


def heatmap_scale(attention: Float[np.ndarray, "T K K"]) -> float:
    """Return the attention per place that is drawn at full brightness, one value for a clip.

    One value for all frames makes their brightness comparable. It is the strongest place of the
    clip's more focused steps, but at least three times uniform attention, so that spread-out
    attention looks uniform and dim instead of bright everywhere.

    Args:
        attention: location softmax l of every step; each step sums to 1.

    Returns:
        Attention per place, in the unit of `upsample`.
    """
    # Step by step, because the clip may be an hour long.
    return _scale([_peak(step) for step in attention], attention[0].size)


class RunningHeatmapScale:
    """`heatmap_scale` of the last steps of a stream, so that brightness changes slowly.

    Args:
        steps: number of steps.
    """

    def __init__(self, steps: int) -> None:
        self._peaks: deque[float] = deque(maxlen=steps)

    def update(self, attention: Float[np.ndarray, "K K"]) -> float:
        """Add a step and return the attention per place that is drawn at full brightness."""
        self._peaks.append(_peak(attention))
        return _scale(self._peaks, attention.size)


def _peak(attention: Float[np.ndarray, "K K"]) -> float:
    """Return the strongest attention after upsampling."""
    rows, columns = attention.shape
    return float(upsample(attention[None], 4 * rows, 4 * columns).max())


def _scale(peaks: Collection[float], places: int) -> float:
    return float(max(np.quantile(list(peaks), 0.9), 3 / places))


def draw_heatmap(
    frame: UInt8[np.ndarray, "H W 3"],
    attention: Float[np.ndarray, "K K"],
    scale: float,
    *,
    brightness: float = 0.3,
    saturation: float = 0.4,
    glow: float = 0.36,
) -> UInt8[np.ndarray, "H W 3"]:
    """Draw the attention on one frame.

    Uses brightness and saturation only, so that it reads the same with any colour vision.

    Args:
        frame: RGB frame.
        attention: location softmax l of this frame.
        scale: attention per place at full brightness, from `heatmap_scale`.
        brightness: brightness of unattended regions, 0 to 1; the default is dim enough to guide
            the eye and bright enough to recognise the content.
        saturation: saturation of unattended regions, 0 to 1.
        glow: opacity of a warm glow on the most attended region, 0 to 1; it is visible on black
            clothes, where brightness alone is not.

    Returns:
        The frame with unattended regions dimmed and desaturated.
    """
    height, width, _ = frame.shape
    strength = np.minimum(upsample(attention[None], height, width)[0] / scale, 1)
    mask = Image.fromarray((255 * strength**_GAMMA).astype(np.uint8))
    image = Image.fromarray(frame)
    dimmed = image.convert("RGB", _dim_matrix(brightness, saturation))
    drawn = Image.composite(image, dimmed, mask)
    glow_mask = Image.fromarray((255 * glow * strength**2).astype(np.uint8))
    drawn.paste(_GLOW_COLOUR, (0, 0, width, height), glow_mask)
    return np.array(drawn)


@lru_cache(maxsize=8)
def _dim_matrix(brightness: float, saturation: float) -> tuple[float, ...]:
    """Return the 3 x 4 colour matrix that dims and desaturates, row by row."""
    return tuple(
        value
        for row in range(3)
        for value in (
            *(
                brightness * ((1 - saturation) * _LUMA[column] + saturation * (row == column))
                for column in range(3)
            ),
            0.0,
        )
    )
