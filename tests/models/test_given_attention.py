"""Forward passes with given attention, as in `ModelOutput.slice_attention`."""

from __future__ import annotations

import pytest
import torch

from glimpses import models
from tests.configs import model_config

ATTENDING = {
    "location": {"attention": "location"},
    "content": {"attention": "content"},
    "hard": {"attention_mode": "hard"},
    "two stages": {"channels": 5 + 4 * 3, "fine_channels": 3, "fine_ratio": 2},
    "authors": {"model": "authors", "num_layers": 1},
}


def make(**options: object) -> tuple[models.ActionModel, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    config = model_config(
        **{"num_classes": 3, "places": 4, "channels": 7, "hidden_size": 6, **options}
    )
    cubes = torch.randn(2, 5, 4, config.cube.channels)
    mask = torch.ones(2, 5, dtype=torch.bool)
    mask[1, 3:] = False
    return models.build_model(config).eval(), cubes, mask


@pytest.mark.parametrize("options", ATTENDING.values(), ids=ATTENDING)
def test_its_own_attention_given_back_changes_nothing(options: dict[str, object]) -> None:
    model, cubes, mask = make(**options)
    own = model(cubes, mask)
    given = model(cubes, mask, own.slice_attention)
    # The output at padded steps has no meaning.
    torch.testing.assert_close(given.logits[mask], own.logits[mask])
    torch.testing.assert_close(given.attention[mask], own.attention[mask])


@pytest.mark.parametrize("options", ATTENDING.values(), ids=ATTENDING)
def test_other_attention_is_followed(options: dict[str, object]) -> None:
    model, cubes, mask = make(**options)
    softmax = model(cubes, mask).slice_attention
    assert softmax is not None
    place = torch.zeros_like(softmax)
    place[:, :, 2] = 1
    looked = model(cubes, mask, place)
    assert looked.slice_attention is not None
    torch.testing.assert_close(looked.slice_attention, place)
    # All but the start's mean is now a function of place 2 alone.
    moved = cubes.clone()
    moved[:, :, 0] += 1
    moved[:, :, 1] -= 1
    same = model(moved, mask, place)
    torch.testing.assert_close(same.logits, looked.logits)
    moved[:, :, 2] += 1
    moved[:, :, 3] -= 1
    assert not torch.allclose(model(moved, mask, place).logits, looked.logits)


@pytest.mark.parametrize("kind", ["average", "max", "softmax"])
def test_a_model_without_attention_cannot_be_told(kind: str) -> None:
    model, cubes, mask = make(model=kind)
    assert model(cubes, mask).slice_attention is None
    with pytest.raises(ValueError, match="no attention"):
        model(cubes, mask, torch.full((2, 5, 4), 0.25))
