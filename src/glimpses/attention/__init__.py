"""Attention as pictures: where the model looks, on video and on paper."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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

_ROOMS = {
    "aim": ("Aim", "StepAims", "aim_of_steps", "measure_aim"),
    "figures": ("confusion_figure", "curves_figure", "scores_figure", "strip_figure"),
    "light": ("full_light", "spotlight"),
    "live": ("LiveOverlay",),
    "overlay": ("draw_overlay",),
    "strips": ("Glimpse", "Strip", "strip"),
    "style": ("encode",),
    "upsampling": ("upsample",),
}


def __getattr__(name: str) -> Any:
    """Import what is asked for when it is asked for: who only predicts waits for no Matplotlib."""
    for room, names in _ROOMS.items():
        if name in names:
            return getattr(importlib.import_module(f"glimpses.attention.{room}"), name)
    raise AttributeError(f"module 'glimpses.attention' has no attribute '{name}'")
