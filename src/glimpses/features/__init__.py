"""Features: feature cubes of every clip, computed once and stored."""

from __future__ import annotations

from glimpses.features.extraction import Features, extract_clips
from glimpses.features.frame_dedup import FrameEncoder
from glimpses.features.open import clip_digests, extract, open_features
from glimpses.features.store import FRAMES_PER_PART, ClipFeatures, CubeStore, FeatureStore

__all__ = [
    "FRAMES_PER_PART",
    "ClipFeatures",
    "CubeStore",
    "FeatureStore",
    "Features",
    "FrameEncoder",
    "clip_digests",
    "extract",
    "extract_clips",
    "open_features",
]
