"""Annotations: masks and boxes of the actor in each frame."""

from __future__ import annotations

from glimpses.datasets.annotations.base import Truth
from glimpses.datasets.annotations.boxes import Boxes, Stretch
from glimpses.datasets.annotations.lookup import truth_of, truths
from glimpses.datasets.annotations.masks import Masks

__all__ = [
    "Boxes",
    "Masks",
    "Stretch",
    "Truth",
    "truth_of",
    "truths",
]
