"""Accuracy and pointing on real clips: the recipe `small`, its parts, poolings and linear probes.

Each draw assigns the recordings to five folds, stratified by class; every clip is tested once. The
seed of a draw also determines initial weights, order and dropout, so rows are paired.

```sh
OMP_NUM_THREADS=1 python benchmarks/real_clips.py CLIPS --draws 1 2 3 4 5 --rows small probe
```
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from glimpses import datasets
from glimpses.datasets import ActionDataset, Clip, Split
from glimpses.datasets.annotations import annotations_for
from glimpses.datasets.splits import stratified_folds
from glimpses.evaluation.pointing_game import localise
from glimpses.features import ClipFeatures, Features, open_features
from glimpses.inference import predict_clips
from glimpses.models import CubeShape, ModelConfig, build_model
from glimpses.runs import RunConfig
from glimpses.training.options import TrainOptions
from glimpses.training.recipes import RECIPES
from glimpses.training.trainer import Trainer, fit_normalization

SMALL = RECIPES["small"].options
#: Options of the model that differ from the recipe, by row.
ROWS: dict[str, dict[str, Any]] = {
    "small": {},
    "past": {"motion_span": "past"},
    "block": {"motion_span": "block"},
    "no scene": {"scene": False},
    "no linear path": {"glimpse_to_output": False},
    "no motion bias": {"motion_bias": False},
    "location": {"attention": "location"},
    "all stages score": {"score_stage": "all"},
    "average": {"model": "average"},
    "max": {"model": "max"},
}
#: Backbones of the linear probes.
PROBES = ("efficientnet_lite0", "efficientnet_lite0:16:7")
FOLDS = 5


class SilentBar:
    """Progress that shows nothing."""

    def advance(self, steps: float = 1) -> None:
        """Show nothing."""

    def note(self, text: str) -> None:
        """Show nothing."""

    def line(self, text: str) -> None:
        """Show nothing."""


def folds(clips: Sequence[Clip], seed: int) -> list[np.ndarray]:
    """Return the indices of the clips of each fold."""
    return [np.array(inside) for _, inside in stratified_folds(clips, FOLDS, seed)]


def options_of(row: str) -> TrainOptions:
    """Return the options of a row."""
    changes = ROWS[row]
    if changes.get("model", "attention") != "attention":
        shared = {"motion", "hidden_size", "num_layers", "dropout"}
        values = {name: getattr(SMALL.model, name) for name in shared}
        return SMALL._replace(model=type(SMALL.model)(model=changes["model"], **values))
    return SMALL._replace(model=replace(SMALL.model, **changes))


def score_fold(
    dataset: ActionDataset, features: Features, options: TrainOptions, inside: np.ndarray, seed: int
) -> tuple[np.ndarray, list[float]]:
    """Return whether each clip of a fold is classified correctly, and the pointing of each."""
    held_out = [dataset.clips[index] for index in inside]
    ids = {clip.id for clip in held_out}
    train = tuple(clip for clip in dataset.clips if clip.id not in ids)
    cube = CubeShape(
        features.grid**2, features.channels, features.fine_channels, features.fine_ratio,
        features.flow_channels,
    )  # fmt: skip
    config = RunConfig(
        classes=dataset.classes, multi_label=False, data_dir="", data=options.data,
        model=ModelConfig(options.model, len(dataset.classes), cube), optim=options.optim,
        seed=seed, backbone_weights=features.weights, frame_size=features.size, clips={}, seen=(),
    )  # fmt: skip
    torch.manual_seed(seed)
    model = build_model(config.model)
    block_length = options.data.block_length
    fit_normalization(model, block_length, [features.clips[clip.id] for clip in train])
    trainer = Trainer(model, config, Split(train, (), ()), features, torch.device("cpu"))
    while not trainer.finished:
        trainer.train_epoch(SilentBar())
    results = list(
        predict_clips(
            model.eval(), [features.clips[clip.id] for clip in held_out],
            block_length=block_length, stride=block_length, aggregate=options.data.aggregate,
        )
    )  # fmt: skip
    correct = [
        result.probabilities.argmax() in clip.labels
        for clip, result in zip(held_out, results, strict=True)
    ]
    annotations, pointing = annotations_for(held_out), []
    for clip, result in zip(held_out, results, strict=True):
        maps = result.attention_maps
        if maps is not None and clip.id in annotations:
            times = features.clips[clip.id].times
            occupancy = annotations[clip.id].occupancy(times, maps.shape[1])
            pointing.append(localise(maps, occupancy).pointing)
    return np.array(correct), pointing


def statistics(clip: ClipFeatures) -> np.ndarray:
    """Return mean and deviation over time of the frame's mean, and the mean change."""
    cubes = clip.block(0, len(clip)).float().numpy()
    means = cubes.mean(1)
    changes = [np.abs(after - before).mean(0) for before, after in pairwise(cubes)]
    change = np.mean(changes, axis=0) if changes else np.zeros_like(means[0])
    return np.concatenate([means.mean(0), means.std(0), change])


def probe(dataset: ActionDataset, draws: Sequence[int], parts: int) -> dict[str, list[float]]:
    """Return the accuracy of logistic regression on the first `parts` of the statistics."""
    labels = np.array([clip.labels[0] for clip in dataset.clips])
    scores: dict[str, list[float]] = {}
    for spec in PROBES:
        features = open_features(dataset, spec, fps=SMALL.data.fps)
        rows = np.stack([statistics(features.clips[clip.id]) for clip in dataset.clips])
        rows = rows[:, : parts * features.channels]
        for penalty in (3e-4, 1e-3, 3e-3, 1e-2):
            name = f"{spec}, C {penalty:g}, {rows.shape[1]} columns"
            for draw in draws:
                correct = np.zeros(len(labels))
                for inside in folds(dataset.clips, draw):
                    outside = np.setdiff1d(np.arange(len(labels)), inside)
                    model = make_pipeline(
                        StandardScaler(), LogisticRegression(C=penalty, max_iter=300)
                    ).fit(rows[outside], labels[outside])
                    correct[inside] = model.predict(rows[inside]) == labels[inside]
                scores.setdefault(name, []).append(float(correct.mean()))
    return scores


def main() -> None:
    """Run the rows and print one line for each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clips")
    parser.add_argument("--draws", type=int, nargs="+", default=[1])
    parser.add_argument("--rows", nargs="+", default=["small"], choices=[*ROWS, "probe"])
    parser.add_argument("--backbone", default=SMALL.data.backbone)
    arguments = parser.parse_args()
    dataset = datasets.load(arguments.clips)
    for row in arguments.rows:
        if row == "probe":
            for parts in (2, 3):
                for name, scores in probe(dataset, arguments.draws, parts).items():
                    print(f"probe {name}: {_describe(scores)}", flush=True)
            continue
        features = open_features(dataset, arguments.backbone, fps=SMALL.data.fps)
        scores, pointing = [], []
        for draw in arguments.draws:
            correct = 0
            for inside in folds(dataset.clips, draw):
                fold = score_fold(dataset, features, options_of(row), inside, draw)
                correct += int(fold[0].sum())
                pointing += fold[1]
            scores.append(correct / len(dataset.clips))
        where = f", pointing {np.nanmean(pointing):.3f}" if pointing else ""
        print(f"{row} ({arguments.backbone}): {_describe(scores)}{where}", flush=True)


def _describe(scores: Sequence[float]) -> str:
    each = " ".join(f"{100 * score:.1f}" for score in scores)
    return f"{100 * np.mean(scores):.1f} ({each})"


if __name__ == "__main__":
    main()
