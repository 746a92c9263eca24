"""Inference: videos and streams to predictions."""

from __future__ import annotations

from glimpses.inference.aggregate import ClipResult, predict_causally, predict_clips
from glimpses.inference.batch import Predictions, Tabled, predict
from glimpses.inference.recogniser import Prediction, Recogniser, predict_together
from glimpses.inference.stream import Step, Stream

__all__ = [
    "ClipResult",
    "Prediction",
    "Predictions",
    "Recogniser",
    "Step",
    "Stream",
    "Tabled",
    "predict",
    "predict_causally",
    "predict_clips",
    "predict_together",
]
