"""Features: feature cubes of every clip, computed once and stored."""

from __future__ import annotations

from glimpses.features.extraction import Features, extract_clips
from glimpses.features.frame_dedup import CubeReader
from glimpses.features.open import digests, extract, open_features
from glimpses.features.store import PART, ClipFeatures, CubeStore, FeatureStore

__all__ = [
    "PART",
    "ClipFeatures",
    "CubeReader",
    "CubeStore",
    "FeatureStore",
    "Features",
    "digests",
    "extract",
    "extract_clips",
    "open_features",
]
