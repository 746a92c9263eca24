"""Pretrained networks that turn RGB frames into feature cubes `(N, P, D)`."""

from __future__ import annotations

from glimpses.backbones.backbone import Backbone, load
from glimpses.backbones.onnx_engine import EngineName
from glimpses.backbones.registry import (
    BACKBONES,
    DEFAULT,
    BackboneEntry,
    WeightsInfo,
    list_backbones,
    weights_info,
)

__all__ = [
    "BACKBONES",
    "DEFAULT",
    "Backbone",
    "BackboneEntry",
    "EngineName",
    "WeightsInfo",
    "list_backbones",
    "load",
    "weights_info",
]
