"""Runs: the folder of a trained model, its config, weights, curves and model card."""

from __future__ import annotations

from glimpses.runs.config import CONFIG, RunConfig, read_config, write_config
from glimpses.runs.options import DataOptions, OptimOptions
from glimpses.runs.storage import (
    CARD,
    CURVES,
    MONITOR,
    SCORES,
    WEIGHTS,
    best_epoch,
    kept_epoch,
    load_model,
    read_curves,
    save_model,
    weights_file,
    write_curves,
)

__all__ = [
    "CARD",
    "CONFIG",
    "CURVES",
    "MONITOR",
    "SCORES",
    "WEIGHTS",
    "DataOptions",
    "OptimOptions",
    "RunConfig",
    "best_epoch",
    "kept_epoch",
    "load_model",
    "read_config",
    "read_curves",
    "save_model",
    "weights_file",
    "write_config",
    "write_curves",
]
