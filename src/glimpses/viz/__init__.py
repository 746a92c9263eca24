"""Visualisation: attention heat maps, overlay videos, film strips and figures."""

from __future__ import annotations

from glimpses.viz.figures import confusion_figure, curves_figure, scores_figure, strip_figure
from glimpses.viz.filmstrip import Glimpse, Strip, strip
from glimpses.viz.heatmap import full_light, spotlight
from glimpses.viz.live_overlay import LiveOverlay
from glimpses.viz.overlay import draw_overlay
from glimpses.viz.style import encode
from glimpses.viz.upsampling import upsample

__all__ = [
    "Glimpse",
    "LiveOverlay",
    "Strip",
    "confusion_figure",
    "curves_figure",
    "draw_overlay",
    "encode",
    "full_light",
    "scores_figure",
    "spotlight",
    "strip",
    "strip_figure",
    "upsample",
]
