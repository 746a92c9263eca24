"""The loop: one model, its blocks and its loss under Lightning, resumable to the bit.

Everything random in an epoch (which blocks, their order, dropout) follows from the seed and the
epoch's number alone, so a run that was killed and started again ends with the same weights as one
that was left in peace.
"""

from __future__ import annotations

import io
import logging
import pickle
import signal
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.plugins.io import TorchCheckpointIO
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.optim.lr_scheduler import OneCycleLR

from glimpses import models, progress, runs
from glimpses.blocks import Block, Blocks, grid_starts, random_starts
from glimpses.datasets import Clip, Split
from glimpses.errors import GlimpsesError
from glimpses.evaluation import score
from glimpses.features import ClipFeatures, Features
from glimpses.files import replacing
from glimpses.loading import Batches
from glimpses.models import ActionModel, RecurrentModel
from glimpses.models.base import Standardise
from glimpses.models.loss import sequence_loss
from glimpses.prediction import predict_clips
from glimpses.runs import MONITOR, RunConfig, best_epoch, kept_epoch

# Enough to know a channel's mean to a hundredth of its deviation.
_STATISTICS_FRAMES = 2000

# Share of a training in which the learning rate of one cycle climbs.
_WARM_UP = 0.1

# An epoch has at least so many batches: with few clips it goes over them more than once.
_LEAST_BATCHES = 10


def fit(out: Path, config: RunConfig, split: Split, features: Features, device: str) -> None:
    """Run the loop, keep one epoch's weights (`kept_epoch`), and write the run."""
    settings = config.training
    torch.manual_seed(settings["seed"])
    model = models.build(config.model)
    if settings["standardise"]:
        standardise(model, config.steps, [features.clips[clip.id] for clip in split.train])
    fitting = _Fitting(model, config, split, features)
    last = out / "checkpoints" / "last.ckpt"
    keep = ModelCheckpoint(
        dirpath=last.parent, filename=last.stem,
        enable_version_counter=False, save_on_train_epoch_end=True,
    )  # fmt: skip
    total = fitting.batches
    place = torch.device(device)
    try:
        if not _is_over(last, settings["patience"]):
            with _quiet_lightning(), progress.bar(f"training {out.name}", total) as fitting.bar:
                trainer = lightning.Trainer(
                    max_epochs=settings["epochs"],
                    accelerator="gpu" if place.type == "cuda" else "cpu",
                    devices=[place.index or 0] if place.type == "cuda" else 1,
                    precision=settings["precision"],
                    logger=TensorBoardLogger(out, name="tensorboard", version=""),
                    callbacks=[keep],
                    plugins=[_WholeFiles()],
                    log_every_n_steps=10,
                    reload_dataloaders_every_n_epochs=1,
                    enable_progress_bar=False,
                    enable_model_summary=False,
                )
                resumed = last if last.exists() else None
                _run(trainer, fitting, resumed)
        state = _read(last)
    except OSError as error:
        raise GlimpsesError(
            f"{out}: cannot be written ({error.strerror or error}); free some space and run the "
            "same command again to go on"
        ) from error
    if not np.isfinite(state["curves"][MONITOR]).any():
        raise GlimpsesError(
            f"{out}: training diverged, every loss is infinite; train again with a lower "
            "--learning-rate and --overwrite"
        )
    model.load_state_dict(state["best"])
    runs.write_curves(out, state["curves"])
    runs.save_model(out, model)


def standardise(model: ActionModel, steps: int, clips: Sequence[ClipFeatures]) -> None:
    """Let a model take features, and glimpses of motion, by the clips' standard."""
    model.standard.set(*_statistics(cube for (cube,) in _spread(clips, 1)))
    if isinstance(model, RecurrentModel) and isinstance(model.standard_glimpse, Standardise):
        # Those of the untrained model: it looks everywhere, or where motion draws it.
        glimpses = (_glimpses(model, block) for block in _spread(clips, steps))
        model.standard_glimpse.set(*_statistics(glimpses))


@torch.inference_mode()
def _glimpses(model: RecurrentModel, block: Tensor) -> Tensor:
    """What a model sees at each step of a block (T, P, D), before it is standardised: (T, X)."""
    seen: list[Tensor] = []
    hook = model.standard_glimpse.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    model.eval()(block.unsqueeze(0))
    model.train()
    hook.remove()
    return torch.cat(seen)


def _spread(clips: Sequence[ClipFeatures], length: int) -> Iterator[Tensor]:
    """Short blocks (length, P, D), evenly spread over all clips; of shorter clips all there is."""
    each = -(-_STATISTICS_FRAMES // (len(clips) * length))
    for clip in clips:
        last = max(len(clip) - length, 0)
        for start in np.unique(np.linspace(0, last, each).round().astype(int)):
            yield clip.block(int(start), length)


def _statistics(cubes: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
    """Mean and deviation of every channel over cubes of (P, D), (D,) each."""
    means: list[Tensor] = []
    squares: list[Tensor] = []
    for cube in cubes:
        exact = cube.double()
        means.append(exact.mean(0))
        squares.append((exact**2).mean(0))
    mean = torch.stack(means).mean(0)
    return mean, (torch.stack(squares).mean(0) - mean**2).clamp(min=0).sqrt()


def _run(trainer: lightning.Trainer, fitting: _Fitting, resumed: Path | None) -> None:
    interrupt = signal.getsignal(signal.SIGINT)
    try:
        trainer.fit(fitting, ckpt_path=resumed, weights_only=True)
    except SystemExit as error:
        # What Lightning makes of Ctrl-C; it also stops listening to it.
        signal.signal(signal.SIGINT, interrupt)
        raise KeyboardInterrupt from error


def _is_over(last: Path, patience: int | None) -> bool:
    """Whether the checkpoint is of a training that had already run out of patience."""
    if not last.exists():
        return False
    return _out_of_patience(_read(last)["curves"][MONITOR], patience)


def _read(checkpoint: Path) -> dict[str, Any]:
    """Curves and kept weights of a checkpoint of ours; nothing is unpickled."""
    try:
        state = torch.load(checkpoint, weights_only=True, map_location="cpu")
        return {name: state[name] for name in ("curves", "best")}
    # What torch.load raises for a damaged file depends on where the damage is.
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError) as error:
        raise GlimpsesError(
            f"{checkpoint}: is damaged; delete it and run the same again to start anew"
        ) from error


def _out_of_patience(scores: Sequence[float], patience: int | None) -> bool:
    return patience is not None and len(scores) - best_epoch(scores) >= patience


class _WholeFiles(TorchCheckpointIO):
    """Checkpoints that are whole or absent, also where the system's temporary folder is far."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None
    ) -> None:
        """Write a checkpoint beside its place and move it there."""
        # By way of memory: on a full disk torch.save raises what nobody would take for that.
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        with replacing(Path(path)) as part:
            part.write_bytes(buffer.getbuffer())


class _Fitting(lightning.LightningModule):
    """One model, its blocks and its loss, in the form that Lightning's loop wants."""

    bar: progress.Bar
    targets: Tensor

    def __init__(
        self, model: ActionModel, config: RunConfig, split: Split, features: Features
    ) -> None:
        super().__init__()
        self.model = model
        self.curves: dict[str, list[float]] = {}
        self._best: dict[str, Tensor] = {}
        self._config = config
        self._train = [features.clips[clip.id] for clip in split.train]
        self._validation = [features.clips[clip.id] for clip in split.validation]
        self._validation_clips = split.validation
        targets = _targets(split.train, len(config.classes), multi_label=config.multi_label)
        self.register_buffer("targets", targets, persistent=False)
        self._losses: list[Tensor] = []
        self._steps: list[Tensor] = []

    @property
    def batches(self) -> int:
        """How many batches the whole training has; every epoch has equally many."""
        settings = self._config.training
        return int(settings["epochs"] * -(-len(self._blocks(0)) // settings["batch"]))

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Adam or SGD; a coupled weight decay adds 2 gamma theta, the gradient of Eq. 7's end."""
        settings = self._config.training
        kind = torch.optim.SGD if settings["optimiser"] == "sgd" else torch.optim.Adam
        optimiser = kind(
            self.model.parameters(),
            lr=settings["learning_rate"],
            weight_decay=2 * settings["weight_decay"],
            fused=True,
        )
        # Of one or two batches there is no cycle to make.
        if settings["schedule"] == "constant" or self.batches < 3:
            return optimiser
        cycle = OneCycleLR(
            optimiser, settings["learning_rate"], total_steps=self.batches,
            # The climb has two batches at least: one that ends where it starts divides by 0.
            pct_start=max(_WARM_UP, 2 / self.batches),
            cycle_momentum=False,
        )  # fmt: skip
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": cycle, "interval": "step"}}

    def train_dataloader(self) -> Batches:
        """Blocks of this epoch in this epoch's order."""
        blocks = self._blocks(self.current_epoch)
        order = self._random("order", self.current_epoch).permutation(len(blocks)).tolist()
        size = self._config.training["batch"]
        return Batches(blocks, size, order=order, device=self.device)

    def on_train_start(self) -> None:
        """Show what an earlier, interrupted call has done already."""
        self.bar.advance(self.global_step)

    def on_train_epoch_start(self) -> None:
        """Make dropout a function of the epoch too."""
        torch.manual_seed(self._epoch_seed())
        self._losses.clear()
        self._steps.clear()

    def training_step(self, batch: Block, _: int) -> Tensor:
        """Loss of Eq. 7 on a batch of blocks, without its last term."""
        settings = self._config.training
        output = self.model(batch.cubes, batch.mask)
        loss = sequence_loss(
            output,
            self.targets[batch.clip],
            batch.mask,
            multi_label=self._config.multi_label,
            attention_weight=settings["attention_penalty"],
            attention_target=settings["attention_target"],
        )
        self._losses.append(loss.classification.detach() * len(batch.clip))
        # Not a number yet, for which a GPU would have to be waited for at every step.
        self._steps.append(batch.mask.sum())
        self.bar.advance()
        return loss.total

    def on_train_epoch_end(self) -> None:
        """Score the validation clips as a test would: averaged over steps and blocks."""
        config = self._config
        probabilities = np.stack([
            result.probabilities
            for result in predict_clips(
                self.model, self._validation,
                steps=config.steps, stride=config.stride, multi_label=config.multi_label,
                last_steps=config.last_steps, vote=config.vote,
            )
        ])  # fmt: skip
        scores = score(
            self._validation_clips, probabilities, config.classes, multi_label=config.multi_label
        )
        loss = _log_loss(self._validation_clips, probabilities, multi_label=config.multi_label)
        training_loss = torch.stack(self._losses).sum() / torch.stack(self._steps).sum()
        epoch = {
            # Per real step and without the penalty, to be compared with the validation clips'.
            "training loss": float(training_loss),
            "validation loss": loss,
            "validation accuracy": scores.value,
            # Few validation clips tie often; the surer of two equal epochs is the better one. The
            # loss must never outvote a clip.
            MONITOR: scores.value - min(loss, 28) / (30 * len(self._validation_clips)),
        }
        for name, value in epoch.items():
            self.curves.setdefault(name, []).append(value)
        kept = kept_epoch(self.curves[MONITOR], config.training["keep"])
        if kept == self.current_epoch + 1:
            weights = self.model.state_dict()
            self._best = {name: weight.cpu().clone() for name, weight in weights.items()}
        if _out_of_patience(self.curves[MONITOR], config.training["patience"]):
            self.trainer.should_stop = True
        self.log_dict(epoch)
        self.bar.note(f"epoch {self.current_epoch + 1}, validation {scores.value:.0%}")

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the curves and the kept epoch's weights with the last one's."""
        checkpoint["curves"] = {name: list(values) for name, values in self.curves.items()}
        checkpoint["best"] = self._best

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on from there."""
        self.curves = checkpoint["curves"]
        self._best = checkpoint["best"]

    def _epoch_seed(self) -> int:
        return int(self._random("dropout", self.current_epoch).integers(2**62))

    def _random(self, purpose: str, epoch: int) -> np.random.Generator:
        return np.random.default_rng((self._config.training["seed"], epoch, *purpose.encode()))

    def _blocks(self, epoch: int) -> Blocks:
        steps, stride = self._config.steps, self._config.training["train_stride"]
        generator = self._random("blocks", epoch)
        if stride:
            starts = [grid_starts(len(clip), steps, stride) for clip in self._train]
            return Blocks(self._train, starts, steps)
        once = sum(-(-len(clip) // steps) for clip in self._train)
        rounds = -(-_LEAST_BATCHES * self._config.training["batch"] // once)
        starts = [
            [start for _ in range(rounds) for start in random_starts(len(clip), steps, generator)]
            for clip in self._train
        ]
        return Blocks(self._train, starts, steps)


def _targets(clips: Sequence[Clip], classes: int, *, multi_label: bool) -> Tensor:
    """Class index of every clip, (N,), or for multi-label data 0 or 1 per class, (N, C)."""
    if not multi_label:
        return torch.tensor([clip.labels[0] for clip in clips])
    targets = torch.zeros(len(clips), classes)
    for row, clip in enumerate(clips):
        targets[row, list(clip.labels)] = 1
    return targets


def _log_loss(clips: Sequence[Clip], probabilities: Any, *, multi_label: bool) -> float:
    """Mean over clips of what `sequence_loss` has at a step: (binary) cross-entropy."""
    targets = _targets(clips, probabilities.shape[1], multi_label=multi_label).numpy()
    if multi_label:
        of_truth = np.where(targets == 1, probabilities, 1 - probabilities)
    else:
        of_truth = probabilities[np.arange(len(clips)), targets]
    return float(-np.log(np.maximum(of_truth, 1e-12)).sum() / len(clips))


@contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Keep Lightning's advice about things decided here on purpose off the user's screen."""
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="lightning")
        warnings.filterwarnings("ignore", module="torch")
        try:
            yield
        finally:
            logger.setLevel(level)
