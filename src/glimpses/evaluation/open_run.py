"""Trained runs opened together with clips to evaluate and their features."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch

from glimpses import datasets, runs
from glimpses.datasets import ActionDataset, Clip, Unlabelled, is_background
from glimpses.features import ClipFeatures, Features, open_features
from glimpses.inference import Recogniser
from glimpses.models import ActionModel
from glimpses.utils.errors import GlimpsesError, pluralise

log = logging.getLogger(__name__)

#: Subsets of a run's split.
Subset = Literal["test", "validation", "train", "all"]


@dataclass(frozen=True)
class OpenedRun:
    """Trained run with clips and their features.

    Attributes:
        run: folder of the run.
        config: its settings.
        model: its model, on the requested device.
        dataset: data set of the clips.
        clips: the readable clips, with labels that index the run's classes.
        features: features of the clips, and why others could not be read.
        subset: subset of the clips.
    """

    run: Path
    config: runs.RunConfig
    model: ActionModel
    dataset: ActionDataset
    clips: tuple[Clip, ...]
    features: Features
    subset: Subset

    @property
    def device(self) -> torch.device:
        """The device of the model."""
        return next(self.model.parameters()).device

    @property
    def cubes(self) -> list[ClipFeatures]:
        """Features of the clips, in their order."""
        return [self.features.clips[clip.id] for clip in self.clips]


def open_run(
    run: str | Path | Recogniser,
    *,
    data: str | Path | None = None,
    subset: Subset | None = None,
    feature_dir: str | Path | None = None,
    device: str = "cpu",
) -> OpenedRun:
    """Load a run and the features of unseen clips.

    Args:
        run: folder of the run, or a recogniser, which stays on its own device.
        data: folder of a data set; that of training if not given. Clips whose video was used in
            training are left out unless `subset` asks for them.
        subset: subset of the run's own split; "all" takes every clip of `data`.
        feature_dir: folder for features; that of the run if not given.
        device: "cpu" or "cuda".

    Raises:
        GlimpsesError: the run or the data cannot be used, their classes do not match, or no
            unseen clip is left.
    """
    data = None if data is None else Path(data)
    if isinstance(run, Recogniser):
        config, model, device = run.config, run.model, str(run.device)
        run = run.run or Path("this recogniser")
    else:
        run = Path(run)
        config, model = runs.load_model(run)
    if data is None and not config.data_dir:
        raise GlimpsesError(f"{run}: was imported without a data set; give one with --data")
    if data is None and not Path(config.data_dir).is_absolute():
        raise GlimpsesError(
            f"{run}: was trained on another machine, on {config.data_dir}; give its folder with "
            "--data"
        )
    is_training_data = data is None or data.resolve() == Path(config.data_dir)
    dataset = datasets.load(
        Path(config.data_dir) if data is None else data,
        config.data.layout if is_training_data else "auto",
        unlabelled=_unlabelled(config),
    )
    clips = _map_labels(dataset, config.classes)
    chosen = subset or ("test" if is_training_data else "all")
    if chosen != "all":
        clips = _select_subset(clips, chosen, run, config, dataset.root)
    features = _open_features(run, config, dataset, clips, feature_dir, device)
    clips = [clip for clip in clips if clip.id in features.clips]
    if subset is None:
        clips = _drop_training_videos(clips, features, config, dataset.root)
    return OpenedRun(run, config, model.to(device), dataset, tuple(clips), features, chosen)


def open_other_run(
    run: str | Path,
    opened: OpenedRun,
    *,
    feature_dir: str | Path | None = None,
    device: str = "cpu",
) -> OpenedRun:
    """Load another run for the clips of an open one; backbone and classes may differ.

    Clips that the other run was trained on are kept, with a warning.

    Args:
        run: folder of the other run.
        opened: the open run. Clips that cannot be read for the other run are left out; labels keep
            indexing the classes of the open run.
        feature_dir: folder for features; that of the other run if not given.
        device: "cpu" or "cuda".

    Raises:
        GlimpsesError: the run cannot be used, or no clip can be read for it.
    """
    run = Path(run)
    config, model = runs.load_model(run)
    features = _open_features(run, config, opened.dataset, opened.clips, feature_dir, device)
    clips = tuple(clip for clip in opened.clips if clip.id in features.clips)
    trained_on = sum(features.clips[clip.id].digest in set(config.seen) for clip in clips)
    if trained_on:
        log.warning("%s: was trained on %d of these %d clips", run, trained_on, len(clips))
    return OpenedRun(run, config, model.to(device), opened.dataset, clips, features, opened.subset)


def open_training_clips(opened: OpenedRun) -> tuple[list[Clip], Features] | None:
    """Return the clips that a run was trained on and their features; None if they are not there.

    Only clips of the open data set are looked for, and none of those that are open.
    """
    ids = set(opened.config.clips.get("train", ())) - {clip.id for clip in opened.clips}
    clips = [clip for clip in _map_labels(opened.dataset, opened.config.classes) if clip.id in ids]
    if not clips or not any(clip.path.exists() for clip in clips):
        return None
    features = _open_features(
        opened.run, opened.config, opened.dataset, clips,
        opened.features.folder.parent if opened.dataset.has_videos else None, str(opened.device),
    )  # fmt: skip
    return [clip for clip in clips if clip.id in features.clips], features


def _open_features(
    run: Path,
    config: runs.RunConfig,
    dataset: ActionDataset,
    clips: Sequence[Clip],
    feature_dir: str | Path | None,
    device: str,
) -> Features:
    """Open features of the kind that the run was trained on."""
    if feature_dir is None and config.data.feature_dir is not None:
        feature_dir = config.data.feature_dir
    features = open_features(
        dataset, config.data.backbone, clips=clips, fps=config.data.fps,
        skip_static=config.data.skip_static,
        feature_dir=None if feature_dir is None else Path(feature_dir), device=device,
        weights=config.backbone_weights,
    )  # fmt: skip
    _check_features(run, config, features, dataset.root)
    return features


def _select_subset(
    clips: Sequence[Clip], subset: str, run: Path, config: runs.RunConfig, root: Path
) -> list[Clip]:
    """Return the clips in a subset of the run's own split."""
    ids = set(config.clips[subset])
    if not ids:
        raise GlimpsesError(
            f"{run}: was trained on all clips of its data set and has no {subset} clips; give "
            "other clips with --data (its model card has its cross-validated score)"
        )
    chosen = [clip for clip in clips if clip.id in ids]
    if not chosen:
        raise GlimpsesError(
            f"{root}: contains none of the {subset} clips of {run}; give --subset all to use every "
            "clip"
        )
    if len(chosen) < len(ids):
        log.warning(
            "%s: %d of the %d %s clips of %s no longer exist and are left out", root,
            len(ids) - len(chosen), len(ids), subset, run,
        )  # fmt: skip
    return chosen


def _drop_training_videos(
    clips: Sequence[Clip], features: Features, config: runs.RunConfig, root: Path
) -> list[Clip]:
    """Return the clips whose video, under any name, was not used in training."""
    used = set(config.seen)
    unseen = [clip for clip in clips if features.clips[clip.id].digest not in used]
    if not unseen:
        raise GlimpsesError(
            f"{root}: every clip was used in training, so scores would be meaningless; give unseen "
            "clips, or --subset all"
        )
    if len(unseen) < len(clips):
        log.warning(
            "%s: %s used in training left out; --subset all includes them",
            root,
            pluralise(len(clips) - len(unseen), "clip"),
        )
    return unseen


def _unlabelled(config: runs.RunConfig) -> Unlabelled:
    """Return what the unlabelled time of recordings is for a run."""
    has_background = config.multi_label or any(map(is_background, config.classes))
    return config.data.unlabelled if has_background else "ignore"


def _map_labels(dataset: ActionDataset, classes: Sequence[str]) -> list[Clip]:
    """Return the clips with labels that index the run's classes instead of the data set's."""
    unknown = sorted(set(dataset.classes) - set(classes))
    background = next(filter(is_background, classes), None)
    if dataset.untrimmed and background and len(unknown) == 1 and is_background(unknown[0]):
        # The class of unlabelled time has the name that the tables use.
        names = tuple(background if name == unknown[0] else name for name in dataset.classes)
        dataset, unknown = replace(dataset, classes=names), []
    if unknown:
        raise GlimpsesError(
            f"{dataset.root}: class '{unknown[0]}' is not a class of the run "
            f"({', '.join(classes)}); rename or remove its folder"
        )
    index = {name: number for number, name in enumerate(classes)}
    return [
        replace(clip, labels=tuple(index[dataset.classes[label]] for label in clip.labels))
        for clip in dataset.clips
    ]


def _check_features(run: Path, config: runs.RunConfig, features: Features, root: Path) -> None:
    """Refuse features of another shape than the run's; warn about another network or rate."""
    cube = config.model.cube
    if (features.grid**2, features.channels) != (cube.places, cube.channels):
        raise GlimpsesError(
            f"{root}: has features of {features.grid**2} places x {features.channels} channels, "
            f"but {run} needs {cube.places} x {cube.channels}; give it features of the network "
            f"it was trained with, {config.data.backbone}"
        )
    if (features.backbone, features.fps) != (config.data.backbone, config.data.fps):
        log.warning(
            "%s: was trained on features of %s at %s fps, but these are of %s at %s fps; scores "
            "are meaningful only if they are the same",
            run,
            config.data.backbone,
            config.data.fps,
            features.backbone,
            features.fps,
        )
