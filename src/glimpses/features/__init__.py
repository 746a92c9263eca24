"""Feature cubes of every clip, computed once and kept."""

from glimpses.features.extraction import Features, extract_clips
from glimpses.features.gathering import digests, extract, gather
from glimpses.features.reuse import CubeReader
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
    "gather",
]
