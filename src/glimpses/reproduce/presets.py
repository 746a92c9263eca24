"""Training options of the paper and of the authors' code, with the source of each option.

`load_preset("ucf11").for_row(TABLE1[3])` has the options of the paper's attention model; pass its
`data`, `model` and `optim` to `glimpses.train`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

from glimpses.models import AuthorsOptions, ModelOptions, supported_options
from glimpses.reproduce.paper import DatasetName, Row
from glimpses.runs import DataOptions, OptimOptions
from glimpses.training import RECIPES
from glimpses.training.recipes import AUTHORS_BATCH_SIZE
from glimpses.utils.errors import GlimpsesError

#: Origin of the options: the paper, or the authors' released code where the two differ.
PresetName = Literal["paper", "authors-code"]


@dataclass(frozen=True)
class Preset:
    """Options of a training, with the source of each option.

    Attributes:
        data: options of clips, features and blocks.
        model: options of the attention model, or of the model that `for_row` selected.
        baseline: options of the average-pooled LSTM, from which the other baselines follow.
        optim: options of the optimisation.
        sources: source of each option, by the option's name.
        penalty_unit: value in our loss of lambda = 1 (Eq. 7).
    """

    data: DataOptions
    model: ModelOptions
    baseline: ModelOptions
    optim: OptimOptions
    sources: Mapping[str, str]
    penalty_unit: float = 1.0

    def options(self) -> dict[str, Any]:
        """Return the value of every option that has a source, by the option's name."""
        values = {**vars(self.data), **vars(self.optim)}
        for model in (self.baseline, self.model):
            values |= supported_options(model.model, vars(model))
        if self.model.authors is not None:
            values |= vars(self.model.authors)
        return {name: values[name] for name in self.sources}

    def replace(self, source: str, **options: Any) -> Preset:
        """Return the preset with other values of some options.

        Args:
            source: source of the new values.
            options: new values by the option's name.

        Raises:
            GlimpsesError: a value is not valid.
        """
        model = _replace_supported(self.model, options)
        if model.authors is not None:
            model = replace(model, authors=_replace_fields(model.authors, options))
        return replace(
            self,
            data=_replace_fields(self.data, options),
            model=model,
            baseline=_replace_supported(self.baseline, options),
            optim=_replace_fields(self.optim, options),
            sources={**self.sources, **dict.fromkeys(options, source)},
        )

    def for_row(self, row: Row) -> Preset:
        """Return the preset with the model, the attention penalty and the frame rate of a row."""
        model = self.model
        if row.baseline is not None:
            options = supported_options(row.baseline, vars(self.baseline))
            model = ModelOptions(row.baseline, **options)
        return replace(
            self,
            data=self.data if row.fps is None else replace(self.data, fps=row.fps),
            model=model,
            optim=replace(self.optim, attention_penalty=row.attention_penalty * self.penalty_unit),
        )


def load_preset(dataset: DatasetName, name: PresetName = "paper") -> Preset:
    """Return the options for a data set.

    Args:
        dataset: name of the data set.
        name: origin of the options.

    Raises:
        GlimpsesError: the authors' code has no options for the data set.
    """
    hidden_size = 1024 if dataset == "hmdb51" else 512
    preset = _PAPER.replace(_V3, hidden_size=hidden_size)
    if name == "paper":
        return preset
    if dataset not in _SCRIPT_OPTIONS:
        raise GlimpsesError(f"--preset {name}: the authors have no script for {dataset}; use paper")
    script = _SCRIPT_OPTIONS[dataset]
    recipe = RECIPES["authors-code"].options
    model = replace(
        recipe.model,
        hidden_size=hidden_size,
        authors=AuthorsOptions(attention_layers=script.attention_layers),
    )
    sources = {**preset.sources, **_AUTHORS_SOURCES, **script.sources}
    # The authors' model computes attention in one way only.
    for option in ("attention", "motion_bias", "score_stage", "scene", "glimpse_to_output"):
        del sources[option]
    return replace(
        preset,
        data=replace(preset.data, aggregate=script.aggregate, last_steps=script.last_steps),
        model=model,
        baseline=replace(preset.baseline, num_layers=1),
        optim=replace(
            preset.optim, optimizer=script.optimizer, learning_rate=script.learning_rate,
            weight_decay=recipe.optim.weight_decay,
        ),
        sources=sources,
        penalty_unit=1 / AUTHORS_BATCH_SIZE,
    )  # fmt: skip


_V3 = "later version of the paper (arXiv:1511.04119v3)"
_SCRIPTS = "authors' code, scripts/evaluate_*.py"
_CODE = "authors' code, src/actrec.py"
_OURS = "ours: not in the paper"

_OPTIONS = RECIPES["paper"].options
_PAPER = Preset(
    data=_OPTIONS.data,
    model=_OPTIONS.model,
    baseline=ModelOptions(
        model="average", **supported_options("average", _OPTIONS.model.given_values())
    ),
    optim=_OPTIONS.optim,
    sources={
        "backbone": "section 2: last convolutional layer, 7x7x1024; the weights are Caffe's",
        "fps": "Table 1: @ 30 fps",
        "block_length": "section 3: 30 frames at a time",
        "train_stride": f"{_V3}: blocks move by one frame",
        "stride": f"{_V3}: blocks move by one frame",
        "last_steps": "section 3: averaged over all 30 frames",
        "aggregate": "section 3: averaged over all blocks",
        "attention": "Eq. 1",
        "motion": "Eq. 2: the glimpse has the features only",
        "motion_only": "Eq. 2: the glimpse has the features",
        "motion_bias": "Eq. 1: depends on the hidden state only",
        "score_stage": "Eq. 1: one stage",
        "scene": "Eq. 3: the LSTM reads the glimpse only",
        "glimpse_to_output": "section 2: classes from the hidden state only",
        "class_weights": "Eq. 7: no weights",
        "loss": "Eq. 7: cross-entropy at every step",
        "label_smoothing": "Eq. 7: none",
        "hidden_size": _V3,
        "num_layers": "section 2 and Fig. 1b",
        "dropout": f"{_V3}: on all non-recurrent connections",
        "channel_norm": "section 2: features are not normalised",
        "attention_target": "Eq. 7",
        "weight_decay": _V3,
        "optimizer": _V3,
        "learning_rate": f"{_CODE}: fixed inside Adam; the paper does not give one",
        "schedule": f"{_CODE}; the paper does not give one",
        "batch_size": f"{_SCRIPTS}; the paper does not give one",
        "epochs": _V3,
        "patience": f"{_OURS}; training never stops early",
        "checkpoint": f"{_OURS}; the epoch with the best validation score",
        "refit": f"{_OURS}; trained once, on the training clips",
    },
)  # fmt: skip

_AUTHORS_SOURCES: Mapping[str, str] = {
    "num_layers": f"{_CODE}: one LSTM layer",
    "aggregate": f"{_CODE}: the most frequent class of a clip's blocks",
    "attention_layers": f"{_SCRIPTS}: n_layers_att",
    "weight_decay": f"{_SCRIPTS}: 1e-5 on the sum over a batch of {AUTHORS_BATCH_SIZE}",
    "epochs": f"{_SCRIPTS}: max_epochs",
    "last_steps": f"{_SCRIPTS}: last_n",
    "optimizer": f"{_SCRIPTS}: optimizer",
}


@dataclass(frozen=True)
class _ScriptOptions:
    """Options that differ between the authors' scripts, with sources."""

    optimizer: Literal["adam", "sgd"]
    learning_rate: float
    last_steps: int
    sources: Mapping[str, str]
    attention_layers: int = 1
    aggregate: Literal["mean", "majority"] = "majority"


_SCRIPT_OPTIONS: Mapping[DatasetName, _ScriptOptions] = {
    "ucf11": _ScriptOptions(
        "adam", 2e-4, 30,
        {"learning_rate": f"{_CODE}: fixed inside Adam; the script's value is ignored"},
    ),
    "hmdb51": _ScriptOptions(
        "sgd", AUTHORS_BATCH_SIZE * 1e-5, 16,
        {
            "learning_rate": f"{_SCRIPTS}: 1e-5 on the sum over a batch of {AUTHORS_BATCH_SIZE}",
            "optimizer": f"{_SCRIPTS}: optimizer; training continues from an earlier model there, "
            "which is not public",
        },
        attention_layers=3,
    ),
    "hollywood2": _ScriptOptions(
        "sgd", AUTHORS_BATCH_SIZE * 1e-4, 16,
        {
            "learning_rate": f"{_SCRIPTS}: 1e-4 on the sum over a batch of {AUTHORS_BATCH_SIZE}",
            "aggregate": "authors' code, src/actrec_mAP.py",
        },
        aggregate="mean",
    ),
}  # fmt: skip


def _replace_fields(options: Any, values: Mapping[str, Any]) -> Any:
    """Replace the values that are fields of the options."""
    names = {field.name for field in fields(options)}
    return replace(options, **{name: values[name] for name in names & values.keys()})


def _replace_supported(model: ModelOptions, values: Mapping[str, Any]) -> ModelOptions:
    """Replace the values that are options of the model."""
    return replace(model, **supported_options(model.model, values))
