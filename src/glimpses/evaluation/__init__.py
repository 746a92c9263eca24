"""Evaluation: scores, localisation and faithfulness of a trained model."""

from __future__ import annotations

from glimpses.evaluation.bootstrap import Bootstrap
from glimpses.evaluation.calibrate_run import (
    CalibratedRun,
    calibrate,
    describe_calibration,
    fit_calibration,
    require_threshold,
)
from glimpses.evaluation.evaluate_run import Evaluation, evaluate, evaluate_clips, record_scores
from glimpses.evaluation.explain import explain_run
from glimpses.evaluation.explanation import (
    Curve,
    DeletionCurves,
    Estimate,
    Explanation,
    MapLocalisation,
)
from glimpses.evaluation.metrics import ClipScore, Scores, score
from glimpses.evaluation.open_run import OpenedRun, Subset, open_other_run, open_run
from glimpses.evaluation.pointing_game import (
    LocalisationScores,
    StepLocalisation,
    localise,
    localise_steps,
)

__all__ = [
    "Bootstrap", "CalibratedRun", "ClipScore", "Curve", "DeletionCurves", "Estimate",
    "Evaluation", "Explanation", "LocalisationScores", "MapLocalisation", "OpenedRun", "Scores",
    "StepLocalisation", "Subset", "calibrate", "describe_calibration", "evaluate",
    "evaluate_clips", "explain_run", "fit_calibration", "localise", "localise_steps",
    "open_other_run", "open_run", "record_scores", "require_threshold", "score",
]  # fmt: skip
