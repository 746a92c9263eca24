"""Evaluation: scores, localisation and faithfulness of a trained model."""

from __future__ import annotations

from glimpses.evaluation.bootstrap import Bootstrap
from glimpses.evaluation.evaluate_run import Evaluation, evaluate, evaluate_clips
from glimpses.evaluation.explain import explain_run
from glimpses.evaluation.explanation import Aiming, Curve, Estimate, Explanation, Removal
from glimpses.evaluation.metrics import ClipScore, Scores, score
from glimpses.evaluation.open_run import OpenedRun, Side, open_beside, open_run
from glimpses.evaluation.pointing_game import Aim, StepAims, aim_of_steps, measure_aim

__all__ = [
    "Aim",
    "Aiming",
    "Bootstrap",
    "ClipScore",
    "Curve",
    "Estimate",
    "Evaluation",
    "Explanation",
    "OpenedRun",
    "Removal",
    "Scores",
    "Side",
    "StepAims",
    "aim_of_steps",
    "evaluate",
    "evaluate_clips",
    "explain_run",
    "measure_aim",
    "open_beside",
    "open_run",
    "score",
]
