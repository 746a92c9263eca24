"""Feature cubes of every clip: computed once, stored, and read in blocks and batches."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from glimpses.features.extraction import Features, extract_clips
from glimpses.features.frame_dedup import FrameEncoder
from glimpses.features.open import clip_digests, extract, open_features
from glimpses.features.store import FRAMES_PER_PART, ClipFeatures, CubeStore, FeatureStore

if TYPE_CHECKING:
    from glimpses.features.blocks import (
        Block,
        Blocks,
        causal_stride,
        collate,
        grid_starts,
        random_starts,
        read_block,
    )
    from glimpses.features.loader import BatchLoader

__all__ = [
    "FRAMES_PER_PART", "BatchLoader", "Block", "Blocks", "ClipFeatures", "CubeStore",
    "FeatureStore", "Features", "FrameEncoder", "causal_stride", "clip_digests", "collate",
    "extract", "extract_clips", "grid_starts", "open_features", "random_starts", "read_block",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    """Import blocks and batches on first use: they need PyTorch, which extraction does not."""
    if name not in __all__:
        raise AttributeError(f"module 'glimpses.features' has no attribute '{name}'")
    module = "loader" if name == "BatchLoader" else "blocks"
    return getattr(importlib.import_module(f"glimpses.features.{module}"), name)
