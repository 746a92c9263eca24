"""Training: a data set and options in, a run out."""

from __future__ import annotations

from glimpses.training.train_run import TrainedRun, require_sound, train

__all__ = [
    "TrainedRun",
    "require_sound",
    "train",
]
