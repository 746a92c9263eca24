"""Feature cubes to logits and attention at every step: the paper's model and its baselines."""

from __future__ import annotations

from collections.abc import Callable

from glimpses.models.authors import AuthorsModel
from glimpses.models.base import (
    ActionModel,
    AuthorsOptions,
    Choice,
    ModelConfig,
    ModelOutput,
    State,
)
from glimpses.models.decoder import RecurrentModel
from glimpses.models.looking import (
    AveragePooling,
    ContentAttention,
    LocationAttention,
    Looking,
    MaxPooling,
)
from glimpses.models.regression import SoftmaxRegression

__all__ = [
    "MODELS",
    "ActionModel",
    "AuthorsModel",
    "AuthorsOptions",
    "Choice",
    "ModelConfig",
    "ModelOutput",
    "RecurrentModel",
    "State",
    "build",
]


def _attention(config: ModelConfig) -> Looking:
    if config.form == "location":
        return LocationAttention(config)
    return ContentAttention(config)


# The rows of the paper's Table 1, and what its authors released; a new model is one file and one
# line here.
MODELS: dict[str, Callable[[ModelConfig], ActionModel]] = {
    "attention": lambda config: RecurrentModel(config, _attention(config)),
    "average": lambda config: RecurrentModel(config, AveragePooling(config)),
    "max": lambda config: RecurrentModel(config, MaxPooling(config)),
    "softmax": SoftmaxRegression,
    "authors": AuthorsModel,
}


def build(config: ModelConfig) -> ActionModel:
    """Make a model with fresh weights, drawn from PyTorch's global random state."""
    return MODELS[config.kind](config)
