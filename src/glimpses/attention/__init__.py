"""Attention as pictures: where the model looks, on video and on paper."""

from glimpses.attention.aim import Aim, StepAims, aim_of_steps, measure_aim
from glimpses.attention.figures import (
    confusion_figure,
    curves_figure,
    scores_figure,
    strip_figure,
)
from glimpses.attention.light import full_light, spotlight
from glimpses.attention.live import LiveOverlay
from glimpses.attention.overlay import draw_overlay
from glimpses.attention.strips import Glimpse, Strip, strip
from glimpses.attention.style import encode
from glimpses.attention.upsampling import upsample

__all__ = [
    "Aim",
    "Glimpse",
    "LiveOverlay",
    "StepAims",
    "Strip",
    "aim_of_steps",
    "confusion_figure",
    "curves_figure",
    "draw_overlay",
    "encode",
    "full_light",
    "measure_aim",
    "scores_figure",
    "spotlight",
    "strip",
    "strip_figure",
    "upsample",
]
