"""Feature cubes of every clip, computed once and kept."""

from glimpses.features.extraction import Features, extract, extract_clips
from glimpses.features.store import PART, ClipFeatures, FeatureStore

__all__ = ["PART", "ClipFeatures", "FeatureStore", "Features", "extract", "extract_clips"]
