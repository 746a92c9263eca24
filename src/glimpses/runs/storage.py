"""Folder of a run: one trained model and everything that is needed to use it again.

config.json         classes, data options, model shape, training options (`runs.config`)
model.safetensors   the weights, once training has finished
curves.json         loss and accuracy by epoch
scores.json         test scores (`runs.scores`)
README.md           model card
checkpoints/        state to resume an interrupted training from
tensorboard/        the curves for TensorBoard
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np
import safetensors
import safetensors.torch
from torch import Tensor

from glimpses import models
from glimpses.models import ActionModel, ModelConfig
from glimpses.runs.config import CONFIG, RunConfig, read_config, write_config
from glimpses.runs.scores import SCORES
from glimpses.utils.errors import GlimpsesError
from glimpses.utils.files import atomic_write, check_regular, read_bytes, read_json

WEIGHTS = "model.safetensors"
CURVES = "curves.json"
CARD = "README.md"
#: The curve whose maximum chooses the epoch.
MONITOR = "validation score"
# Bytes; a decoder has a few million weights.
_MAX_WEIGHTS = 4_000_000_000


def write_run(run: Path, config: RunConfig, model: ActionModel, card: str) -> None:
    """Write a complete run folder: config, model card, and the weights last.

    Raises:
        GlimpsesError: the folder cannot be written to.
    """
    write_config(run, config)
    with atomic_write(run / CARD) as file:
        file.write_text(card, encoding="utf-8")
    save_model(run, model)


def copy_records(run: Path, folder: Path) -> None:
    """Copy the curves and scores of a run, if it has any, to another folder.

    Raises:
        GlimpsesError: a file cannot be read or written.
    """
    for name in (CURVES, SCORES):
        if (run / name).is_file() and folder.resolve() != run.resolve():
            with atomic_write(folder / name) as file:
                file.write_bytes(read_bytes(run / name))


def save_model(run: Path, model: ActionModel) -> None:
    """Write the weights of a trained model, which completes the run."""
    with atomic_write(run / WEIGHTS) as file:
        file.write_bytes(safetensors.torch.save(model.state_dict()))


def weights_file(run: Path) -> Path:
    """Return the file of a finished run's weights.

    Raises:
        GlimpsesError: its training has not finished.
    """
    if not (run / WEIGHTS).exists():
        raise GlimpsesError(
            f"{run}: its training has not finished; run the same `glimpses train` again to continue"
        )
    return run / WEIGHTS


def load_model(run: Path) -> tuple[RunConfig, ActionModel]:
    """Load a run: its config and its model, ready to predict.

    Raises:
        GlimpsesError: the folder is not a run, its training has not finished, or its files are
            damaged or do not belong together.
    """
    config, file = read_config(run), weights_file(run)
    try:
        check_regular(file, _MAX_WEIGHTS)
        weights = safetensors.torch.load_file(file)
        _require_shapes(config.model, weights)
        _require_finite(weights)
        model = models.build_model(config.model)
        model.load_state_dict(weights)
    except (OSError, safetensors.SafetensorError, RuntimeError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise GlimpsesError(
            f"{file}: these are not the weights that {CONFIG} describes ({reason}); "
            "restore the file, or delete it and run the same `glimpses train` again"
        ) from error
    model.temperature = config.temperature
    return config, model.eval()


def _require_shapes(shape: ModelConfig, weights: Mapping[str, Tensor]) -> None:
    """Refuse weights of other shapes before memory is allocated; a config may be hostile."""
    described = models.build_meta_model(shape).state_dict()
    for name, weight in described.items():
        if name not in weights or weights[name].shape != weight.shape:
            raise RuntimeError(f"{name} is not of shape {tuple(weight.shape)}")


def _require_finite(weights: Mapping[str, Tensor]) -> None:
    """Refuse weights that would make every prediction NaN."""
    for name, weight in weights.items():
        if not weight.isfinite().all():
            raise ValueError(f"{name} is not finite")


def write_curves(run: Path, curves: Mapping[str, list[float]]) -> None:
    """Write the training curves, a list of one number per epoch for each name."""
    with atomic_write(run / CURVES) as file:
        file.write_text(json.dumps(curves) + "\n")


def read_curves(run: Path) -> dict[str, list[float]]:
    """Read the training curves back; empty where there are none."""
    file = run / CURVES
    try:
        return msgspec.convert(read_json(file), dict[str, list[float]]) if file.exists() else {}
    except (OSError, ValueError) as error:
        raise GlimpsesError(f"{file}: is damaged; train the run again with --overwrite") from error


def best_epoch(scores: Sequence[float]) -> int:
    """Return the first epoch with the highest score, from 1; NaN never wins."""
    return int(np.argmax(np.nan_to_num(scores, nan=-np.inf))) + 1


def kept_epoch(scores: Sequence[float], checkpoint: str | int = "best") -> int:
    """Return the epoch whose weights are kept, from 1: the best, or the last finite one.

    Args:
        scores: score of every epoch so far.
        checkpoint: "best", "last", or the number of the epoch, which is the last one then.
    """
    scores = scores[:checkpoint] if isinstance(checkpoint, int) else scores
    finite = np.flatnonzero(np.isfinite(scores))
    if checkpoint != "best" and len(finite):
        return int(finite[-1]) + 1
    return best_epoch(scores)
