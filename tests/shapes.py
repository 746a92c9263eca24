"""Model configs from flat keyword arguments."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from glimpses.models import CubeShape, ModelConfig, ModelOptions, supported_options


def model_config(*, num_classes: int, model: str = "attention", **flat: Any) -> ModelConfig:
    """A config of options and of the cube's shape; options that the model does not read are left
    out."""
    cube = {field.name for field in fields(CubeShape)}
    options = {name: value for name, value in flat.items() if name not in cube}
    return ModelConfig(
        ModelOptions(model=model, **supported_options(model, options)),
        num_classes,
        CubeShape(**{name: value for name, value in flat.items() if name in cube}),
    )
