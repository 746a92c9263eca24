"""Training: a data set and options in, a run out."""

from __future__ import annotations

from glimpses.training.cross_validation import CrossValidation, Fold, crossvalidate
from glimpses.training.options import TrainOptions
from glimpses.training.train_run import TrainedRun, check_options, train

__all__ = [
    "CrossValidation", "Fold", "TrainOptions", "TrainedRun", "check_options", "crossvalidate",
    "train",
]  # fmt: skip
