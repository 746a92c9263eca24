"""The generated clip set: synthetic clips with exact ground truth for every pixel."""

from __future__ import annotations

from glimpses.datasets.synthetic.generation import Generated, generate, photographs

__all__ = [
    "Generated",
    "generate",
    "photographs",
]
