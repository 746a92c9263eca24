"""Annotations of where the actor is: masks and boxes by frame."""

from __future__ import annotations

from glimpses.datasets.annotations.base import ActorAnnotation
from glimpses.datasets.annotations.boxes import BoxAnnotation, BoxTrack
from glimpses.datasets.annotations.lookup import annotation_for, annotations_for
from glimpses.datasets.annotations.masks import FigureMasks, MaskAnnotation, load_masks

__all__ = [
    "ActorAnnotation", "BoxAnnotation", "BoxTrack", "FigureMasks", "MaskAnnotation",
    "annotation_for", "annotations_for", "load_masks",
]  # fmt: skip
