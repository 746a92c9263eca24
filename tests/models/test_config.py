"""Model options: invalid values, error messages, and declared capabilities."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest
import torch

from glimpses.models import (
    MODELS,
    AuthorsOptions,
    CubeShape,
    ModelOptions,
    build_meta_model,
    build_model,
)
from glimpses.utils.errors import GlimpsesError
from tests.configs import model_config


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"hidden_size": 0}, "--hidden-size 0: must be a whole number from 1 to 65536"),
        ({"hidden_size": 2**16 + 1}, "--hidden-size 65537"),
        ({"hidden_size": 8.0}, "--hidden-size 8.0"),
        ({"hidden_size": True}, "--hidden-size True"),
        ({"attention_size": "x"}, "--attention-size x"),
        ({"num_layers": -1}, "--num-layers -1"),
        ({"num_layers": 10**8}, "--num-layers 100000000: must be a whole number from 1 to 100"),
        ({"dropout": 1.0}, "--dropout 1.0: must be from 0 to 0.99"),
        ({"dropout": float("nan")}, "--dropout nan"),
        ({"motion": 1}, "--motion 1: must be true or false"),
        ({"attention": "x"}, "--attention x: unknown name; there are location, content"),
        ({"attention_mode": "firm"}, "--attention-mode firm: unknown name; there are soft, hard"),
        ({"model": "atention"}, "--model atention: .* did you mean attention?"),
        ({"model": ["attention"]}, "--model .*unknown name"),
        ({"model": "softmax", "motion": True},
         "--motion is not supported by --model softmax; leave it out"),
        ({"model": "authors", "motion": True}, "--motion is not supported by --model authors"),
        ({"model": "average", "motion_bias": True}, "--motion-bias is not supported by"),
        ({"model": "max", "attention_mode": "hard"}, "--attention-mode hard is not supported by"),
        ({"model": "softmax", "num_layers": 2}, "--num-layers 2 is not supported by"),
        ({"model": "attention", "authors": AuthorsOptions()},
         "--authors .* is not supported by --model attention"),
        ({"motion_only": True}, "--motion-only needs --motion"),
    ],
    ids=str,
)  # fmt: skip
def test_impossible_options_are_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(GlimpsesError, match=message):
        ModelOptions(**wrong)
    with pytest.raises(ValueError, match=message):
        ModelOptions(**wrong)


@pytest.mark.parametrize(
    "wrong",
    [
        {"places": 0}, {"channels": 2**24 + 1}, {"fine_channels": -1}, {"fine_channels": 5},
        {"fine_ratio": 0}, {"places": 3, "fine_channels": 1}, {"channels": 1.5},
    ],
    ids=str,
)  # fmt: skip
def test_impossible_cubes_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        CubeShape(**{"places": 4, "channels": 5, **wrong})


@pytest.mark.parametrize("name", MODELS)
def test_a_model_declares_what_it_does(name: str) -> None:
    options = {"hidden_size": 7, "motion": True}
    config = model_config(num_classes=3, model=name, places=4, channels=5, **options)
    model, meta = build_model(config).eval(), build_meta_model(config)
    assert MODELS[name].options <= {field.name for field in fields(ModelOptions)}
    cubes = torch.randn(2, 3, 4, 5)
    output = model(cubes)
    assert model.has_attention == (output.attention is not None)
    assert model.description == meta.description
    assert "\n" not in model.description
    assert all(parameter.is_meta for parameter in meta.parameters())
    assert model.can_stream
    state = model.initial_state(cubes.mean((1, 2)))
    for cube in cubes.unbind(1):
        shapes = {name: tuple(tensor.shape[1:]) for name, tensor in state.items()}
        assert shapes == model.state_spec == meta.state_spec
        _, attention, state = model.step(cube, state)
        assert model.has_attention == (attention is not None)


@pytest.mark.parametrize("name", [name for name in MODELS if name != "softmax"])
def test_padding_before_a_real_frame_is_refused(name: str) -> None:
    config = model_config(num_classes=3, model=name, places=4, channels=5, hidden_size=7)
    mask = torch.tensor([[True, False, True]])
    with pytest.raises(ValueError, match="padding must come after"):
        build_model(config)(torch.randn(1, 3, 4, 5), mask)
