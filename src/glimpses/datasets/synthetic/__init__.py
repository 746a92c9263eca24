"""The generated clip set: synthetic clips with exact ground truth for every pixel."""

from __future__ import annotations

from glimpses.datasets.synthetic.generation import GeneratedSet, generate, photographs

__all__ = [
    "GeneratedSet",
    "generate",
    "photographs",
]
