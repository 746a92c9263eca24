"""A trained run together with the clips it is to be tried on, and their features."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from glimpses import datasets, runs
from glimpses.datasets import ActionDataset, Clip
from glimpses.features import ClipFeatures, Features, open_features
from glimpses.inference import Recogniser
from glimpses.models import ActionModel
from glimpses.utils.errors import GlimpsesError, pluralise

log = logging.getLogger(__name__)

#: Sides of a run's split.
Side = Literal["test", "validation", "train", "all"]


@dataclass(frozen=True)
class OpenedRun:
    """A run and clips for it.

    Attributes:
        run: its folder.
        config: its settings.
        model: its model, on the device that was asked for.
        dataset: what the clips are from.
        clips: those that can be read, with labels that index the run's classes.
        features: of the clips, and why others could not be read.
        side: which clips these are.
    """

    run: Path
    config: runs.RunConfig
    model: ActionModel
    dataset: ActionDataset
    clips: tuple[Clip, ...]
    features: Features
    side: Side

    @property
    def cubes(self) -> list[ClipFeatures]:
        """Features of the clips, in their order."""
        return [self.features.clips[clip.id] for clip in self.clips]


def open_run(
    run: str | Path | Recogniser,
    *,
    data: str | Path | None = None,
    side: Side | None = None,
    store: str | Path | None = None,
    device: str = "cpu",
) -> OpenedRun:
    """Load a run and the features of clips it has not seen.

    Args:
        run: folder of the run, or a recogniser, which stays on its own device.
        data: folder of a data set; the one it was trained on if not given. Clips whose video was
            used in training are left out, unless `side` asks for them.
        side: which side of the run's own split; "all" takes every clip of `data`.
        store: where features are kept; where the run's own are if not given.
        device: "cpu" or "cuda".

    Raises:
        GlimpsesError: the run or the data cannot be used, their classes do not match, or no
            unseen clip is left.
    """
    data, store = (None if folder is None else Path(folder) for folder in (data, store))
    if isinstance(run, Recogniser):
        config, model, device = run.config, run.model, str(run.device)
        run = run.run or Path("this recogniser")
    else:
        run = Path(run)
        config, model = runs.load_model(run)
    if data is None and not config.data_dir:
        raise GlimpsesError(f"{run}: was imported and knows no data set; say which with --data")
    if data is None and not Path(config.data_dir).is_absolute():
        raise GlimpsesError(
            f"{run}: was trained elsewhere, on {config.data_dir}; say where that is with --data"
        )
    own = data is None or data.resolve() == Path(config.data_dir)
    dataset = datasets.load(
        Path(config.data_dir) if data is None else data, config.data.layout if own else "auto"
    )
    clips = _in_classes_of(dataset, config.classes)
    chosen = side or ("test" if own else "all")
    if chosen != "all":
        clips = _of_side(clips, chosen, run, config, dataset.root)
    features = _features(run, config, dataset, clips, store, device)
    clips = [clip for clip in clips if clip.id in features.clips]
    if side is None:
        clips = _unseen(clips, features, config, dataset.root)
    return OpenedRun(run, config, model.to(device), dataset, tuple(clips), features, chosen)


def open_beside(
    run: Path, other: OpenedRun, *, store: Path | None = None, device: str = "cpu"
) -> OpenedRun:
    """Load a run for the clips of another; its backbone and even its classes may differ.

    Clips that the run was trained on stay in, with a warning.

    Args:
        run: folder of the run.
        other: the other run and its clips; those that cannot be read are left out. Their labels
            stay as they are there.
        store: where features are kept; where the run's own are if not given.
        device: "cpu" or "cuda".

    Raises:
        GlimpsesError: the run cannot be used, or no clip be read for it.
    """
    run = Path(run)
    config, model = runs.load_model(run)
    features = _features(run, config, other.dataset, other.clips, store, device)
    clips = tuple(clip for clip in other.clips if clip.id in features.clips)
    seen = sum(features.clips[clip.id].digest in set(config.seen) for clip in clips)
    if seen:
        log.warning("%s: was trained on %d of these %d clips", run, seen, len(clips))
    return OpenedRun(run, config, model.to(device), other.dataset, clips, features, other.side)


def _features(
    run: Path,
    config: runs.RunConfig,
    dataset: ActionDataset,
    clips: Sequence[Clip],
    store: Path | None,
    device: str,
) -> Features:
    """Features of the kind that a run reads."""
    if store is None and config.data.feature_dir is not None:
        store = Path(config.data.feature_dir)
    features = open_features(
        dataset,
        config.data.backbone,
        clips=clips,
        fps=config.data.fps,
        skip_static=config.data.skip_static,
        feature_dir=store,
        device=device,
        weights=config.backbone_weights,
    )
    _require_same_features(run, config, features, dataset.root)
    return features


def _of_side(
    clips: Sequence[Clip], side: str, run: Path, config: runs.RunConfig, root: Path
) -> list[Clip]:
    """The clips on one side of a run's own split."""
    listed = set(config.clips[side])
    chosen = [clip for clip in clips if clip.id in listed]
    if not chosen:
        raise GlimpsesError(
            f"{root}: holds none of the {side} clips of {run}; give --side all to score every "
            "clip there"
        )
    if len(chosen) < len(listed):
        log.warning(
            "%s: %d of the %d %s clips of %s are not there any more and are left out",
            root,
            len(listed) - len(chosen),
            len(listed),
            side,
            run,
        )
    return chosen


def _unseen(
    clips: Sequence[Clip], features: Features, config: runs.RunConfig, root: Path
) -> list[Clip]:
    """The clips whose video, under whatever name, was not used in training."""
    seen = set(config.seen)
    unseen = [clip for clip in clips if features.clips[clip.id].digest not in seen]
    if not unseen:
        raise GlimpsesError(
            f"{root}: every clip was used in training, so a score would mean nothing; give clips "
            "the run has not seen, or --side all"
        )
    if len(unseen) < len(clips):
        log.warning(
            "%s: left out since training used them: %s; --side all scores them too",
            root,
            pluralise(len(clips) - len(unseen), "clip"),
        )
    return unseen


def _in_classes_of(dataset: ActionDataset, classes: Sequence[str]) -> list[Clip]:
    """The clips with their labels as indices into a run's classes instead of their data set's."""
    unknown = sorted(set(dataset.classes) - set(classes))
    if unknown:
        raise GlimpsesError(
            f"{dataset.root}: class '{unknown[0]}' is none of the run's ({', '.join(classes)}); "
            "rename the folder or take it out"
        )
    index = {name: number for number, name in enumerate(classes)}
    return [
        Clip(
            clip.id,
            clip.path,
            tuple(index[dataset.classes[label]] for label in clip.labels),
            clip.group,
            clip.annotation,
        )
        for clip in dataset.clips
    ]


def _require_same_features(
    run: Path, config: runs.RunConfig, features: Features, root: Path
) -> None:
    """Refuse features of another shape than the run's, warn of another network's or rate."""
    shape = config.model.cube
    if (features.grid**2, features.channels) != (shape.places, shape.channels):
        raise GlimpsesError(
            f"{root}: holds features of {features.grid**2} places x {features.channels}, but {run} "
            f"reads {shape.places} x {shape.channels}; give it features of the network it was "
            f"trained with, {config.data.backbone}"
        )
    if (features.backbone, features.fps) != (config.data.backbone, config.data.fps):
        log.warning(
            "%s: was trained on features of %s at %s fps, these are of %s at %s fps; the scores "
            "mean something only if that is the same",
            run,
            config.data.backbone,
            config.data.fps,
            features.backbone,
            features.fps,
        )
