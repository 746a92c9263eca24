"""Runs: the folder of a trained model, its config, weights, curves and model card."""

from __future__ import annotations

from glimpses.runs.storage import (
    CARD,
    CONFIG,
    CURVES,
    MONITOR,
    SCORES,
    WEIGHTS,
    RunConfig,
    best_epoch,
    kept_epoch,
    load_model,
    read_config,
    read_curves,
    save_model,
    weights_file,
    write_config,
    write_curves,
)

__all__ = [
    "CARD",
    "CONFIG",
    "CURVES",
    "MONITOR",
    "SCORES",
    "WEIGHTS",
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
