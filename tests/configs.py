"""Configs and trainings from flat keyword arguments."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path
from typing import Any

import glimpses
from glimpses.models import CubeShape, ModelConfig, ModelOptions, supported_options
from glimpses.runs import DataOptions, OptimOptions, RunConfig
from glimpses.training import TrainedRun, TrainOptions


def model_config(*, num_classes: int, model: str = "attention", **flat: Any) -> ModelConfig:
    """Return a config, without the options that the model does not read."""
    cube = _names(CubeShape)
    options = {name: value for name, value in flat.items() if name not in cube}
    return ModelConfig(
        ModelOptions(model=model, **supported_options(model, options)),
        num_classes,
        CubeShape(**{name: value for name, value in flat.items() if name in cube}),
    )


def run_config(
    *, classes: Iterable[str], model: ModelConfig, weights: str = "", size: int = 32, **flat: Any
) -> RunConfig:
    """Return the config of a run; `flat` has fields of `RunConfig` and of `DataOptions`."""
    data = {name: flat.pop(name) for name in _names(DataOptions) & set(flat)}
    defaults = {
        "multi_label": False, "data_dir": "", "optim": OptimOptions(), "seed": 0, "clips": {},
        "seen": (),
    }  # fmt: skip
    return RunConfig(
        classes=tuple(classes),
        data=DataOptions(**data),
        model=model,
        backbone_weights=weights,
        frame_size=size,
        **{**defaults, **flat},
    )


def train(clips: Path | str, *, out: Path | str, **flat: Any) -> TrainedRun:
    """Train with options given flat, as on the command line."""
    names = ("recipe", "budget", "threshold", "seed", "device", "overwrite")
    own = {"recipe": "standard"} | {name: flat.pop(name) for name in names if name in flat}
    return glimpses.train(clips, out=out, **own, **TrainOptions.from_flat(flat)._asdict())


def _names(kind: type) -> set[str]:
    return {field.name for field in fields(kind)}
