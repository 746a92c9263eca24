"""Evaluation: scores, localisation and faithfulness of a trained model."""

from __future__ import annotations

from glimpses.evaluation.bootstrap import (
    MIN_GROUPS,
    Bootstrap,
    estimate_fraction,
    fraction_interval,
)
from glimpses.evaluation.calibrate_run import (
    CalibratedRun,
    calibrate,
    calibrate_logits,
    describe_calibration,
    fit_calibration,
    require_threshold,
)
from glimpses.evaluation.calibration import ClipLogits, clip_logits
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
from glimpses.evaluation.score_recordings import RecordingScores
from glimpses.evaluation.segment_metrics import SegmentScores, score_segments

__all__ = [
    "MIN_GROUPS", "Bootstrap", "CalibratedRun", "ClipLogits", "ClipScore", "Curve",
    "DeletionCurves", "Estimate", "Evaluation", "Explanation", "LocalisationScores",
    "MapLocalisation", "OpenedRun", "RecordingScores", "Scores", "SegmentScores",
    "StepLocalisation", "Subset", "calibrate", "calibrate_logits", "clip_logits",
    "describe_calibration", "estimate_fraction", "evaluate", "evaluate_clips", "explain_run",
    "fit_calibration", "fraction_interval", "localise", "localise_steps", "open_other_run",
    "open_run", "record_scores", "require_threshold", "score", "score_segments",
]  # fmt: skip
