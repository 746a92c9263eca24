"""The generated clip set: synthetic clips with exact ground truth for every pixel."""

from __future__ import annotations

from glimpses.datasets.synthetic.generation import Generated, generate, photographs
from glimpses.datasets.synthetic.ground_truth import Annotation, load_annotation

__all__ = [
    "Annotation",
    "Generated",
    "generate",
    "load_annotation",
    "photographs",
]
