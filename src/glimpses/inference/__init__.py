"""Predictions for videos, arrays and streams."""

from __future__ import annotations

from glimpses.inference.aggregate import ClipResult, predict_causally, predict_clips
from glimpses.inference.batch import CsvPredictions, Predictions, predict
from glimpses.inference.decision import NO_ACTION, UNSURE
from glimpses.inference.find_segments import prediction_segments
from glimpses.inference.prediction import Prediction
from glimpses.inference.recogniser import Recogniser, VideoLike, predict_together
from glimpses.inference.segment_batch import SegmentPredictions
from glimpses.inference.stream import Stream, StreamStep

__all__ = [
    "NO_ACTION", "UNSURE", "ClipResult", "CsvPredictions", "Prediction", "Predictions",
    "Recogniser", "SegmentPredictions", "Stream", "StreamStep", "VideoLike", "predict",
    "predict_causally", "predict_clips", "predict_together", "prediction_segments",
]  # fmt: skip
