"""Training and scoring of candidates on folds of the clips that are not tested."""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float64, Int

from glimpses import models
from glimpses.datasets import ActionDataset, Clip, Split
from glimpses.datasets.splits import stratified_folds
from glimpses.evaluation.metrics import label_matrix
from glimpses.features import Features
from glimpses.inference.aggregate import predict_clips
from glimpses.models import ConvexModel, build_meta_model
from glimpses.runs import RunConfig
from glimpses.training.linear import Rows, predict_held_out, read_rows
from glimpses.training.options import TrainOptions
from glimpses.training.trainer import Trainer, fit_normalization
from glimpses.utils.options import InvalidOptionError

_FOLDS = 5
# A trial takes a third of the epochs: on real clips its accuracy is within a point of that of the
# whole training (docs/experiments.md).
_SHORTER = 3
# Batches of a training from which its duration is foreseen; the first one is slower than others.
_FORESEEN = 4

#: Returns the config of a run with some options on some clips.
Configure = Callable[[TrainOptions, Features, Split], RunConfig]


class Trial:
    """Training and scoring of candidates on folds of the clips that are not tested.

    Attributes:
        folds: indices of the clips of each fold.
        groups: recording of each clip.
        seconds_per_training: expected duration of the last training that had too little time.
    """

    def __init__(
        self,
        dataset: ActionDataset,
        clips: Sequence[Clip],
        features: Mapping[str, Features],
        configure: Configure,
        seed: int,
        device: str,
    ) -> None:
        self.clips = clips
        self.groups = [clip.group for clip in clips]
        self.folds = _folds(clips, seed)
        self._multi_label = dataset.multi_label
        self._features, self._configure, self._device = features, configure, torch.device(device)
        self.seconds_per_training = 0.0
        self._rows: dict[tuple[object, ...], Rows] = {}

    def is_possible(self, options: TrainOptions) -> bool:
        """Return whether the model can read the features."""
        try:
            self._config(options)
        except InvalidOptionError:
            return False
        return True

    def has_attention(self, options: TrainOptions) -> bool:
        """Return whether the model shows where it looks."""
        return build_meta_model(self._config(options).model).has_attention

    def score(
        self, options: TrainOptions, fold: int, seconds: float
    ) -> Float64[np.ndarray, " M"] | None:
        """Train on the other folds and score the clips of one; None if that takes too long."""
        started = time.monotonic()
        held_out = [self.clips[index] for index in self.folds[fold]]
        inside = {clip.id for clip in held_out}
        train = tuple(clip for clip in self.clips if clip.id not in inside)
        features, config = self._features[options.data.backbone], self._config(options)
        torch.manual_seed(config.seed)
        model = models.build_model(config.model)
        if isinstance(model, ConvexModel):
            return self._solve(model, config, features, fold)
        data = config.data
        fit_normalization(model, data.block_length, [features.clips[clip.id] for clip in train])
        split = Split(train, (), ())
        trainer = Trainer(model.to(self._device), config, split, features, self._device)
        deadline = _Deadline(started + seconds, trainer.num_batches)
        try:
            while not trainer.finished:
                trainer.train_epoch(deadline)
        except _OutOfTimeError:
            self.seconds_per_training = deadline.expected + deadline.started - started
            return None
        results = predict_clips(
            model, [features.clips[clip.id] for clip in held_out], block_length=data.block_length,
            stride=data.block_stride, multi_label=self._multi_label,
            last_steps=data.last_steps, aggregate=data.aggregate,
        )  # fmt: skip
        return np.array(
            [_clip_score(clip, result.probabilities)
             for clip, result in zip(held_out, results, strict=True)]
        )  # fmt: skip

    def _solve(
        self, model: ConvexModel, config: RunConfig, features: Features, fold: int
    ) -> Float64[np.ndarray, " M"]:
        """Solve for a linear model; the statistics of all clips are computed once."""
        data, options = config.data, config.model.options
        key = (data.backbone, options.statistics, data.block_length)
        if key not in self._rows:
            self._rows[key] = read_rows(
                model, [features.clips[clip.id] for clip in self.clips], device=self._device,
                block_length=data.block_length, stride=data.block_stride,
            )  # fmt: skip
        inside = self.folds[fold]
        outside = np.setdiff1d(np.arange(len(self.clips)), inside)
        targets = label_matrix(self.clips, len(config.classes)).astype(float)
        probabilities = predict_held_out(
            self._rows[key], targets, self.groups, outside, inside, seed=config.seed,
            inverse_penalty=options.inverse_penalty, multi_label=self._multi_label,
        )  # fmt: skip
        held_out = [self.clips[index] for index in inside]
        return np.array([_clip_score(*both) for both in zip(held_out, probabilities, strict=True)])

    def _config(self, options: TrainOptions) -> RunConfig:
        # The held-out clips must not choose the epoch.
        epochs = math.ceil(options.optim.epochs / _SHORTER)
        optim = replace(options.optim, epochs=epochs, checkpoint="last", patience=None)
        options = options._replace(optim=optim)
        features = self._features[options.data.backbone]
        return self._configure(options, features, Split((), (), ()))


class _OutOfTimeError(Exception):
    """A training that would take too long."""


class _Deadline:
    """Progress bar that shows nothing and stops a training that will end too late."""

    def __init__(self, end: float, total: int) -> None:
        self.started = time.monotonic()
        self.expected = 0.0
        self._end, self._total, self._done = end, total, 0.0
        self._warm = self.started

    def advance(self, steps: float = 1) -> None:
        """Count batches, and raise an error as soon as the end can be foreseen to be too late."""
        now = time.monotonic()
        self._done += steps
        if self._done <= 1:
            self._warm = now
        if not _FORESEEN <= self._done < self._total:
            return
        per_batch = (now - self._warm) / (self._done - 1)
        self.expected = self._warm - self.started + per_batch * (self._total - 1)
        if self.started + self.expected > self._end:
            raise _OutOfTimeError

    def note(self, text: str) -> None:
        """Show nothing."""

    def line(self, text: str) -> None:
        """Show nothing."""


def _folds(clips: Sequence[Clip], seed: int) -> list[Int[np.ndarray, " M"]]:
    """Return the indices of the clips of each fold, in whole recordings, stratified by class."""
    groups_of = defaultdict(set)
    for clip in clips:
        for label in clip.labels:
            groups_of[label].add(clip.group)
    number = max(2, min((_FOLDS, *map(len, groups_of.values()))))
    return [np.sort(inside) for _, inside in stratified_folds(clips, number, seed)]


def _clip_score(clip: Clip, probabilities: Float64[np.ndarray, " C"]) -> float:
    """Return 1 for a correct prediction and 0 for a wrong one.

    For a clip with several labels or none, it is the mean precision at the rank of each label.
    """
    if not clip.labels:
        return math.nan
    ranked = np.argsort(-probabilities)
    ranks = np.sort(np.flatnonzero(np.isin(ranked, clip.labels)))
    if len(clip.labels) == 1:
        return float(ranks[0] == 0)
    return float(np.mean(np.arange(1, len(ranks) + 1) / (ranks + 1)))
