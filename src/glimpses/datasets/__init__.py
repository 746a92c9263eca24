"""Data sets: clips, labels, groups and splits."""

from __future__ import annotations

from glimpses.datasets.base import ActionDataset, Clip, Split
from glimpses.datasets.loading import LAYOUTS, Layout, LayoutReader, layout_of, load
from glimpses.datasets.splits import split

__all__ = [
    "LAYOUTS",
    "ActionDataset",
    "Clip",
    "Layout",
    "LayoutReader",
    "Split",
    "layout_of",
    "load",
    "split",
]
