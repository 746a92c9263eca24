"""Training loop: one model, its blocks and its loss, with exact resume.

Everything random in an epoch (blocks, their order, dropout) depends on the seed and on the number
of the epoch only. A run that was killed and started again therefore ends with the same weights as
one that was not interrupted.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.optim.lr_scheduler import LRScheduler, OneCycleLR

from glimpses import models, runs
from glimpses.datasets import Clip, Split
from glimpses.evaluation import Scores, score
from glimpses.evaluation.metrics import label_matrix
from glimpses.features import (
    BatchLoader,
    Block,
    Blocks,
    ClipFeatures,
    Features,
    grid_starts,
    random_starts,
)  # fmt: skip
from glimpses.inference.aggregate import predict_clips
from glimpses.models import ActionModel, ConvexModel, sequence_loss
from glimpses.runs import MONITOR, OptimOptions, RunConfig, best_epoch, kept_epoch
from glimpses.training.imbalance import class_weights
from glimpses.training.linear import solve
from glimpses.training.step_labels import StepLabels
from glimpses.utils import progress
from glimpses.utils.errors import GlimpsesError
from glimpses.utils.files import atomic_write, check_regular
from glimpses.utils.progress import Bar

# Frames that the statistics of a channel are computed from: enough to know its mean to a hundredth
# of its standard deviation.
_STATISTICS_FRAMES = 2000

# Share of the batches in which the learning rate of one cycle rises.
_WARM_UP = 0.1

# Smallest number of batches in an epoch. With few clips, an epoch reads them more than once.
_MIN_BATCHES = 10

# A training prints its values about this often, at most once an epoch.
_EPOCH_LINES = 10

# Bytes of a checkpoint: the weights, their best version and two averages of each.
_MAX_CHECKPOINT = 16_000_000_000

_MIXED = {"16-mixed": torch.float16, "bf16-mixed": torch.bfloat16}


def fit(
    out: Path,
    config: RunConfig,
    split: Split,
    features: Features,
    device: str,
    *,
    grouped: bool = True,
) -> None:
    """Train a model, keep the weights of one epoch (`kept_epoch`), and write the run to `out`.

    The score on the validation clips, if there are any, is among the scores of the run.

    Raises:
        GlimpsesError: the training diverged, or `out` cannot be written.
    """
    torch.manual_seed(config.seed)
    model = models.build_model(config.model)
    clips = [features.clips[clip.id] for clip in split.train]
    fit_normalization(model, config.data.block_length, clips)
    torch_device = torch.device(device)
    if torch_device.type == "cuda":
        torch.cuda.set_device(torch_device.index or 0)
    trainer = Trainer(model.to(torch_device), config, split, features, torch_device)
    checkpoint = out / "checkpoints" / "last.ckpt"
    if checkpoint.exists():
        trainer.load_checkpoint(checkpoint)
    try:
        if not trainer.finished:
            _run_epochs(trainer, out, checkpoint)
    except OSError as error:
        raise GlimpsesError(
            f"{out}: cannot be written ({error.strerror or error}); free some space and run the "
            "same command again to continue"
        ) from error
    if not np.isfinite(trainer.curves[MONITOR]).any():
        raise GlimpsesError(
            f"{out}: training diverged, every loss is infinite; train again with a lower "
            "--learning-rate and --overwrite"
        )
    model.load_state_dict(trainer.best_weights)
    runs.write_curves(out, trainer.curves)
    if split.validation:
        scores = replace(trainer.score_validation(), grouped=grouped)
        runs.add_score(out, scores.to_record(Path(config.data_dir).name))
    runs.save_model(out, model.cpu())


def fit_normalization(model: ActionModel, block_length: int, clips: Sequence[ClipFeatures]) -> None:
    """Fit the model's normalization to frames and blocks of the training clips."""
    frames = (cube for (cube,) in _spread_blocks(clips, 1))
    model.fit_normalization(frames, _spread_blocks(clips, block_length))


class Trainer:
    """Training of one model, epoch by epoch, on the `device` that holds the model.

    Attributes:
        curves: values of the epochs so far, by name.
        best_weights: weights of the epoch that is kept.
    """

    def __init__(
        self,
        model: ActionModel,
        config: RunConfig,
        split: Split,
        features: Features,
        device: torch.device,
    ) -> None:
        assert config.optim is not None
        self.curves: dict[str, list[float]] = {}
        self.best_weights: dict[str, Tensor] = {}
        # What is solved for at once takes one epoch.
        optim = replace(config.optim, epochs=1) if isinstance(model, ConvexModel) else config.optim
        self._model, self._config, self._optim, self._device = model, config, optim, device
        self._train_clips = split.train
        self._train_features = [features.clips[clip.id] for clip in split.train]
        self._validation_features = [features.clips[clip.id] for clip in split.validation]
        self._validation_clips = split.validation
        self._step_labels: StepLabels | None = None
        if self._optim.loss == "step" and any(clip.start is not None for clip in split.train):
            self._step_labels = StepLabels(
                split.train, features.clips, len(config.classes), multi_label=config.multi_label
            )
        targets = _targets(split.train, len(config.classes), multi_label=config.multi_label)
        self._targets = targets.to(device)
        steps = None
        if self._step_labels is not None and not config.multi_label:
            steps = self._step_labels.counts()
        weights = class_weights(split.train, config, steps)
        self._class_weights = None if weights is None else weights.to(device)
        self._mixed_dtype = _MIXED.get(self._optim.precision)
        self._optimizer = _optimizer(model, self._optim)
        self._scheduler = _scheduler(self._optimizer, self._optim, self.num_batches)
        # Scaling the loss keeps small gradients in half precision; otherwise it does nothing.
        self._scaler = torch.amp.GradScaler(device.type, enabled=self._mixed_dtype == torch.float16)

    @property
    def epoch(self) -> int:
        """Number of finished epochs."""
        return len(self.curves.get(MONITOR, ()))

    @property
    def num_epochs(self) -> int:
        """Number of epochs to train at most."""
        checkpoint = self._optim.checkpoint
        return checkpoint if isinstance(checkpoint, int) else self._optim.epochs

    @property
    def num_batches(self) -> int:
        """Number of batches in all epochs of the schedule; every epoch has the same number."""
        return self._optim.epochs * -(-len(self._blocks()) // self._optim.batch_size)

    @property
    def finished(self) -> bool:
        """True if all epochs are done, or patience has run out."""
        scores = self.curves.get(MONITOR, ())
        waited = self.epoch - best_epoch(scores) if scores else 0
        patience = self._optim.patience
        return self.epoch >= self.num_epochs or (patience is not None and waited >= patience)

    def batches_until(self, epoch: int) -> int:
        """Return the number of batches in the first epochs."""
        return epoch * self.num_batches // self._optim.epochs

    def train_epoch(self, bar: Bar) -> dict[str, float]:
        """Train one epoch and validate it; return its values, which are added to `curves`."""
        model = self._model
        loss = (
            self._solve(model, bar) if isinstance(model, ConvexModel) else self._train_batches(bar)
        )
        values = self._validate(loss)
        for name, value in values.items():
            self.curves.setdefault(name, []).append(value)
        if kept_epoch(self.curves[MONITOR], self._optim.checkpoint) == self.epoch:
            weights = self._model.state_dict()
            self.best_weights = {name: weight.cpu().clone() for name, weight in weights.items()}
        return values

    def _solve(self, model: ConvexModel, bar: Bar) -> float:
        """Solve for the weights of a linear model; return the training loss."""
        config, clips = self._config, self._train_clips
        targets = label_matrix(clips, len(config.classes)).astype(float)
        weights = self._class_weights
        loss = solve(
            model, self._train_features, targets, [clip.group for clip in clips],
            block_length=config.data.block_length, stride=config.data.block_stride,
            seed=config.seed, inverse_penalty=config.model.options.inverse_penalty,
            device=self._device, multi_label=config.multi_label,
            class_weights=None if weights is None else weights.cpu().double().numpy(),
        )  # fmt: skip
        bar.advance(self.num_batches)
        return loss

    def _train_batches(self, bar: Bar) -> float:
        """Take the optimizer steps of one epoch; return the training loss."""
        blocks = self._blocks()
        order = self._random("order").permutation(len(blocks)).tolist()
        # For dropout, and for the places that hard attention samples.
        torch.manual_seed(int(self._random("dropout").integers(2**62)))
        losses, steps = [], []
        self._model.train()
        for batch in BatchLoader(blocks, self._optim.batch_size, order=order, device=self._device):
            losses.append(self._train_batch(batch) * len(batch.clip))
            # Kept as a tensor: as a number, every batch would wait for the GPU.
            steps.append(batch.mask.sum())
            bar.advance()
        return float(torch.stack(losses).sum() / torch.stack(steps).sum())

    def _train_batch(self, batch: Block) -> Tensor:
        """Take one optimizer step on Eq. 7 and return its first term.

        The last term of Eq. 7, weight decay, is in the optimizer.
        """
        mixed = self._mixed_dtype is not None
        with torch.autocast(self._device.type, self._mixed_dtype, enabled=mixed):
            targets, mask = self._labels(batch)
            loss = sequence_loss(
                self._model(batch.cubes, batch.mask),
                targets,
                mask,
                multi_label=self._config.multi_label,
                per=self._optim.loss,
                label_smoothing=self._optim.label_smoothing,
                attention_weight=self._optim.attention_penalty,
                attention_target=self._optim.attention_target,
                class_weights=self._class_weights,
            )
        self._optimizer.zero_grad()
        self._scaler.scale(loss.total).backward()  # type: ignore[no-untyped-call]
        self._scaler.step(self._optimizer)
        self._scaler.update()
        if self._scheduler is not None:
            self._scheduler.step()
        return loss.classification.detach()

    def _labels(self, batch: Block) -> tuple[Tensor, Tensor]:
        """Return the targets of blocks or of their steps, and the mask of the steps that count."""
        if self._step_labels is not None:
            return self._step_labels.of(batch)
        return self._targets[batch.clip], batch.mask

    def score_validation(self) -> Scores:
        """Score the validation clips as a test does: averaged over steps and blocks."""
        config = self._config
        results = predict_clips(
            self._model, self._validation_features,
            block_length=config.data.block_length, stride=config.data.block_stride,
            multi_label=config.multi_label,
            last_steps=config.data.last_steps, aggregate=config.data.aggregate,
        )  # fmt: skip
        probabilities = np.stack([result.probabilities for result in results])
        return score(
            self._validation_clips, probabilities, config.classes,
            multi_label=config.multi_label, subset="validation",
        )  # fmt: skip

    def _validate(self, training_loss: float) -> dict[str, float]:
        if not self._validation_clips:
            # Every epoch is better than the one before, unless it diverged.
            return {"training loss": training_loss, MONITOR: self.epoch + 0 * training_loss}
        clips, scores = self._validation_clips, self.score_validation()
        probabilities = np.array([clip.probabilities for clip in scores.clips])
        loss = _log_loss(clips, probabilities, multi_label=self._config.multi_label)
        return {
            # Per real step and without the penalty, so that it compares with validation.
            "training loss": training_loss,
            "validation loss": loss,
            "validation accuracy": scores.value,
            # Few validation clips tie often. The loss breaks ties, and never outweighs a clip.
            MONITOR: scores.value - min(loss, 28) / (30 * len(clips)),
        }

    def save_checkpoint(self, file: Path) -> None:
        """Write everything that `load_checkpoint` needs, atomically."""
        state = {"curves": self.curves, "best": self.best_weights}
        state |= {name: part.state_dict() for name, part in self._stateful().items()}
        # Serialised in memory first: on a full disk torch.save raises an unrelated error.
        buffer = io.BytesIO()
        torch.save(state, buffer)
        with atomic_write(file) as part:
            part.write_bytes(buffer.getbuffer())

    def load_checkpoint(self, file: Path) -> None:
        """Continue from a checkpoint. Nothing is unpickled.

        Raises:
            GlimpsesError: the file is damaged or was written by another version.
        """
        try:
            check_regular(file, _MAX_CHECKPOINT)
            state = torch.load(file, weights_only=True, map_location=self._device)
            curves, best_weights = state["curves"], state["best"]
            for name, part in self._stateful().items():
                part.load_state_dict(state[name])
        # The error that torch.load raises depends on where the file is damaged.
        except (
            OSError, RuntimeError, EOFError, ValueError, KeyError, TypeError,
            pickle.UnpicklingError,
        ) as error:  # fmt: skip
            raise GlimpsesError(
                f"{file}: is damaged, or from another version; delete it and run the same command "
                "again to start over"
            ) from error
        self.curves, self.best_weights = curves, best_weights

    def _stateful(self) -> dict[str, Any]:
        parts = {"model": self._model, "optimizer": self._optimizer, "scaler": self._scaler}
        return parts if self._scheduler is None else {**parts, "scheduler": self._scheduler}

    def _random(self, purpose: str) -> np.random.Generator:
        return np.random.default_rng((self._config.seed, self.epoch, *purpose.encode()))

    def _blocks(self) -> Blocks:
        """Return the blocks of this epoch: on a grid, or at random, enough to cover each clip."""
        length, stride = self._config.data.block_length, self._config.data.train_stride
        generator = self._random("blocks")
        # Blocks are in the clips, or anywhere in the recordings.
        clips = self._train_features if self._step_labels is None else self._step_labels.features
        if stride:
            return Blocks(clips, [grid_starts(len(clip), length, stride) for clip in clips], length)
        blocks_to_cover = sum(-(-len(clip) // length) for clip in clips)
        rounds = -(-_MIN_BATCHES * self._optim.batch_size // blocks_to_cover)
        starts = [
            [start for _ in range(rounds) for start in random_starts(len(clip), length, generator)]
            for clip in clips
        ]
        return Blocks(clips, starts, length)


def _run_epochs(trainer: Trainer, out: Path, checkpoint: Path) -> None:
    # Its import sets an environment variable.
    from tensorboardX import SummaryWriter

    epochs = trainer.num_epochs
    line_every = max(1, epochs // _EPOCH_LINES)
    with (
        SummaryWriter(str(out / "tensorboard")) as writer,
        progress.bar(
            f"training {out.name}", trainer.batches_until(epochs),
            done=trainer.batches_until(trainer.epoch),
        ) as bar,
    ):  # fmt: skip
        while not trainer.finished:
            values = trainer.train_epoch(bar)
            trainer.save_checkpoint(checkpoint)
            for name, value in values.items():
                writer.add_scalar(name, value, trainer.epoch)
            writer.flush()
            note = f"epoch {trainer.epoch}"
            if "validation accuracy" in values:
                note += f", validation {values['validation accuracy']:.0%}"
            bar.note(note)
            if trainer.epoch % line_every == 0 or trainer.finished:
                bar.line(_epoch_line(trainer.epoch, epochs, values))


def _epoch_line(epoch: int, epochs: int, values: Mapping[str, float]) -> str:
    """Return the values of an epoch in one line, without the one that selects the epoch."""
    shown = [
        f"{name} {value:.1%}" if name.endswith("accuracy") else f"{name} {value:.3f}"
        for name, value in values.items()
        if name != MONITOR
    ]
    return f"epoch {epoch} of {epochs}: {', '.join(shown)}"


def _optimizer(model: ActionModel, options: OptimOptions) -> torch.optim.Optimizer:
    """Return Adam or SGD. Weight decay adds 2 gamma theta, the gradient of Eq. 7's last term."""
    kind = torch.optim.SGD if options.optimizer == "sgd" else torch.optim.Adam
    decay = 2 * options.weight_decay
    return kind(model.parameters(), lr=options.learning_rate, weight_decay=decay, fused=True)


def _scheduler(
    optimizer: torch.optim.Optimizer, options: OptimOptions, num_batches: int
) -> LRScheduler | None:
    # One or two batches are too few for a cycle.
    if options.schedule == "constant" or num_batches < 3:
        return None
    return OneCycleLR(
        optimizer, options.learning_rate, total_steps=num_batches,
        # At least two batches: a rise that ends where it starts divides by 0.
        pct_start=max(_WARM_UP, 2 / num_batches),
        cycle_momentum=False,
    )  # fmt: skip


def _spread_blocks(clips: Sequence[ClipFeatures], length: int) -> Iterator[Tensor]:
    """Yield blocks (length, P, D) spread evenly over all clips; shorter clips are whole."""
    per_clip = -(-_STATISTICS_FRAMES // (len(clips) * length))
    for clip in clips:
        last = max(len(clip) - length, 0)
        for start in np.unique(np.linspace(0, last, per_clip).round().astype(int)):
            yield clip.block(int(start), length)


def _targets(clips: Sequence[Clip], num_classes: int, *, multi_label: bool) -> Tensor:
    """Return the class index of every clip, (N,); 0 or 1 per class if multi-label, (N, C)."""
    if not multi_label:
        return torch.tensor([clip.labels[0] for clip in clips])
    return torch.from_numpy(label_matrix(clips, num_classes)).float()


def _log_loss(clips: Sequence[Clip], probabilities: Any, *, multi_label: bool) -> float:
    """Return the mean (binary) cross-entropy of clips, as `sequence_loss` has it for a step."""
    targets = _targets(clips, probabilities.shape[1], multi_label=multi_label).numpy()
    if multi_label:
        of_label = np.where(targets == 1, probabilities, 1 - probabilities)
    else:
        of_label = probabilities[np.arange(len(clips)), targets]
    return float(-np.log(np.maximum(of_label, 1e-12)).sum() / len(clips))
