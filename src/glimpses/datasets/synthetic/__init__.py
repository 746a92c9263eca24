"""The generated clip set: synthetic clips with exact ground truth for every pixel."""

from __future__ import annotations

from glimpses.datasets.synthetic.generation import SyntheticSet, generate, photographs

__all__ = [
    "SyntheticSet",
    "generate",
    "photographs",
]
