"""Train a recogniser: data in, a run out."""

from __future__ import annotations

import inspect
import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import numpy as np

from glimpses import backbones, datasets, runs
from glimpses.datasets import Clip, Layout, Split
from glimpses.datasets.groups import warn_ungrouped
from glimpses.features import Features, open_features
from glimpses.models import AuthorsOptions, ModelConfig
from glimpses.runs import MONITOR, RunConfig, kept_epoch, model_card
from glimpses.training.trainer import fit
from glimpses.utils.errors import GlimpsesError
from glimpses.utils.files import check_writable
from glimpses.video import FrameRate

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainedRun:
    """What training leaves behind.

    Attributes:
        run: its folder.
        validation: accuracy (mAP for multi-label data) on the validation clips at the epoch kept.
        best_epoch: the epoch whose weights were kept, from 1.
        curves: one number per epoch under each name.
        failures: clips that could not be read and were left out.
        videos: whether it was trained on videos, and so can be shown others.
    """

    run: Path
    validation: float
    best_epoch: int
    curves: dict[str, list[float]]
    failures: dict[str, str]
    videos: bool = True

    def to_json(self) -> dict[str, Any]:
        """Everything, for programs."""
        return {
            "run": str(self.run),
            "validation": self.validation,
            "best_epoch": self.best_epoch,
            "curves": self.curves,
            "failures": self.failures,
        }

    def __str__(self) -> str:
        look = f"\n  glimpses predict {self.run} VIDEO --overlay overlay.mp4" if self.videos else ""
        return (
            f"{self.run}: trained; epoch {self.best_epoch} of {len(self.curves[MONITOR])} was "
            f"kept, {self.validation:.1%} on validation clips\n"
            f"next:\n"
            f"  glimpses evaluate {self.run}{look}"
        )


def train(
    data: Path,
    *,
    out: Path,
    layout: Layout = "auto",
    split: str | None = None,
    model: Literal["attention", "average", "max", "softmax", "authors"] = "attention",
    form: Literal["location", "content"] = "content",
    glimpse: Literal["soft", "hard"] = "soft",
    motion: bool = False,
    motion_alone: bool = False,
    follow_motion: bool = False,
    backbone: str = backbones.DEFAULT,
    fps: FrameRate = 10.0,
    reuse: float = 0.0,
    steps: int = 10,
    train_stride: int | None = None,
    stride: int | None = None,
    last_steps: int | None = None,
    vote: Literal["mean", "majority"] = "mean",
    hidden: int = 128,
    attention_size: int = 64,
    layers: int = 3,
    dropout: float = 0.2,
    authors: AuthorsOptions | None = None,
    standardise: bool = True,
    attention_penalty: float = 0.0,
    attention_target: Literal["one", "share"] = "one",
    weight_decay: float = 1e-5,
    optimiser: Literal["adam", "sgd"] = "adam",
    learning_rate: float = 2e-3,
    schedule: Literal["one-cycle", "constant"] = "one-cycle",
    batch: int = 32,
    epochs: int = 30,
    patience: int | None = None,
    keep: Literal["best", "last"] = "best",
    folds: int = 5,
    fold: int = 0,
    seed: int = 0,
    precision: Literal["32-true", "16-mixed", "bf16-mixed"] = "32-true",
    device: str = "cpu",
    store: Path | None = None,
    overwrite: bool = False,
) -> TrainedRun:
    """Train a recogniser on a folder of labelled clips, extracting the features that are missing.

    Killed at any moment, the same call goes on from the last whole epoch and ends with the same
    weights.

    Args:
        data: folder with one folder of clips per action; UCF-11, HMDB-51 or Hollywood2 as their
            distributors ship them; or a folder of imported features.
        out: folder of the run; made if it is not there.
        layout: how the data lies on disk; "auto" finds out.
        split: name of one of the data set's own splits, or "folds" to deal sources anew; by default
            its first split, if it has any: `listed` (a folder's own lists), `paper` (UCF-11), `1`
            (HMDB-51), `clean` (Hollywood2).
        model: the paper's soft attention, or one of its baselines: LSTMs on average- or max-pooled
            cubes, softmax regression on the whole cube; or the model that the `authors` released.
        form: what the location softmax sees: the hidden state alone (`location`, Eq. 1), or the
            features of every place as well (`content`, the authors' code).
        glimpse: what attention takes from the location softmax: the mean of all places under it
            (`soft`, Eq. 2), or one place drawn from it (`hard`), learned by REINFORCE.
        motion: whether a place's features have beside them how much each has changed since the
            frame before (the paper's have not); not for `softmax` and `authors`.
        motion_alone: with `motion`, whether that change is all that is read of a place, as is
            better where features are of the last stage and clips are few.
        follow_motion: whether attention is drawn to the places that change most in a block (the
            paper's is not), as it helps where clips are real and few.
        backbone: CNN and stage, as in `efficientnet_lite0:16:7`; with two stages, as in
            `efficientnet_lite0:head+16`, attention is multi-resolution; see
            docs/how-it-works.md.
        fps: frames per second to sample; "native" keeps every frame (30 in the paper).
        reuse: difference in grey levels (mean over a frame's pixels, of 255) below which a frame
            takes the cube of the last one that was computed; 0 to compute every frame.
        steps: length of a block in frames, T (30 in the paper).
        train_stride: distance of the training blocks of a clip in frames (1 in the paper); if not
            given, blocks are drawn at random anew every epoch, enough to cover each clip once, or
            more often where there are few clips.
        stride: distance of the blocks averaged in testing; `steps` if not given (1 in the paper).
        last_steps: how many steps at the end of a block make its prediction; all if not given, as
            in the paper (16 of 30 for some sets in the authors' code).
        vote: how a clip's blocks make its prediction: their `mean` (the paper), or the `majority`
            of the classes that lead in them (the authors' code; for one action a clip).
        hidden: size of hidden and cell state, d (512 or 1024 in the paper).
        attention_size: width of the layer in which `content` compares places with the state.
        layers: LSTM layers.
        dropout: share of non-recurrent connections dropped (0.5 in the paper).
        authors: options of the authors' model.
        standardise: whether every channel is brought to mean 0 and deviation 1 first (the paper
            takes features as they are).
        attention_penalty: lambda of Eq. 7.
        attention_target: how often each place should be looked at in a block: `one` time (Eq. 7)
            or its fair `share`, T/K^2.
        weight_decay: gamma of Eq. 7.
        optimiser: Adam, or plain SGD without momentum.
        learning_rate: of the optimiser; the highest of its cycle.
        schedule: of the learning rate: `one-cycle` climbs in the first tenth of all batches and
            falls to nothing at the end (Smith and Topin, "Super-convergence", 2018); `constant`,
            as in the paper.
        batch: blocks in a batch.
        epochs: at most.
        patience: epochs without a better validation score after which training stops; None to
            go through all of them.
        keep: whose weights are kept: those of the epoch that did `best` on the validation clips, or
            of the `last`. A few dozen clips choose no better than chance.
        folds: into how many parts the source videos are dealt; one of them is the test set.
        fold: which of them, from 0.
        seed: of the split, the weights, the order and dropout.
        precision: of the arithmetic; mixed precision is for GPUs.
        device: "cpu" or "cuda".
        store: where features are kept; by default in the user's cache folder.
        overwrite: whether a different run in `out` may be replaced.

    Returns:
        The trained run.

    Raises:
        GlimpsesError: the data cannot be used, or `out` holds a run with other settings.
    """
    require_sound(locals())
    settings = {
        "standardise": standardise,
        "train_stride": train_stride,
        "attention_penalty": attention_penalty,
        "attention_target": attention_target,
        "weight_decay": weight_decay,
        "optimiser": optimiser,
        "learning_rate": learning_rate,
        "schedule": schedule,
        "batch": batch,
        "epochs": epochs,
        "patience": patience,
        "keep": keep,
        "folds": folds,
        "fold": fold,
        "seed": seed,
        "precision": precision,
    }
    data, out, store = Path(data), Path(out), None if store is None else Path(store)
    _require_place(out)
    dataset = datasets.load(data, layout)
    if vote == "majority" and dataset.multi_label:
        raise GlimpsesError(
            f"--vote majority: needs one action a clip, and {data} has clips of several; leave it "
            "out"
        )
    divided = datasets.split(dataset, split, folds=folds, fold=fold, seed=seed)
    warn_ungrouped(dataset)

    def gathered(clips: Sequence[Clip]) -> Features:
        return open_features(
            dataset,
            backbone,
            clips=clips,
            fps=fps,
            skip_static=reuse,
            feature_dir=store,
            device=device,
        )

    def configured(features: Features, divided: Split) -> RunConfig:
        return RunConfig(
            classes=dataset.classes,
            multi_label=dataset.multi_label,
            backbone=features.backbone,
            weights=features.weights,
            fps=features.fps,
            reuse=features.skip_static,
            size=features.size,
            steps=steps,
            stride=stride or steps,
            last_steps=last_steps,
            vote=vote,
            model=ModelConfig(
                kind=model,
                form=form,
                classes=len(dataset.classes),
                places=features.grid**2,
                channels=features.channels,
                fine_channels=features.fine_channels,
                fine_ratio=features.fine_ratio,
                glimpse=glimpse,
                motion=motion,
                motion_alone=motion_alone,
                follow_motion=follow_motion,
                hidden=hidden,
                attention_size=attention_size,
                layers=1 if model == "authors" else layers,
                dropout=dropout,
                authors=(authors or AuthorsOptions()) if model == "authors" else None,
            ),
            training={**settings, "split": divided.name},
            data=str(data.resolve()),
            layout=dataset.layout,
            store=None if store is None else str(store.resolve()),
            split={
                "train": tuple(clip.id for clip in divided.train),
                "validation": tuple(clip.id for clip in divided.validation),
                "test": tuple(clip.id for clip in divided.test),
            },
            seen=tuple(
                sorted({features.clips[c.id].digest for c in (*divided.train, *divided.validation)})
            ),
        )

    if (out / runs.CONFIG).exists() and not overwrite:
        # Only reading clips tells which can be read, and may take hours; settings are known before.
        _require_same(out, configured(gathered(()), Split((), (), (), divided.name)), clips=False)
    used = sorted((*divided.train, *divided.validation, *divided.test), key=lambda clip: clip.id)
    features = gathered(used)
    divided = _readable(divided, features, dataset.classes)
    config = configured(features, divided)
    _prepare(out, config, overwrite=overwrite)
    if not (out / runs.WEIGHTS).exists():
        fit(out, config, divided, features, device)
    if not (out / runs.CARD).exists():
        model_card.write(out)
    curves = runs.read_curves(out)
    kept = kept_epoch(curves[MONITOR], keep) - 1
    return TrainedRun(
        run=out,
        validation=curves["validation accuracy"][kept],
        best_epoch=kept + 1,
        curves=curves,
        failures=dict(features.failures),
        videos=dataset.layout != "stored",
    )


def require_sound(given: Mapping[str, Any]) -> None:
    """Refuse arguments of `train` that cannot work, before any work is done.

    Args:
        given: arguments by name; others have their defaults.

    Raises:
        GlimpsesError: one of them is none of its choices or out of range, or two of them do not go
            together.
    """
    parameters = inspect.signature(train).parameters
    every = {name: one.default for name, one in parameters.items()} | dict(given)
    for name, hint in get_type_hints(train).items():
        choices = get_args(hint) if get_origin(hint) is Literal else ()
        if choices and every[name] not in choices:
            raise GlimpsesError(
                f"--{name.replace('_', '-')} {every[name]}: must be one of {', '.join(choices)}"
            )

    def within(least: float, most: float | None, *names: str) -> None:
        _require_range(least, most, **{name: every[name] for name in names})

    within(1, None, "steps", "batch", "epochs", "patience", "hidden", "attention_size", "layers")
    within(0, None, "attention_penalty", "weight_decay", "reuse")
    within(1e-12, None, "learning_rate")
    within(0, 0.99, "dropout")
    within(0, 2**32 - 1, "seed")
    # A longer stride would leave frames in no block.
    within(1, every["steps"], "stride", "train_stride", "last_steps")
    if every["fps"] != "native":
        within(1e-3, None, "fps")
    model, authors = every["model"], every["authors"]
    if every["precision"] != "32-true" and not every["device"].startswith("cuda"):
        raise GlimpsesError(f"--precision {every['precision']}: is for GPUs; add --device cuda")
    if authors is not None and model != "authors":
        raise GlimpsesError(f"--model {model}: takes no --authors options; use --model authors")
    if authors is not None:
        for name, value in authors.counts().items():
            _require_range(1, None, **{f"authors.{name}": value})
        sharpness = {"authors.inverse_temperature": authors.inverse_temperature}
        _require_range(1e-12, 1e12, **sharpness)
    if every["motion"] and model not in ("attention", "average", "max"):
        raise GlimpsesError(f"--motion: is not for --model {model}; leave it out")
    if every["motion_alone"] and not every["motion"]:
        raise GlimpsesError("--motion-alone: without --motion nothing would be read; add --motion")
    if every["follow_motion"] and model != "attention":
        raise GlimpsesError(f"--follow-motion: is not for --model {model}; leave it out")
    if every["glimpse"] == "hard" and model != "attention":
        raise GlimpsesError(f"--model {model}: has no --glimpse hard; use --model attention")
    if every["glimpse"] == "hard" and every["attention_penalty"]:
        raise GlimpsesError(
            "--attention-penalty: has no derivative where one place is chosen; it is for "
            "--glimpse soft"
        )


def _require_range(least: float, most: float | None, **settings: float | None) -> None:
    for name, value in settings.items():
        if value is not None and not least <= value <= (most or np.inf):
            limits = f"at least {least}" if most is None else f"from {least} to {most}"
            raise GlimpsesError(f"--{name.replace('_', '-')} {value}: must be {limits}")


def _require_place(out: Path) -> None:
    """Refuse a folder that is not free for a run, before any work is done."""
    check_writable(out)
    if out.is_dir() and not (out / runs.CONFIG).exists() and any(out.iterdir()):
        raise GlimpsesError(f"{out}: is not empty and holds no run; give --out a new folder")


def _readable(split: Split, features: Features, classes: Sequence[str]) -> Split:
    """The split without the clips that could not be read."""
    sides: dict[str, Any] = {
        name: tuple(clip for clip in getattr(split, name) if clip.id in features.clips)
        for name in ("train", "validation", "test")
    }
    for name in ("train", "validation"):
        if not sides[name]:
            raise GlimpsesError(
                f"no {name} clip can be read; run `glimpses check` on the folder to see why"
            )
    present = {label for clip in sides["train"] for label in clip.labels}
    for label, name in enumerate(classes):
        if label not in present:
            raise GlimpsesError(
                f"no clip of class '{name}' is left for training; run `glimpses check` on the "
                "folder to see what is broken, and see that the lists of the split have some"
            )
    return Split(**sides, name=split.name)


def _differences(out: Path, config: RunConfig, *, clips: bool = True) -> list[str]:
    """What sets the run in a folder apart from this one; a run that cannot be read is another."""
    try:
        runs.read_curves(out)
        there = runs.read_config(out)
    except GlimpsesError as error:
        return [str(error)]
    return there.differences(
        config if clips else replace(config, split=there.split, seen=there.seen)
    )


def _require_same(out: Path, config: RunConfig, *, clips: bool = True) -> None:
    """Refuse a folder whose run is another, in its settings or, if asked, in its clips."""
    if differences := _differences(out, config, clips=clips):
        raise GlimpsesError(
            f"{out}: holds a run with other settings: {', '.join(differences[:4])}; give another "
            "--out, or (glimpses train) --overwrite to replace it"
        )


def _prepare(out: Path, config: RunConfig, *, overwrite: bool) -> None:
    """Make the run's folder, or make sure that what is in it is the same run."""
    if not (out / runs.CONFIG).exists():
        runs.write_config(out, config)
    elif not overwrite:
        _require_same(out, config)
    elif _differences(out, config):
        for name in (runs.WEIGHTS, runs.CURVES, runs.SCORES, runs.CARD):
            (out / name).unlink(missing_ok=True)
        for name in ("checkpoints", "tensorboard"):
            shutil.rmtree(out / name, ignore_errors=True)
        runs.write_config(out, config)
