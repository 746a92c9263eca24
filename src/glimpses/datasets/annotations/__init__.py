"""Annotations: masks and boxes of the actor in each frame."""

from __future__ import annotations

from glimpses.datasets.annotations.base import ActorAnnotation
from glimpses.datasets.annotations.boxes import BoxAnnotation, BoxTrack
from glimpses.datasets.annotations.lookup import annotation_for, annotations_for
from glimpses.datasets.annotations.masks import MaskAnnotation

__all__ = [
    "ActorAnnotation",
    "BoxAnnotation",
    "BoxTrack",
    "MaskAnnotation",
    "annotation_for",
    "annotations_for",
]
