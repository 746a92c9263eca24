"""Attention as pictures: where the model looks, on video and on paper."""

from glimpses.attention.figures import (
    comparison_figure,
    confusion_figure,
    curves_figure,
    encode,
    strip_figure,
)
from glimpses.attention.overlay import draw_overlay
from glimpses.attention.spotlight import full_light, spotlight
from glimpses.attention.strips import Glimpse, Strip, strip
from glimpses.attention.upsampling import upsample

__all__ = [
    "Glimpse",
    "Strip",
    "comparison_figure",
    "confusion_figure",
    "curves_figure",
    "draw_overlay",
    "encode",
    "full_light",
    "spotlight",
    "strip",
    "strip_figure",
    "upsample",
]
