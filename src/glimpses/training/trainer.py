"""The loop: one model, its blocks and its loss, resumable to the bit.

Everything random in an epoch (which blocks, their order, dropout) follows from the seed and the
epoch's number alone, so a run that was killed and started again ends with the same weights as one
that was left in peace.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tensorboardX import SummaryWriter
from torch import Tensor
from torch.optim.lr_scheduler import LRScheduler, OneCycleLR

from glimpses import models, runs
from glimpses.datasets import Clip, Split
from glimpses.evaluation import score
from glimpses.features import (
    BatchLoader,
    Block,
    Blocks,
    ClipFeatures,
    Features,
    grid_starts,
    random_starts,
)
from glimpses.inference.aggregate import predict_clips
from glimpses.models import ActionModel, RecurrentModel
from glimpses.models.base import Standardise
from glimpses.models.loss import sequence_loss
from glimpses.runs import MONITOR, RunConfig, best_epoch, kept_epoch
from glimpses.utils import progress
from glimpses.utils.errors import GlimpsesError
from glimpses.utils.files import atomic_write

# Enough to know a channel's mean to a hundredth of its deviation.
_STATISTICS_FRAMES = 2000

# Share of a training in which the learning rate of one cycle climbs.
_WARM_UP = 0.1

# An epoch has at least so many batches: with few clips it goes over them more than once.
_LEAST_BATCHES = 10

_MIXED = {"16-mixed": torch.float16, "bf16-mixed": torch.bfloat16}


def fit(out: Path, config: RunConfig, split: Split, features: Features, device: str) -> None:
    """Run the loop, keep one epoch's weights (`kept_epoch`), and write the run."""
    settings = config.training
    torch.manual_seed(settings["seed"])
    model = models.build(config.model)
    if settings["standardise"]:
        standardise(model, config.steps, [features.clips[clip.id] for clip in split.train])
    place = torch.device(device)
    if place.type == "cuda":
        torch.cuda.set_device(place.index or 0)
    fitting = _Fitting(model.to(place), config, split, features, place)
    last = out / "checkpoints" / "last.ckpt"
    if last.exists():
        fitting.resume(last)
    try:
        if not fitting.over:
            _run(fitting, out, last)
    except OSError as error:
        raise GlimpsesError(
            f"{out}: cannot be written ({error.strerror or error}); free some space and run the "
            "same command again to go on"
        ) from error
    if not np.isfinite(fitting.curves[MONITOR]).any():
        raise GlimpsesError(
            f"{out}: training diverged, every loss is infinite; train again with a lower "
            "--learning-rate and --overwrite"
        )
    model.cpu().load_state_dict(fitting.best)
    runs.write_curves(out, fitting.curves)
    runs.save_model(out, model)


def _run(fitting: _Fitting, out: Path, last: Path) -> None:
    with (
        SummaryWriter(str(out / "tensorboard")) as board,
        progress.bar(f"training {out.name}", fitting.batches) as bar,
    ):
        # What an earlier, interrupted call has done already.
        bar.advance(fitting.epoch * fitting.batches // fitting.epochs)
        while not fitting.over:
            found = fitting.one_epoch(bar)
            fitting.save(last)
            for name, value in found.items():
                board.add_scalar(name, value, fitting.epoch)
            board.flush()
            accuracy = found["validation accuracy"]
            bar.note(f"epoch {fitting.epoch}, validation {accuracy:.0%}")


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


class _Fitting:
    """One model, its blocks and its loss, and how far they have come.

    Attributes:
        curves: of each epoch so far, by name.
        best: weights of the epoch that is kept.
    """

    def __init__(
        self,
        model: ActionModel,
        config: RunConfig,
        split: Split,
        features: Features,
        device: torch.device,
    ) -> None:
        self.curves: dict[str, list[float]] = {}
        self.best: dict[str, Tensor] = {}
        self._model = model
        self._config = config
        self._device = device
        self._train = [features.clips[clip.id] for clip in split.train]
        self._validation = [features.clips[clip.id] for clip in split.validation]
        self._validation_clips = split.validation
        targets = _targets(split.train, len(config.classes), multi_label=config.multi_label)
        self._targets = targets.to(device)
        self._mixed = _MIXED.get(config.training["precision"])
        self._optimiser, self._schedule = self._optimisation()
        # Loss is scaled where half precision would lose its small gradients; else it does nothing.
        self._scaler = torch.amp.GradScaler(device.type, enabled=self._mixed == torch.float16)

    @property
    def epoch(self) -> int:
        """How many are done."""
        return len(self.curves.get(MONITOR, ()))

    @property
    def epochs(self) -> int:
        """How many there are at most."""
        return int(self._config.training["epochs"])

    @property
    def batches(self) -> int:
        """How many batches the whole training has; every epoch has equally many."""
        size: int = self._config.training["batch"]
        return self.epochs * -(-len(self._blocks()) // size)

    @property
    def over(self) -> bool:
        """Whether all epochs are done, or patience is at its end."""
        patience, scores = self._config.training["patience"], self.curves.get(MONITOR, ())
        waited = self.epoch - best_epoch(scores) if scores else 0
        return self.epoch >= self.epochs or (patience is not None and waited >= patience)

    def one_epoch(self, bar: progress.Bar) -> dict[str, float]:
        """Go through an epoch's blocks once, and see what it brought; what is new of `curves`."""
        blocks = self._blocks()
        order = self._random("order").permutation(len(blocks)).tolist()
        # Dropout, and what hard attention draws.
        torch.manual_seed(int(self._random("dropout").integers(2**62)))
        losses, steps = [], []
        self._model.train()
        for batch in BatchLoader(
            blocks, self._config.training["batch"], order=order, device=self._device
        ):
            losses.append(self._step(batch) * len(batch.clip))
            # Not a number yet, for which a GPU would have to be waited for at every step.
            steps.append(batch.mask.sum())
            bar.advance()
        found = self._validate(float(torch.stack(losses).sum() / torch.stack(steps).sum()))
        for name, value in found.items():
            self.curves.setdefault(name, []).append(value)
        if kept_epoch(self.curves[MONITOR], self._config.training["keep"]) == self.epoch:
            weights = self._model.state_dict()
            self.best = {name: weight.cpu().clone() for name, weight in weights.items()}
        return found

    def _step(self, batch: Block) -> Tensor:
        """Descend by Eq. 7, whose last term is the optimiser's; its first term, for the curves."""
        settings = self._config.training
        with torch.autocast(self._device.type, self._mixed, enabled=self._mixed is not None):
            loss = sequence_loss(
                self._model(batch.cubes, batch.mask),
                self._targets[batch.clip],
                batch.mask,
                multi_label=self._config.multi_label,
                attention_weight=settings["attention_penalty"],
                attention_target=settings["attention_target"],
            )
        self._optimiser.zero_grad()
        self._scaler.scale(loss.total).backward()  # type: ignore[no-untyped-call]
        self._scaler.step(self._optimiser)
        self._scaler.update()
        if self._schedule is not None:
            self._schedule.step()
        return loss.classification.detach()

    def _validate(self, training_loss: float) -> dict[str, float]:
        """Score the validation clips as a test would: averaged over steps and blocks."""
        config = self._config
        probabilities = np.stack([
            result.probabilities
            for result in predict_clips(
                self._model, self._validation,
                steps=config.steps, stride=config.stride, multi_label=config.multi_label,
                last_steps=config.last_steps, vote=config.vote,
            )
        ])  # fmt: skip
        scores = score(
            self._validation_clips, probabilities, config.classes, multi_label=config.multi_label
        )
        loss = _log_loss(self._validation_clips, probabilities, multi_label=config.multi_label)
        return {
            # Per real step and without the penalty, to be compared with the validation clips'.
            "training loss": training_loss,
            "validation loss": loss,
            "validation accuracy": scores.value,
            # Few validation clips tie often; the surer of two equal epochs is the better one. The
            # loss must never outvote a clip.
            MONITOR: scores.value - min(loss, 28) / (30 * len(self._validation_clips)),
        }

    def save(self, checkpoint: Path) -> None:
        """Write all that `resume` needs; the file is whole, or the one before it stays."""
        state = {
            "curves": self.curves,
            "best": self.best,
            **{name: part.state_dict() for name, part in self._parts().items()},
        }
        # By way of memory: on a full disk torch.save raises what nobody would take for that.
        buffer = io.BytesIO()
        torch.save(state, buffer)
        with atomic_write(checkpoint) as part:
            part.write_bytes(buffer.getbuffer())

    def resume(self, checkpoint: Path) -> None:
        """Go on from there; nothing is unpickled."""
        try:
            state = torch.load(checkpoint, weights_only=True, map_location=self._device)
            curves, best = state["curves"], state["best"]
            for name, part in self._parts().items():
                part.load_state_dict(state[name])
        # What torch.load raises for a damaged file depends on where the damage is.
        except (
            OSError, RuntimeError, EOFError, ValueError, KeyError, TypeError,
            pickle.UnpicklingError,
        ) as error:  # fmt: skip
            raise GlimpsesError(
                f"{checkpoint}: is damaged, or of another version; delete it and run the same "
                "again to start anew"
            ) from error
        self.curves, self.best = curves, best

    def _parts(self) -> dict[str, Any]:
        parts = {"model": self._model, "optimiser": self._optimiser, "scaler": self._scaler}
        return parts if self._schedule is None else {**parts, "schedule": self._schedule}

    def _optimisation(self) -> tuple[torch.optim.Optimizer, LRScheduler | None]:
        """Adam or SGD; a coupled weight decay adds 2 gamma theta, the gradient of Eq. 7's end."""
        settings = self._config.training
        kind = torch.optim.SGD if settings["optimiser"] == "sgd" else torch.optim.Adam
        optimiser = kind(
            self._model.parameters(),
            lr=settings["learning_rate"],
            weight_decay=2 * settings["weight_decay"],
            fused=True,
        )
        # Of one or two batches there is no cycle to make.
        if settings["schedule"] == "constant" or self.batches < 3:
            return optimiser, None
        cycle = OneCycleLR(
            optimiser, settings["learning_rate"], total_steps=self.batches,
            # The climb has two batches at least: one that ends where it starts divides by 0.
            pct_start=max(_WARM_UP, 2 / self.batches),
            cycle_momentum=False,
        )  # fmt: skip
        return optimiser, cycle

    def _random(self, purpose: str) -> np.random.Generator:
        return np.random.default_rng((self._config.training["seed"], self.epoch, *purpose.encode()))

    def _blocks(self) -> Blocks:
        steps, stride = self._config.steps, self._config.training["train_stride"]
        generator = self._random("blocks")
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
