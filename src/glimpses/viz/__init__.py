"""Visualisation: attention heat maps, overlay videos, film strips and figures."""

from __future__ import annotations

from glimpses.viz.figures import confusion_figure, curves_figure, filmstrip_figure, scores_figure
from glimpses.viz.filmstrip import Filmstrip, FilmstripFrame, draw_filmstrip
from glimpses.viz.heatmap import draw_heatmap, heatmap_scale
from glimpses.viz.live_overlay import LiveOverlay
from glimpses.viz.overlay import draw_overlay, draw_segments
from glimpses.viz.reliability import reliability_figure
from glimpses.viz.style import encode_figure, encode_jpeg
from glimpses.viz.upsampling import upsample

__all__ = [
    "Filmstrip", "FilmstripFrame", "LiveOverlay", "confusion_figure", "curves_figure",
    "draw_filmstrip", "draw_heatmap", "draw_overlay", "draw_segments", "encode_figure",
    "encode_jpeg", "filmstrip_figure", "heatmap_scale", "reliability_figure", "scores_figure",
    "upsample",
]  # fmt: skip
