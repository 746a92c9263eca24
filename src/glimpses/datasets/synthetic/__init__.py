"""Synthetic clips with exact masks of the actor, and miniatures of official data sets."""

from __future__ import annotations

from glimpses.datasets.synthetic.generation import SyntheticSet, default_photos, generate
from glimpses.datasets.synthetic.miniature import make_miniature

__all__ = ["SyntheticSet", "default_photos", "generate", "make_miniature"]
