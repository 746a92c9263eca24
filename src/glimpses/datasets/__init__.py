"""Which clips there are, what they show, and which of them train, validate and test."""

from __future__ import annotations

from pathlib import Path

from glimpses.datasets import folder, stored
from glimpses.datasets.base import ActionDataset, Clip, Split
from glimpses.datasets.split import split

__all__ = ["ActionDataset", "Clip", "Split", "load", "split"]


def load(data: Path) -> ActionDataset:
    """Read the data set at `data`: a folder with one folder of clips per action, or of features.

    Raises:
        GlimpsesError: see `glimpses.datasets.folder.load` and `glimpses.datasets.stored.load`.
    """
    return stored.load(data) if stored.recognise(data) else folder.load(data)
