"""Check of a data set before training: files, sizes, copies and labels."""

from __future__ import annotations

from glimpses.check.check_clips import check
from glimpses.check.near_duplicates import NearDuplicate, find_near_duplicates
from glimpses.check.report import CheckReport, ClassSize, ClipCheck, SimilarClips
from glimpses.check.stored_features import DamagedClip, FeatureCheck

__all__ = [
    "CheckReport", "ClassSize", "ClipCheck", "DamagedClip", "FeatureCheck", "NearDuplicate",
    "SimilarClips", "check", "find_near_duplicates",
]  # fmt: skip
