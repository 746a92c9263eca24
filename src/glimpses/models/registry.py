"""Table of all models: the rows of the paper's Table 1, and the authors' own model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from glimpses.models.authors import AuthorsModel
from glimpses.models.base import ActionModel
from glimpses.models.baselines import AveragePooledLSTM, MaxPooledLSTM, SoftmaxRegression
from glimpses.models.config import ModelConfig
from glimpses.models.linear import LinearModel
from glimpses.models.motion import MotionAttentionModel
from glimpses.models.recurrent import RecurrentAttentionModel


@dataclass(frozen=True)
class ModelEntry:
    """Entry of the table of models.

    Attributes:
        build: makes the model, with weights drawn from PyTorch's global random state.
        description: what the model is, in one line.
        options: names of the fields of `ModelOptions` that the model reads.
    """

    build: Callable[[ModelConfig], ActionModel]
    description: str
    options: frozenset[str]


def _build_attention_model(config: ModelConfig) -> ActionModel:
    uses_motion = config.options.motion or config.options.motion_bias
    return MotionAttentionModel(config) if uses_motion else RecurrentAttentionModel(config)


_LSTM = frozenset({"hidden_size", "num_layers", "dropout", "channel_norm"})
_MOTION = frozenset({"motion", "motion_only"})
_ATTENTION = frozenset(
    {"attention", "attention_mode", "attention_size", "motion_bias"}
    | {"motion_span", "score_stage", "scene", "glimpse_to_output"}
)

#: All models by name. A new model is one file and one entry here.
MODELS: dict[str, ModelEntry] = {
    "attention": ModelEntry(
        _build_attention_model, "LSTM with soft or hard attention", _LSTM | _MOTION | _ATTENTION
    ),
    "average": ModelEntry(AveragePooledLSTM, "LSTM on average-pooled cubes", _LSTM | _MOTION),
    "max": ModelEntry(MaxPooledLSTM, "LSTM on max-pooled cubes", _LSTM | _MOTION),
    "softmax": ModelEntry(
        SoftmaxRegression, "softmax regression on whole cubes", frozenset({"channel_norm"})
    ),
    "linear": ModelEntry(
        LinearModel,
        "logistic regression on statistics of a clip",
        frozenset({"statistics", "inverse_penalty", "channel_norm"}),
    ),
    "authors": ModelEntry(
        AuthorsModel,
        "model of the authors' released code",
        frozenset({"hidden_size", "dropout", "channel_norm", "authors"}),
    ),
}


def build_model(config: ModelConfig) -> ActionModel:
    """Return a model with initial weights, drawn from PyTorch's global random state."""
    return MODELS[config.options.model].build(config)


def build_meta_model(config: ModelConfig) -> ActionModel:
    """Return a model on PyTorch's meta device, which takes no memory and draws no weights.

    Use it to ask what a model can do, and for the shapes of its weights.
    """
    with torch.device("meta"):
        return build_model(config)
