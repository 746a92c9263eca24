"""Training of a run, from a folder of clips to a folder with a trained model."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, get_args

import msgspec

from glimpses import datasets, runs
from glimpses.datasets import ActionDataset, Clip, Split
from glimpses.datasets.copies import join_copies
from glimpses.datasets.groups import warn_ungrouped
from glimpses.datasets.splits import require_divisible
from glimpses.evaluation import describe_calibration, fit_calibration, require_threshold
from glimpses.evaluation.fit_segments import fit_segments
from glimpses.features import Features, clip_digests, open_features
from glimpses.features.recordings import whole
from glimpses.models import CubeShape, ModelConfig, ModelOptions
from glimpses.runs import (
    AUTO_THRESHOLD,
    MONITOR,
    Calibration,
    DataOptions,
    OptimOptions,
    RunConfig,
    ScoreRecord,
    Threshold,
    kept_epoch,
    model_card,
)
from glimpses.training.budget import parse_budget
from glimpses.training.options import DataGroup, ModelGroup, OptimGroup, TrainOptions
from glimpses.training.recipes import RECIPES, RecipeName, override
from glimpses.training.resolve import TUNING, resolve
from glimpses.training.split_summary import SubsetSize, describe_split, subset_sizes, warn_few
from glimpses.training.trainer import fit
from glimpses.utils.errors import GlimpsesError, describe_unreadable
from glimpses.utils.files import check_writable, quote_path
from glimpses.utils.options import COMMON, InvalidOptionError, require_int, require_name

log = logging.getLogger(__name__)

#: Folder of the folds in a run of `glimpses crossvalidate`.
FOLDS_DIR = "folds"
#: Folder of the run that was trained without the validation clips, in a run with `refit`.
HELD_OUT_DIR = "held-out"


@dataclass(frozen=True)
class TrainedRun:
    """Result of a training.

    Attributes:
        run: folder of the run.
        validation: scores on the validation clips at the kept epoch; None if there are none.
        best_epoch: epoch whose weights were kept, from 1.
        subsets: number of clips and recordings of each subset.
        curves: values by epoch, by name.
        calibration: temperature and threshold of the run.
        failures: reasons of the clips that could not be read, by clip id; they were left out.
        checkpoint: `OptimOptions.checkpoint`.
        videos: whether the data set has videos, and not only features.
        recordings: whether it has long recordings with segments.
        held_out: whether the validation score is that of a run that was trained without these
            clips, whereas this one was trained on all.
    """

    run: Path
    validation: ScoreRecord | None
    best_epoch: int
    subsets: dict[str, SubsetSize]
    curves: dict[str, list[float]]
    calibration: Calibration
    failures: dict[str, str]
    checkpoint: str | int = "best"
    videos: bool = True
    recordings: bool = False
    held_out: bool = False

    @property
    def ok(self) -> bool:
        """True if every clip could be read."""
        return not self.failures

    @property
    def complaints(self) -> tuple[str, ...]:
        """One line if clips could not be read; a warning has given the reason of each."""
        total = sum(size.clips for size in self.subsets.values())
        return describe_unreadable(self.failures, total + len(self.failures))

    def to_json(self) -> dict[str, Any]:
        """Return everything in JSON's types."""
        names = ("best_epoch", "curves", "failures", "subsets", "calibration")
        values = {name: msgspec.to_builtins(getattr(self, name)) for name in names}
        validation = self.validation and self.validation.to_json()
        return {"run": str(self.run), "validation": validation, **values}

    def __str__(self) -> str:
        epochs = len(self.curves[MONITOR])
        lines = [f"{self.run}: trained; kept epoch {self.best_epoch} of {epochs}"]
        if self.validation is not None:
            chosen = "; optimistic, since these clips chose the epoch"
            lines.append(self.validation.headline + (chosen if self.checkpoint == "best" else ""))
        if self.held_out:
            lines.append(
                "that is the score of a model that was trained without the validation clips; the "
                f"run is then trained on all {self.subsets['train'].clips} clips outside the test "
                "subset"
            )
        lines.append(describe_calibration(self.calibration))
        return "\n".join([*lines, *self.next_commands()])

    def next_commands(self) -> list[str]:
        """Return the commands to run next, as lines."""
        run, test = quote_path(self.run), self.subsets["test"].clips
        lines = ["next:"]
        if test:
            lines.append(f"  glimpses evaluate {run}   # score on the {test} test clips")
        return [*lines, *self.predict_command()] if test or self.videos else []

    def predict_command(self) -> list[str]:
        """Return the command that predicts a video, as lines, if the run was trained on videos."""
        if not self.videos:
            return []
        result = "--segments out.csv" if self.recordings else "--overlay overlay.mp4"
        return [f"  glimpses predict {quote_path(self.run)} VIDEO {result}"]


def train(
    clips: str | Path,
    /,
    *,
    out: Annotated[str | Path, COMMON],
    recipe: Annotated[RecipeName, COMMON] = "auto",
    budget: Annotated[str | None, COMMON] = None,
    data: DataGroup = None,
    model: ModelGroup = None,
    optim: OptimGroup = None,
    threshold: str = "auto",
    seed: Annotated[int, COMMON] = 0,
    device: Annotated[str, COMMON] = "cpu",
    overwrite: bool = False,
) -> TrainedRun:
    """Train a recogniser on a folder of labelled clips; extract the features that are missing.

    If it is killed, the same call continues from the last whole epoch and ends with the same
    weights.

    Args:
        clips: folder with one folder of clips per action, folders of subsets, a table of labels, a
            public set as distributed, or imported features; see docs/data.md.
        out: folder of the run; created if it does not exist.
        recipe: options for one kind of data (docs/recipes.md), or `auto`: compare some models by
            cross-validation, without the test clips. Options that you give override the recipe's.
        budget: time that `auto` may take: 90s, 2m, 1h or none; default: about the time that the
            extraction of features takes, at least a minute.
        data: options of clips, features and blocks.
        model: options of the model.
        optim: options of the optimisation.
        threshold: probability below which a prediction is unsure: `auto`, `none` or a number.
        seed: seed of the split, the weights, the order of blocks and dropout.
        device: "cpu" or "cuda".
        overwrite: replace a run with other options in `out`.

    Raises:
        GlimpsesError: an option or the data cannot be used, or `out` holds a run with other
            options.
    """
    user_options = TrainOptions(
        data or DataOptions(), model or ModelOptions(), optim or OptimOptions()
    )
    require_name("recipe", recipe, get_args(RecipeName))
    rule, seconds = Threshold.parse(threshold), parse_budget(budget)
    dataset = load_for_training(clips, out, checked_options(recipe, user_options), seed, device)
    require_threshold(rule, dataset.classes, multi_label=dataset.multi_label)
    data = user_options.data
    split = datasets.split(
        dataset, data.split, folds=data.folds, fold=data.fold, seed=seed,
        allow_shared_groups=data.allow_shared_groups,
    )  # fmt: skip
    warn_few(dataset, split.test, ", or test all of them with `glimpses crossvalidate`")
    options, name = resolve(
        recipe, dataset, split, user_options, out=Path(out), budget=seconds, seed=seed,
        overwrite=overwrite, **selection_arguments(dataset, clips, split, seed, device),
    )  # fmt: skip
    check_options(options.model, options.optim, seed, device)
    if not options.optim.refit and overwrite:
        shutil.rmtree(Path(out) / HELD_OUT_DIR, ignore_errors=True)
    train_once = _refit if options.optim.refit and split.validation else train_split
    return train_once(
        dataset, split, out=out, data_dir=clips, options=options, seed=seed, device=device,
        overwrite=overwrite, rule=rule, recipe=name,
    )  # fmt: skip


def checked_options(recipe: RecipeName, user_options: TrainOptions) -> TrainOptions:
    """Return the options that are known before a model is chosen.

    Raises:
        InvalidOptionError: the recipe and the options do not go together.
    """
    if recipe == "auto":
        return user_options
    return override(RECIPES[recipe].options, user_options)


def selection_arguments(
    dataset: ActionDataset,
    clips: str | Path,
    split: Split,
    seed: int,
    device: str,
) -> dict[str, Any]:
    """Return the arguments of `selection.select` that say how features and runs are made."""

    def open_backbone(options: DataOptions) -> Features:
        return _open_features(dataset, options, split.clips, device)

    def configure(options: TrainOptions, features: Features, part: Split) -> RunConfig:
        return _run_config(Path(clips), dataset, options, seed, features, part)

    return {"device": device, "open_features": open_backbone, "configure": configure}


def load_for_training(
    clips: str | Path, out: str | Path | None, options: TrainOptions, seed: int, device: str
) -> ActionDataset:
    """Load a data set, after a check of everything that can be wrong before any work is done.

    Raises:
        GlimpsesError: an option or the data cannot be used, or `out` is in use for something else.
    """
    check_options(options.model, options.optim, seed, device)
    if out is not None:
        _require_free(Path(out))
    data = options.data
    dataset = datasets.load(Path(clips), data.layout, unlabelled=data.unlabelled)
    if data.aggregate == "majority" and dataset.multi_label:
        problem = f"needs one action per clip, and {clips} has clips with several"
        raise InvalidOptionError(f"--aggregate majority: {problem}; leave it out")
    warn_ungrouped(dataset)
    require_divisible(dataset, data.split)
    return join_copies(dataset, clip_digests(dataset, dataset.clips), data.split)


def train_split(
    dataset: ActionDataset,
    split: Split,
    *,
    out: str | Path,
    data_dir: str | Path,
    options: TrainOptions,
    seed: int,
    device: str,
    overwrite: bool,
    rule: Threshold = AUTO_THRESHOLD,
    recipe: str = "standard",
) -> TrainedRun:
    """Train one run on one split of a data set, or continue its training.

    Args:
        dataset: the data set.
        split: its clips for training, validation and test.
        out: folder of the run.
        data_dir: folder that the data set was loaded from.
        options: options of the training.
        seed: seed of the weights, the order of blocks and dropout.
        device: "cpu" or "cuda".
        overwrite: replace a run with other options in `out`.
        rule: rule to choose the threshold by.
        recipe: name of the recipe that the options come from.

    Raises:
        GlimpsesError: no clip of a subset can be read, or `out` holds a run with other options.
    """
    clips, out, data = Path(data_dir), Path(out), options.data
    if (out / runs.CONFIG).exists() and not overwrite:
        # Reading all clips may take hours; other options are known before.
        features = _open_features(dataset, data, (), device)
        no_clips = Split((), (), (), split.name)
        config = _run_config(clips, dataset, options, seed, features, no_clips)
        _require_same(out, config, compare_clips=False)
    features = _open_features(dataset, data, split.clips, device)
    split = _readable(split, features, dataset.classes)
    config = _run_config(clips, dataset, options, seed, features, split, recipe)
    _prepare(out, config, overwrite=overwrite)
    if not (out / runs.WEIGHTS).exists():
        log.info("%s", describe_split(dataset, split))
        fit(out, config, split, features, device, grouped=dataset.grouped)
    calibration = _calibrate(out, rule, split, features, device)
    if dataset.untrimmed:
        _fit_segments(out, dataset, split, features, device)
    if not (out / runs.CARD).exists():
        model_card.write(out)
    curves = runs.read_curves(out)
    epoch = kept_epoch(curves[MONITOR], config.checkpoint) - 1
    scores = [score for score in runs.read_scores(out) if score.subset == "validation"]
    return TrainedRun(
        run=out, validation=scores[0] if scores else None, best_epoch=epoch + 1,
        subsets=subset_sizes(split), curves=curves, calibration=calibration,
        failures=dict(features.failures), checkpoint=config.checkpoint, videos=dataset.has_videos,
        recordings=dataset.untrimmed,
    )  # fmt: skip


def _refit(
    dataset: ActionDataset, split: Split, *, out: str | Path, options: TrainOptions, **common: Any
) -> TrainedRun:
    """Train a run on the training and validation clips, after one that leaves the latter out.

    The first run, in `HELD_OUT_DIR`, gives the epoch, the calibration, the options of segments and
    the validation score. The arguments are those of `train_split`.
    """
    out = Path(out)
    other = (out / runs.CONFIG).exists() and not (out / HELD_OUT_DIR).exists()
    if other and not common["overwrite"]:
        raise GlimpsesError(
            f"{out}: is a run with other options; give another --out, or --overwrite to replace it"
        )
    first = train_split(dataset, split, out=out / HELD_OUT_DIR, options=options, **common)
    outside = {clip.id for clip in (*split.train, *split.validation)}
    train_clips = tuple(clip for clip in dataset.clips if clip.id in outside)
    every = Split(train_clips, (), split.test, split.name)
    optim = replace(options.optim, checkpoint=first.best_epoch, patience=None)
    trained = train_split(dataset, every, out=out, options=options._replace(optim=optim), **common)
    config, held_out = runs.read_config(out), runs.read_config(first.run)
    if config.calibration != held_out.calibration:
        fitted = {name: getattr(held_out, name) for name in ("calibration", "segment_decoding")}
        runs.write_config(out, replace(config, **fitted))
        if first.validation is not None:
            model_card.record_score(out, first.validation)
    return replace(
        trained, calibration=first.calibration, validation=first.validation, held_out=True,
        checkpoint=options.optim.checkpoint,
    )  # fmt: skip


def check_options(model: ModelOptions, optim: OptimOptions, seed: int, device: str) -> None:
    """Refuse options that do not go together, before any work is done.

    Raises:
        InvalidOptionError: an option is out of range or does not go with another one.
    """
    require_int("seed", seed, 0, 2**32 - 1)
    if optim.precision != "32-true" and not device.startswith("cuda"):
        raise InvalidOptionError(f"--precision {optim.precision}: needs a GPU; add --device cuda")
    if model.attention_mode == "hard" and optim.attention_penalty:
        problem = "has no gradient with --attention-mode hard; leave one of them out"
        raise InvalidOptionError(f"--attention-penalty: {problem}")


def _calibrate(
    out: Path, rule: Threshold, split: Split, features: Features, device: str
) -> Calibration:
    """Fit temperature and threshold of a trained run on its validation clips, if not done."""
    config, model = runs.load_model(out)
    rule = Threshold() if config.multi_label else rule
    if config.calibration is not None and config.calibration.rule == rule:
        return config.calibration
    if not split.validation:
        return Calibration(rule=rule)
    calibration = fit_calibration(
        config, model.to(device), split.validation,
        [features.clips[clip.id] for clip in split.validation], rule, data="validation clips",
    )  # fmt: skip
    runs.write_config(out, replace(config, calibration=calibration))
    return calibration


def _fit_segments(
    out: Path, dataset: ActionDataset, split: Split, features: Features, device: str
) -> None:
    """Choose the options of segments on the validation recordings, if not done."""
    config, model = runs.load_model(out)
    if config.segment_decoding is None:
        recordings = {clip.recording: whole(features.clips[clip.id]) for clip in split.validation}
        decoding = fit_segments(config, model.to(device), recordings, dataset.segments)
        if decoding is not None:
            runs.write_config(out, replace(config, segment_decoding=decoding))


def _open_features(
    dataset: ActionDataset, data: DataOptions, clips: Sequence[Clip], device: str
) -> Features:
    return open_features(
        dataset, data.backbone, clips=clips, fps=data.fps, skip_static=data.skip_static,
        feature_dir=data.feature_dir, device=device,
    )  # fmt: skip


def _run_config(
    clips: Path,
    dataset: ActionDataset,
    options: TrainOptions,
    seed: int,
    features: Features,
    split: Split,
    recipe: str = "standard",
) -> RunConfig:
    """Return the config of a run, with what "auto" and defaults stand for in its data options."""
    data, model, optim = options
    subsets = {"train": split.train, "validation": split.validation, "test": split.test}
    seen = {features.clips[clip.id].digest for clip in (*split.train, *split.validation)}
    cube = CubeShape(
        features.grid**2,
        features.channels,
        features.fine_channels,
        features.fine_ratio,
        features.flow_channels,
    )
    data = replace(
        data, layout=dataset.layout, split=split.name, backbone=features.backbone,
        fps=features.fps, skip_static=features.skip_static,
        feature_dir=data.feature_dir and data.feature_dir.resolve(), stride=data.block_stride,
    )  # fmt: skip
    return RunConfig(
        classes=dataset.classes, multi_label=dataset.multi_label, data_dir=str(clips.resolve()),
        data=data, model=ModelConfig(model, num_classes=len(dataset.classes), cube=cube),
        optim=optim, recipe=recipe, seed=seed, backbone_weights=features.weights,
        frame_size=features.size,
        clips={name: tuple(clip.id for clip in subset) for name, subset in subsets.items()},
        seen=tuple(sorted(seen)),
    )  # fmt: skip


def _require_free(out: Path) -> None:
    """Refuse a folder that is in use for something else, before any work is done."""
    check_writable(out)
    if (out / runs.CONFIG).exists() or not out.is_dir():
        return
    # A comparison of models that was made for this run, and the runs that it rests on.
    if {file.name for file in out.iterdir()} - {FOLDS_DIR, HELD_OUT_DIR, TUNING}:
        raise GlimpsesError(f"{out}: is not empty and is not a run; give --out a new folder")


def _readable(split: Split, features: Features, classes: Sequence[str]) -> Split:
    """Return the split without the clips that could not be read."""
    subsets: dict[str, Any] = {
        name: tuple(clip for clip in getattr(split, name) if clip.id in features.clips)
        for name in ("train", "validation", "test")
    }
    for name in ("train", "validation"):
        if not subsets[name] and getattr(split, name):
            advice = "run `glimpses check` on the folder to see why"
            raise GlimpsesError(f"no {name} clip can be read; {advice}")
    trained = {label for clip in subsets["train"] for label in clip.labels}
    for label, name in enumerate(classes):
        if label not in trained:
            raise GlimpsesError(
                f"no clip of class '{name}' is left for training; run `glimpses check` on the "
                "folder to see what is broken, and see that the lists of the split have some"
            )
    return Split(**subsets, name=split.name)


def _differences(out: Path, config: RunConfig, *, compare_clips: bool = True) -> list[str]:
    """Return the differences from the run in a folder, or why that cannot be read."""
    try:
        runs.read_curves(out)
        existing = runs.read_config(out)
    except GlimpsesError as error:
        return [str(error)]
    if not compare_clips:
        config = replace(config, clips=existing.clips, seen=existing.seen)
    return existing.differences(config)


def _require_same(out: Path, config: RunConfig, *, compare_clips: bool = True) -> None:
    """Refuse a folder whose run has other options or, if asked, other clips."""
    if differences := _differences(out, config, compare_clips=compare_clips):
        raise GlimpsesError(
            f"{out}: is a run with other options: {', '.join(differences[:4])}; give another "
            "--out, or (glimpses train) --overwrite to replace it"
        )


def _prepare(out: Path, config: RunConfig, *, overwrite: bool) -> None:
    """Create the run's folder, or make sure that the run in it is the same."""
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
