"""Recipes: sets of options for one kind of data, and the candidates that `auto` compares.

Both tables hold only the options that differ from the defaults. An option that the user gives takes
the place of the recipe's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from glimpses.backbones import BACKBONES
from glimpses.models import AuthorsOptions, ModelOptions, Statistic
from glimpses.runs import DataOptions, OptimOptions
from glimpses.training.options import TrainOptions

#: Names that `--recipe` accepts.
RecipeName = Literal["auto", "small", "segments", "standard", "synthetic", "paper", "authors-code"]


@dataclass(frozen=True)
class Recipe:
    """Options for one kind of data.

    Attributes:
        description: data that it is for, in one line.
        evidence: measurement or source behind it.
        options: the options that differ from the defaults.
    """

    description: str
    evidence: str
    options: TrainOptions


_PAPER_DATA = DataOptions(
    backbone="googlenet_bvlc", fps=30.0, block_length=30, train_stride=1, stride=1, last_steps=None,
    aggregate="mean",
)  # fmt: skip
_PAPER_OPTIM = OptimOptions(
    epochs=15, batch_size=128, learning_rate=2e-4, schedule="constant", optimizer="adam",
    weight_decay=1e-5, attention_target="one", loss="step", label_smoothing=0.0,
    class_weights="none", patience=None, checkpoint="best", refit=False,
)  # fmt: skip

#: Blocks in a batch of the authors' code. Its loss is a sum over the blocks of a batch, plus the
#: decay and the mean penalty once; ours is a mean over the blocks. So learning rates of SGD are
#: multiplied by this number, and the added terms are divided by it.
AUTHORS_BATCH_SIZE = 128

# Two stages on one grid, with the optical flow.
_BOTH = "efficientnet_lite0:32+16:7@flow"

_SMALL = TrainOptions(
    DataOptions(backbone=_BOTH, block_length=40, aggregate="logits"),
    ModelOptions(
        model="attention",
        motion=True,
        motion_bias=True,
        scene=True,
        glimpse_to_output=True,
        hidden_size=128,
        num_layers=1,
        attention_size=64,
        dropout=0.5,
    ),
    OptimOptions(
        epochs=15,
        learning_rate=1e-3,
        loss="block",
        label_smoothing=0.1,
        checkpoint="last",
        refit=True,
    ),
)

#: Recipes by name. `reproduce` takes the options of the last two from here.
RECIPES: Mapping[str, Recipe] = {
    "small": Recipe(
        "short clips of real scenes, up to a few hundred a class",
        "docs/experiments.md#clips-of-real-scenes",
        _SMALL,
    ),
    "segments": Recipe(
        "long recordings with a table of segments",
        "docs/experiments.md#segments-in-long-recordings",
        TrainOptions(
            _SMALL.data,
            replace(_SMALL.model, motion_span="past"),
            replace(_SMALL.optim, loss="step"),
        ),
    ),
    "standard": Recipe(
        "the defaults of all options",
        "docs/lab-book.md#development-of-the-defaults",
        TrainOptions(DataOptions(), ModelOptions(), OptimOptions()),
    ),
    "synthetic": Recipe(
        "generated clips (`glimpses synthetic`)",
        "docs/experiments.md#generated-clips",
        TrainOptions(
            DataOptions(backbone="efficientnet_lite0:16", block_length=10),
            ModelOptions(
                model="attention", attention="content", hidden_size=128, num_layers=3,
                attention_size=64, dropout=0.2,
            ),
            OptimOptions(epochs=30, learning_rate=2e-3, schedule="one-cycle", checkpoint="best"),
        ),
    ),
    "paper": Recipe(
        "the settings of the paper, with the frame rate of its Table 1",
        "docs/reproduce.md",
        TrainOptions(
            _PAPER_DATA,
            ModelOptions(
                model="attention", attention="location", motion=False, motion_only=False,
                motion_bias=False, score_stage="all", scene=False, glimpse_to_output=False,
                hidden_size=512, num_layers=3, dropout=0.5, channel_norm=False,
            ),
            _PAPER_OPTIM,
        ),
    ),
    "authors-code": Recipe(
        "the model and the settings of the authors' code for UCF-11",
        "docs/reproduce.md",
        TrainOptions(
            _PAPER_DATA.overridden_by(DataOptions(last_steps=30, aggregate="majority")),
            ModelOptions(
                model="authors", hidden_size=512, dropout=0.5, channel_norm=False,
                authors=AuthorsOptions(attention_layers=1),
            ),
            _PAPER_OPTIM.overridden_by(OptimOptions(weight_decay=1e-5 / AUTHORS_BATCH_SIZE)),
        ),
    ),
}  # fmt: skip


def _candidate(model: ModelOptions, backbone: str = _BOTH) -> TrainOptions:
    """Return the options of a candidate that is trained like the recipe `small`."""
    return _SMALL._replace(data=replace(_SMALL.data, backbone=backbone), model=model)


def _lstm(model: str, **options: Any) -> ModelOptions:
    return ModelOptions(model=model, hidden_size=128, num_layers=1, dropout=0.5, **options)


def _linear(*statistics: Statistic) -> TrainOptions:
    """Return a candidate that reads statistics of up to 10 s of a clip at once."""
    data = DataOptions(backbone=_BOTH, block_length=100, last_steps=1)
    return _SMALL._replace(data=data, model=ModelOptions(model="linear", statistics=statistics))


_STAGE16, _LATE = "efficientnet_lite0:16:7", "efficientnet_lite0:32"

#: Candidates of `auto` by name. They begin in this order while there is time to test them on all
#: folds: the linear ones first, which take seconds, then the most promising ones. Of those with
#: attention the first one that is good enough is chosen. They read parts of the same features, so
#: the CNN computes every clip once.
CANDIDATES: Mapping[str, TrainOptions] = {
    "linear": _linear("mean", "deviation", "change"),
    "linear on change": _linear("change"),
    "attention (small)": _SMALL,
    "attention without motion bias": _candidate(replace(_SMALL.model, motion_bias=False)),
    "average pooling": _candidate(_lstm("average", motion=True)),
    "max pooling": _candidate(_lstm("max", motion=True)),
    "attention, stage 16": _candidate(_lstm("attention", motion=True, motion_bias=True), _STAGE16),
    "attention, late stage": _candidate(_lstm("attention", motion=True, motion_bias=True), _LATE),
    "softmax regression": _candidate(ModelOptions(model="softmax"), _LATE),
}


def override(options: TrainOptions, user_options: TrainOptions) -> TrainOptions:
    """Return options with the given ones in place of their own.

    A backbone without a stage, such as `googlenet_bvlc`, takes the place of the network only: its
    stages are those of the options, if its stages have names of strides.

    Raises:
        InvalidOptionError: they do not go together.
    """
    data = options.data.overridden_by(user_options.data)
    network = user_options.data.backbone
    both_given = user_options.data.given_names & options.data.given_names
    has_stages = network in BACKBONES and BACKBONES[network].has_strides
    if has_stages and "backbone" in both_given:
        _, colon, stages = options.data.backbone.partition(":")
        data = replace(data, backbone=f"{network}{colon}{stages}")
    return TrainOptions(
        data,
        options.model.overridden_by(user_options.model),
        options.optim.overridden_by(user_options.optim),
    )
