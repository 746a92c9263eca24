"""Data sets of labelled clips, with groups and splits."""

from __future__ import annotations

from glimpses.datasets.base import ActionDataset, Clip, Split
from glimpses.datasets.loading import LAYOUTS, Layout, LayoutReader, detect_layout, load
from glimpses.datasets.splits import split

__all__ = [
    "LAYOUTS", "ActionDataset", "Clip", "Layout", "LayoutReader", "Split", "detect_layout", "load",
    "split",
]  # fmt: skip
