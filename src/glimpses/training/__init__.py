"""Training: a data set and options in, a run out."""

from __future__ import annotations

from glimpses.training.cross_validation import CrossValidation, Fold, crossvalidate
from glimpses.training.options import TrainOptions
from glimpses.training.recipes import CANDIDATES, RECIPES, Recipe
from glimpses.training.train_run import TrainedRun, check_options, train
from glimpses.training.tuning import Tuning, tune

__all__ = [
    "CANDIDATES", "RECIPES", "CrossValidation", "Fold", "Recipe", "TrainOptions", "TrainedRun",
    "Tuning", "check_options", "crossvalidate", "train", "tune",
]  # fmt: skip
