"""Runs: the folder of a trained model, its config, weights, curves and model card."""

from __future__ import annotations

from glimpses.runs.calibration import (
    AUTO_THRESHOLD,
    Calibration,
    CalibrationScores,
    Interval,
    Reliability,
    ReliabilityBin,
    Threshold,
    describe_calibration_scores,
)
from glimpses.runs.config import CONFIG, RunConfig, read_config, write_config
from glimpses.runs.options import DataOptions, OptimOptions
from glimpses.runs.scores import (
    CROSS_VALIDATED,
    MEASURES,
    SCORES,
    ClassScore,
    ScoreRecord,
    ScoreValue,
    add_score,
    read_scores,
    write_scores,
)
from glimpses.runs.storage import (
    CARD,
    CURVES,
    MONITOR,
    WEIGHTS,
    best_epoch,
    copy_records,
    kept_epoch,
    load_model,
    read_curves,
    save_model,
    weights_file,
    write_curves,
    write_run,
)

__all__ = [
    "AUTO_THRESHOLD", "CARD", "CONFIG", "CROSS_VALIDATED", "CURVES", "MEASURES", "MONITOR",
    "SCORES", "WEIGHTS", "Calibration", "CalibrationScores", "ClassScore", "DataOptions",
    "Interval", "OptimOptions", "Reliability", "ReliabilityBin", "RunConfig", "ScoreRecord",
    "ScoreValue", "Threshold", "add_score", "best_epoch", "copy_records",
    "describe_calibration_scores", "kept_epoch", "load_model", "read_config",
    "read_curves", "read_scores", "save_model", "weights_file", "write_config", "write_curves",
    "write_run", "write_scores",
]  # fmt: skip
