"""Backbones: RGB frames to feature cubes `(N, P, D)`, by a pretrained network chosen by name."""

from __future__ import annotations

from glimpses.backbones.backbone import BACKBONES, DEFAULT, Backbone, load, weights_info
from glimpses.backbones.registry import BackboneEntry, WeightsInfo

__all__ = [
    "BACKBONES",
    "DEFAULT",
    "Backbone",
    "BackboneEntry",
    "WeightsInfo",
    "load",
    "weights_info",
]
