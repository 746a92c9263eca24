"""A run: the folder that holds one trained model and everything needed to use it again.

config.json         classes, how frames become cubes, the model's shape, how it was trained
model.safetensors   the weights, once training has finished
curves.json         loss and accuracy by epoch
scores.json         what `glimpses evaluate` found
README.md           all of that for people, the model card
checkpoints/        where an interrupted training goes on
tensorboard/        the same curves for TensorBoard
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import safetensors
import safetensors.torch
from torch import Tensor

from glimpses import models
from glimpses.models import ActionModel, ModelConfig
from glimpses.runs.config import CONFIG, RunConfig, read_config
from glimpses.utils.errors import GlimpsesError
from glimpses.utils.files import atomic_write

WEIGHTS = "model.safetensors"
CURVES = "curves.json"
SCORES = "scores.json"
CARD = "README.md"
#: The curve whose maximum chooses the epoch.
MONITOR = "validation score"


def save_model(run: Path, model: ActionModel) -> None:
    """Write the weights of a trained model; from then on the run can be used."""
    with atomic_write(run / WEIGHTS) as file:
        file.write_bytes(safetensors.torch.save(model.state_dict()))


def weights_file(run: Path) -> Path:
    """Where a finished run's weights are.

    Raises:
        GlimpsesError: its training has not finished.
    """
    if not (run / WEIGHTS).exists():
        raise GlimpsesError(
            f"{run}: its training has not finished; run the same `glimpses train` again to go on"
        )
    return run / WEIGHTS


def load_model(run: Path) -> tuple[RunConfig, ActionModel]:
    """Read a run back: its settings and its model, ready to predict.

    Raises:
        GlimpsesError: the folder is no run, its training has not finished, or its files are
            damaged or do not belong together.
    """
    config, file = read_config(run), weights_file(run)
    try:
        weights = safetensors.torch.load_file(file)
        _require_shapes(config.model, weights)
        model = models.build_model(config.model)
        model.load_state_dict(weights)
    except (OSError, safetensors.SafetensorError, RuntimeError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise GlimpsesError(
            f"{file}: these are not the weights that {CONFIG} describes ({reason}); "
            "restore the file, or delete it and run the same `glimpses train` again"
        ) from error
    return config, model.eval()


def _require_shapes(shape: ModelConfig, weights: Mapping[str, Tensor]) -> None:
    """Before memory is taken for what a config from anywhere claims."""
    described = models.build_meta_model(shape).state_dict()
    for name, weight in described.items():
        if name not in weights or weights[name].shape != weight.shape:
            raise RuntimeError(f"{name} is not of shape {tuple(weight.shape)}")


def write_curves(run: Path, curves: Mapping[str, list[float]]) -> None:
    """Write the training curves, a list of one number per epoch for each name."""
    with atomic_write(run / CURVES) as file:
        file.write_text(json.dumps(curves) + "\n")


def read_curves(run: Path) -> dict[str, list[float]]:
    """Read the training curves back; empty where there are none."""
    file = run / CURVES
    try:
        return dict(json.loads(file.read_text())) if file.exists() else {}
    except ValueError as error:
        raise GlimpsesError(f"{file}: is damaged; train the run again with --overwrite") from error


def best_epoch(scores: Sequence[float]) -> int:
    """The first epoch with the highest score, from 1; the NaN of a diverged model never wins."""
    return int(np.argmax(np.nan_to_num(scores, nan=-np.inf))) + 1


def kept_epoch(scores: Sequence[float], keep: str = "best") -> int:
    """The epoch whose weights are kept, from 1: the best, or the last that did not diverge."""
    finite = np.flatnonzero(np.isfinite(scores))
    if keep == "last" and len(finite):
        return int(finite[-1]) + 1
    return best_epoch(scores)
