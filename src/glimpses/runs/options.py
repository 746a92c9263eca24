"""Options of the data and of the optimisation; the model's are `glimpses.models.ModelOptions`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from glimpses import backbones
from glimpses.datasets import Unlabelled
from glimpses.utils.options import (
    COMMON,
    OptionGroup,
    require_choices,
    require_int,
    require_name,
    require_number,
)
from glimpses.video import FrameRate

# A config may be hostile; these are far more than anybody needs.
_MAX_FPS = 240
_MAX_BLOCK_LENGTH = 10_000


@dataclass(frozen=True)
class DataOptions(OptionGroup):
    """Options of clips, features and blocks.

    Attributes:
        layout: layout of the data set on disk; "auto" recognises it.
        split: name of one of the data set's own splits, or "folds" to split by recording; default:
            the first of its own splits, if there are any.
        folds: number of folds that recordings are assigned to.
        fold: fold that is the test subset, from 0.
        allow_shared_groups: accept lists that put clips of one class and recording into two
            subsets.
        unlabelled: time without a segment is a class, `background`, or left out (`ignore`).
        backbone: CNN, stage and grid, as in `efficientnet_lite0:16:7`.
        fps: frames per second to sample; "native" keeps every frame (30 in the paper).
        skip_static: reuse the features of the last computed frame while the mean difference in
            grey levels (0 to 255) stays below this; 0 computes every frame.
        feature_dir: folder of the feature store; default: the user's cache.
        block_length: frames in a block, T (30 in the paper).
        train_stride: frames between training blocks (1 in the paper); default: random blocks,
            drawn again in every epoch.
        stride: frames between the blocks of a test clip (1 in the paper); default: block_length.
        last_steps: steps at the end of a block that make its prediction; default: all.
        aggregate: prediction of a clip: `mean` over its steps and blocks (the paper), `logits`,
            the softmax of the mean logits, or `majority` of the classes of its blocks (the
            authors' code).

    Raises:
        InvalidOptionError: an option is out of range or unknown.
    """

    layout: str = "auto"
    split: Annotated[str | None, COMMON] = None
    folds: int = 5
    fold: int = 0
    allow_shared_groups: bool = False
    unlabelled: Unlabelled = "background"
    backbone: Annotated[str, COMMON] = backbones.DEFAULT
    fps: FrameRate = 10.0
    skip_static: float = 0.0
    feature_dir: Path | None = None
    block_length: int = 10
    train_stride: int | None = None
    stride: int | None = None
    last_steps: int | None = None
    aggregate: Literal["mean", "logits", "majority"] = "mean"

    def __post_init__(self) -> None:
        if self.feature_dir is not None:
            object.__setattr__(self, "feature_dir", Path(self.feature_dir))
        require_choices(self)
        require_int("block_length", self.block_length, 1, _MAX_BLOCK_LENGTH)
        # A longer stride would leave frames in no block. A recipe may still give the length.
        longest = self.block_length if "block_length" in self.given_names else math.inf
        for name in ("stride", "train_stride", "last_steps"):
            if (value := getattr(self, name)) is not None:
                require_int(name, value, 1, longest)
        require_number("skip_static", self.skip_static, 0)
        if self.fps != "native":
            require_number("fps", self.fps, 1e-3, _MAX_FPS)

    @property
    def block_stride(self) -> int:
        """Frames between the blocks of a test clip."""
        return self.stride or self.block_length


@dataclass(frozen=True)
class OptimOptions(OptionGroup):
    """Options of the optimisation (section 3 of the paper).

    Attributes:
        epochs: largest number of epochs.
        batch_size: blocks in a batch.
        learning_rate: learning rate; the highest one of a one-cycle schedule.
        schedule: `one-cycle` rises during a tenth of the batches and falls to 0 (Smith and Topin,
            2018); `constant` as in the paper.
        optimizer: Adam, or SGD without momentum.
        weight_decay: gamma of Eq. 7.
        class_weights: weight of a class in the loss: `balanced` is inverse to its clips; `auto`
            balances if a class has over twice the clips of another.
        loss: cross-entropy of every `step` (Eq. 7), or of the `block`, by its mean logits.
        label_smoothing: share of a label that is spread evenly over all classes.
        attention_penalty: lambda of Eq. 7.
        attention_target: total attention that each place should get in a block: `one` (Eq. 7), or
            its fair `share`, T/K^2.
        patience: epochs without a better validation score before training stops; default: never.
        checkpoint: weights to keep: those of the epoch that is `best` on the validation clips, of
            the `last`, or of an epoch by its number, which ends the training. A few dozen clips
            choose no better than chance.
        refit: train again, on the validation clips, too.
        precision: precision of the arithmetic; mixed precision needs a GPU.

    Raises:
        InvalidOptionError: an option is out of range or unknown.
    """

    epochs: Annotated[int, COMMON] = 30
    batch_size: Annotated[int, COMMON] = 32
    learning_rate: Annotated[float, COMMON, Parameter(name=("--learning-rate", "--lr"))] = 2e-3
    schedule: Literal["one-cycle", "constant"] = "one-cycle"
    optimizer: Literal["adam", "sgd"] = "adam"
    weight_decay: float = 1e-5
    class_weights: Literal["auto", "none", "balanced"] = "auto"
    loss: Literal["step", "block"] = "step"
    label_smoothing: float = 0.0
    attention_penalty: float = 0.0
    attention_target: Literal["one", "share"] = "one"
    patience: int | None = None
    checkpoint: Literal["best", "last"] | int = "best"
    refit: bool = False
    precision: Literal["32-true", "16-mixed", "bf16-mixed"] = "32-true"

    def __post_init__(self) -> None:
        require_choices(self)
        for name in ("epochs", "batch_size"):
            require_int(name, getattr(self, name))
        if self.patience is not None:
            require_int("patience", self.patience)
        if isinstance(self.checkpoint, int):
            require_int("checkpoint", self.checkpoint, 1, self.epochs)
        else:
            require_name("checkpoint", self.checkpoint, ("best", "last"))
        require_number("learning_rate", self.learning_rate, 1e-12)
        require_number("label_smoothing", self.label_smoothing, 0, 0.99)
        for name in ("attention_penalty", "weight_decay"):
            require_number(name, getattr(self, name), 0)
