"""Data sets of labelled clips, with groups and splits."""

from __future__ import annotations

from glimpses.datasets.base import (
    BACKGROUND_NAMES,
    ActionDataset,
    Clip,
    Split,
    Unlabelled,
    is_background,
)
from glimpses.datasets.loading import LAYOUTS, Layout, LayoutReader, detect_layout, load
from glimpses.datasets.splits import cross_validation, split

__all__ = [
    "BACKGROUND_NAMES", "LAYOUTS", "ActionDataset", "Clip", "Layout", "LayoutReader", "Split",
    "Unlabelled", "cross_validation", "detect_layout", "is_background", "load", "split",
]  # fmt: skip
