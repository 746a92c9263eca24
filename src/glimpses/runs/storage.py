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
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import Tensor

from glimpses import models
from glimpses.models import ActionModel, AuthorsOptions, ModelConfig
from glimpses.runs.scores import SCORES
from glimpses.utils.errors import GlimpsesError
from glimpses.utils.files import atomic_write
from glimpses.video import FrameRate

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
CURVES = "curves.json"
CARD = "README.md"
#: The curve whose maximum chooses the epoch.
MONITOR = "validation score"
_FORMAT = 1


@dataclass(frozen=True)
class RunConfig:
    """What a run knows besides its weights; `config.json` in its folder.

    Attributes:
        classes: names of the actions, in the order of the logits.
        multi_label: whether a clip may show several of them.
        backbone: CNN and stage that give the feature cubes.
        weights: short digest of the CNN's weights.
        fps: frame rate of sampling.
        size: side of the square frames in pixels.
        steps: length of a block, T.
        stride: distance of two blocks in testing, in frames.
        last_steps: how many steps at the end of a block make its prediction; None for all.
        vote: how the blocks of a clip make its prediction, `mean` or `majority`.
        model: shape of the model.
        training: the settings of training by name.
        data: folder of the data set it was trained on.
        layout: how that lay on disk, a name in `glimpses.datasets.LAYOUTS`.
        reuse: below which difference frames share a cube; see `features.extract`.
        split: clip ids of train, validation and test.
        seen: SHA-256 of the videos it was fitted or chosen on.
        store: folder of the features it was trained on, if one was given.
        versions: of Glimpses and PyTorch.
    """

    classes: tuple[str, ...]
    multi_label: bool
    backbone: str
    weights: str
    fps: FrameRate
    size: int
    steps: int
    stride: int
    model: ModelConfig
    training: Mapping[str, Any]
    data: str
    split: Mapping[str, tuple[str, ...]]
    seen: tuple[str, ...] = field(repr=False)
    store: str | None = None
    last_steps: int | None = None
    vote: Literal["mean", "majority"] = "mean"
    layout: str = "folder"
    reuse: float = 0.0
    versions: Mapping[str, str] = field(
        default_factory=lambda: {name: version(name) for name in ("glimpses", "torch")}
    )

    def differences(self, other: RunConfig) -> list[str]:
        """What sets another run apart, as `name (this, not that)`; store and versions don't."""
        mine, theirs = _comparable(self), _comparable(other)
        return [
            f"{name} ({mine.get(name)}, not {theirs.get(name)})"
            if len(f"{mine.get(name)}{theirs.get(name)}") < 80
            else name
            for name in {**mine, **theirs}
            if mine.get(name) != theirs.get(name)
        ]


def write_config(run: Path, config: RunConfig) -> None:
    """Write `config.json` into a run's folder."""
    with atomic_write(run / CONFIG) as file:
        file.write_text(json.dumps({"format": _FORMAT, **asdict(config)}, indent=1) + "\n")


def read_config(run: Path) -> RunConfig:
    """Read `config.json` of a run.

    Raises:
        GlimpsesError: the folder is no run, or the file is damaged or of another format.
    """
    try:
        text = (run / CONFIG).read_text(encoding="utf-8")
    except OSError as error:
        raise GlimpsesError(
            f"{run}: is no run, it holds no {CONFIG}; train one with "
            f"`glimpses train DATA --out {run}`"
        ) from error
    try:
        known = json.loads(text)
        written = known.pop("format")
        if written != _FORMAT:
            raise GlimpsesError(
                f"{run / CONFIG}: is of format {written}, this version of Glimpses reads "
                f"{_FORMAT}; train the run again or use the version that wrote it"
            )
        authors = known["model"].pop("authors", None)
        options = None if authors is None else AuthorsOptions(**authors)
        known["model"] = ModelConfig(**known["model"], authors=options)
        for name in ("classes", "seen"):
            known[name] = tuple(known[name])
        known["split"] = {side: tuple(ids) for side, ids in known["split"].items()}
        config = RunConfig(**known)
        _require_sound(config)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise GlimpsesError(
            f"{run / CONFIG}: is damaged ({error}); restore it or train the run again"
        ) from error
    return config


def _require_sound(config: RunConfig) -> None:
    """Refuse settings that nothing could be done with; a config may come from anywhere."""
    texts = (
        config.backbone,
        config.weights,
        config.data,
        config.layout,
        *config.classes,
        *config.seen,
    )
    if not all(isinstance(text, str) for text in (*texts, *sum(config.split.values(), ()))):
        raise TypeError("a name in it is no text")
    if not (isinstance(config.training, Mapping) and isinstance(config.versions, Mapping)):
        raise TypeError("training or versions have no names")
    if len(set(config.classes)) != config.model.classes or "" in config.classes:
        raise ValueError(f"classes are not the {config.model.classes} names of its model")
    counts = {name: getattr(config, name) for name in ("size", "steps", "stride")}
    if config.last_steps is not None:
        counts["last_steps"] = config.last_steps
    for name, value in counts.items():
        if not isinstance(value, int) or value < 1:
            raise ValueError(f"{name} is {value}, must be at least 1")
    if config.fps != "native" and not 0 < config.fps <= 1000:
        raise ValueError(f"fps is {config.fps}, must be above 0")
    if not config.reuse >= 0:
        raise ValueError(f"reuse is {config.reuse}, must be at least 0")
    if config.vote not in ("mean", "majority"):
        raise ValueError(f"there is no vote called {config.vote}")


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
                file.write_bytes((run / name).read_bytes())


def save_model(run: Path, model: ActionModel) -> None:
    """Write the weights of a trained model, which completes the run."""
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
        model = models.build(config.model)
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
    with torch.device("meta"):
        described = models.build(shape).state_dict()
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


def _comparable(config: RunConfig) -> dict[str, Any]:
    known = json.loads(json.dumps(asdict(config)))
    del known["versions"], known["store"]
    # Among the settings of training, the split is a name.
    known["clips"] = known.pop("split")
    return {**known.pop("model"), **known.pop("training"), **known}
