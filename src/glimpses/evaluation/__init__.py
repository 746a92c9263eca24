"""Put a trained run to the test on clips it has not seen; `glimpses evaluate`."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float

from glimpses import datasets, progress, runs
from glimpses.datasets import Clip
from glimpses.errors import GlimpsesError
from glimpses.evaluation.scores import ClipScore, Scores, score
from glimpses.features import Features, gather
from glimpses.prediction import ClipResult, predict_clips

__all__ = [
    "ClipScore",
    "Evaluation",
    "Scores",
    "Side",
    "evaluate",
    "evaluate_clips",
    "score",
]

log = logging.getLogger(__name__)

#: Sides of a run's split.
Side = Literal["test", "validation", "train", "all"]


@dataclass(frozen=True)
class Evaluation:
    """A run put to the test, clip by clip.

    Attributes:
        config: of the run.
        clips: those that were scored.
        results: what the model made of each of them, in the same order.
        times: when each sampled frame of each of them is shown, in seconds.
        scores: all of it in numbers.
    """

    config: runs.RunConfig
    clips: tuple[Clip, ...]
    results: tuple[ClipResult, ...]
    times: tuple[Float[np.ndarray, " N"], ...]
    scores: Scores


def evaluate(
    run: Path,
    *,
    data: Path | None = None,
    side: Side | None = None,
    store: Path | None = None,
    device: str = "cpu",
) -> Scores:
    """Score a trained run on clips it has not seen.

    Args:
        run: folder of the run.
        data: folder of a data set; the one it was trained on if not given. Clips whose video was
            used in training are left out, unless `side` asks for them.
        side: which side of the run's own split; "all" scores every clip of `data`.
        store: where features are kept; where the run's own are if not given.
        device: "cpu" or "cuda".

    Returns:
        The scores.

    Raises:
        GlimpsesError: the run or the data cannot be used, their classes do not match, or no
            unseen clip is left.
    """
    return evaluate_clips(run, data=data, side=side, store=store, device=device).scores


def evaluate_clips(
    run: Path,
    *,
    data: Path | None = None,
    side: Side | None = None,
    store: Path | None = None,
    device: str = "cpu",
) -> Evaluation:
    """Like `evaluate`, with all that the scores were computed from."""
    run, data = Path(run), None if data is None else Path(data)
    config, model = runs.load_model(run)
    if data is None and not config.data:
        raise GlimpsesError(f"{run}: was imported and knows no data set; say which with --data")
    own = data is None or data.resolve() == Path(config.data)
    dataset = datasets.load(
        Path(config.data) if data is None else data, config.layout if own else "auto"
    )
    clips = _in_classes_of(dataset, config.classes)
    chosen = side or ("test" if own else "all")
    if chosen != "all":
        clips = _of_side(clips, chosen, run, config, dataset.root)
    if store is None and config.store is not None:
        store = Path(config.store)
    features = gather(
        dataset,
        config.backbone,
        clips=clips,
        fps=config.fps,
        store=store,
        device=device,
        weights=config.weights,
    )
    _require_same_features(run, config, features, dataset.root)
    clips = [clip for clip in clips if clip.id in features.clips]
    if side is None:
        clips = _unseen(clips, features, config, dataset.root)
    results = []
    with progress.bar("evaluating", len(clips), transient=True) as bar:
        for result in predict_clips(
            model.to(device),
            [features.clips[clip.id] for clip in clips],
            steps=config.steps,
            stride=config.stride,
            multi_label=config.multi_label,
            last_steps=config.last_steps,
            vote=config.vote,
        ):
            results.append(result)
            bar.advance()
    scores = score(
        clips,
        np.stack([result.probabilities for result in results]),
        config.classes,
        multi_label=config.multi_label,
        skipped=features.failures,
        side=chosen,
    )
    times = tuple(features.clips[clip.id].times for clip in clips)
    return Evaluation(config, tuple(clips), tuple(results), times, scores)


def _of_side(
    clips: Sequence[Clip], side: str, run: Path, config: runs.RunConfig, root: Path
) -> list[Clip]:
    """The clips on one side of a run's own split."""
    chosen = [clip for clip in clips if clip.id in set(config.split[side])]
    if not chosen:
        raise GlimpsesError(
            f"{root}: holds none of the {side} clips of {run}; give --side all to score every "
            "clip there"
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
            "%s: %d clips were used in training and are left out; --side all scores them too",
            root,
            len(clips) - len(unseen),
        )
    return unseen


def _in_classes_of(dataset: datasets.ActionDataset, classes: Sequence[str]) -> list[Clip]:
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
    shape = config.model
    if (features.grid**2, features.channels) != (shape.places, shape.channels):
        raise GlimpsesError(
            f"{root}: holds features of {features.grid**2} places x {features.channels}, but {run} "
            f"reads {shape.places} x {shape.channels}; give it features of the network it was "
            f"trained with, {config.backbone}"
        )
    if (features.backbone, features.fps) != (config.backbone, config.fps):
        log.warning(
            "%s: was trained on features of %s at %s fps, these are of %s at %s fps; the scores "
            "mean something only if that is the same",
            run,
            config.backbone,
            config.fps,
            features.backbone,
            features.fps,
        )
