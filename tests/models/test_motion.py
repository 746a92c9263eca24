"""Models that read motion: beside each feature, how much it has changed since the frame before."""

from __future__ import annotations

import pytest
import torch

from glimpses import models
from glimpses.models import ModelConfig

SHAPES = {
    "content": {},
    "location": {"form": "location"},
    "hard": {"glimpse": "hard"},
    "two stages": {"channels": 5 + 4 * 3, "fine_channels": 3, "fine_ratio": 2},
    "max": {"kind": "max"},
}


def make(**options: object) -> tuple[models.RecurrentModel, torch.Tensor]:
    torch.manual_seed(0)
    shape = {"classes": 3, "places": 4, "channels": 7, "hidden": 6, "motion": True, **options}
    config = ModelConfig(**shape)
    model = models.build(config).double().eval()
    assert isinstance(model, models.RecurrentModel)
    return model, torch.randn(2, 5, 4, config.channels, dtype=torch.float64)


@pytest.mark.parametrize("options", SHAPES.values(), ids=SHAPES)
def test_step_by_step_it_says_what_it_says_of_a_block(options: dict[str, object]) -> None:
    model, cubes = make(**options)
    whole = model(cubes)
    state = model.start(cubes.mean((1, 2)))
    for step in range(5):
        logits, attention, state = model.step(cubes[:, step], state)
        torch.testing.assert_close(logits, whole.logits[:, step])
        if attention is not None:
            torch.testing.assert_close(attention, whole.attention[:, step])


def relative(cubes: torch.Tensor, step: int) -> torch.Tensor:
    change = (cubes[:, step] - cubes[:, max(step - 1, 0)]).abs()
    return change - sum(change[:, place] for place in range(4)).unsqueeze(1) / 4


def test_a_pooled_glimpse_is_that_of_features_and_change() -> None:
    model, cubes = make(kind="max")
    seen: list[torch.Tensor] = []
    model.cells[0].register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
    model(cubes)
    for step in range(5):
        both = [cubes[:, step].max(1).values, relative(cubes, step).max(1).values]
        torch.testing.assert_close(seen[step], torch.cat(both, dim=1))


def test_what_moves_all_places_alike_is_no_motion() -> None:
    model, cubes = make()
    still = cubes[:, :1].expand_as(cubes)
    drift = torch.arange(5, dtype=torch.float64).view(1, 5, 1, 1)
    seen: list[torch.Tensor] = []
    model.cells[0].register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
    model(still + drift)
    torch.testing.assert_close(torch.stack(seen)[..., 7:], torch.zeros(5, 2, 7).double())


def test_an_attended_place_gives_its_features_and_their_change() -> None:
    model, cubes = make(**SHAPES["two stages"])
    slices = model.looking.slices
    place = torch.zeros(2, 5, slices.count, dtype=torch.float64)
    # The second of the fine places below coarse place 1.
    place[:, :, 4 + 4 + 1] = 1
    seen: list[torch.Tensor] = []
    model.cells[0].register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
    model(cubes, None, place)
    fine = cubes[:, :, 1, 5 + 3 : 5 + 6]
    nothing = torch.zeros(2, 10, dtype=torch.float64)
    for step in range(5):
        change = relative(cubes, step)[:, 1, 5 + 3 : 5 + 6]
        torch.testing.assert_close(seen[step], torch.cat([nothing, fine[:, step], change], dim=1))


@pytest.mark.parametrize("kind", ["average", "softmax", "authors"])
def test_what_reads_no_motion_refuses_it(kind: str) -> None:
    with pytest.raises(ValueError, match="reads no motion"):
        ModelConfig(classes=2, places=4, channels=3, kind=kind, motion=True)
