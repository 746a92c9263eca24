"""Inference: videos and streams to predictions."""

from __future__ import annotations

from glimpses.inference.aggregate import ClipResult, predict_causally, predict_clips
from glimpses.inference.batch import CsvPredictions, Predictions, predict
from glimpses.inference.recogniser import Prediction, Recogniser, predict_together
from glimpses.inference.stream import Stream, StreamStep

__all__ = [
    "ClipResult",
    "CsvPredictions",
    "Prediction",
    "Predictions",
    "Recogniser",
    "Stream",
    "StreamStep",
    "predict",
    "predict_causally",
    "predict_clips",
    "predict_together",
]
