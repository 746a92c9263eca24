"""Pretrained networks that turn RGB frames into feature cubes `(N, P, D)`."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from glimpses.backbones.backbone import Backbone, load
from glimpses.backbones.flow import FLOW
from glimpses.backbones.onnx_engine import EngineName
from glimpses.backbones.registry import (
    BACKBONES,
    DEFAULT,
    BackboneEntry,
    WeightsInfo,
    list_backbones,
    weights_info,
)

if TYPE_CHECKING:
    from glimpses.backbones.stages import MultiScale, StageModel, parse_stages, truncate
    from glimpses.backbones.weights import (
        PublishedWeights,
        download_weights,
        load_weights,
        weights_digest,
    )

__all__ = [
    "BACKBONES", "DEFAULT", "FLOW", "Backbone", "BackboneEntry", "EngineName", "MultiScale",
    "PublishedWeights", "StageModel", "WeightsInfo", "download_weights", "list_backbones", "load",
    "load_weights", "parse_stages", "truncate", "weights_digest", "weights_info",
]  # fmt: skip

_STAGES = ("MultiScale", "StageModel", "parse_stages", "truncate")


def __getattr__(name: str) -> Any:
    """Import the network builders on first use, because they need PyTorch."""
    if name not in __all__:
        raise AttributeError(f"module 'glimpses.backbones' has no attribute '{name}'")
    module = "stages" if name in _STAGES else "weights"
    return getattr(importlib.import_module(f"glimpses.backbones.{module}"), name)
