"""Models that read motion, how much each feature has changed, and such as attend to it."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
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


def changed(cubes: torch.Tensor, step: int) -> torch.Tensor:
    return (cubes[:, step] - cubes[:, max(step - 1, 0)]).abs()


@pytest.mark.parametrize("kind", ["average", "max"])
def test_a_pooled_glimpse_is_that_of_features_and_change(kind: str) -> None:
    model, cubes = make(kind=kind)
    pool = {"average": lambda x: x.mean(1), "max": lambda x: x.max(1).values}[kind]
    seen: list[torch.Tensor] = []
    model.cells[0].register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
    model(cubes)
    for step in range(5):
        both = [pool(cubes[:, step]), pool(changed(cubes, step))]
        torch.testing.assert_close(seen[step], torch.cat(both, dim=1))


def test_a_glimpse_of_motion_is_standardised_before_it_is_read() -> None:
    model, cubes = make()
    model.standard_glimpse.set(torch.full((14,), 0.5), torch.full((14,), 4.0))
    seen: list[torch.Tensor] = []
    model.standard_glimpse.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    model.cells[0].register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
    model(cubes)
    for glimpse, read in zip(seen[::2], seen[1::2], strict=True):
        torch.testing.assert_close(read, (glimpse - 0.5) / 4)


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
        change = changed(cubes, step)[:, 1, 5 + 3 : 5 + 6]
        torch.testing.assert_close(seen[step], torch.cat([nothing, fine[:, step], change], dim=1))


@pytest.mark.parametrize("kind", ["softmax", "authors"])
def test_what_reads_no_motion_refuses_it(kind: str) -> None:
    with pytest.raises(ValueError, match="reads no motion"):
        ModelConfig(classes=2, places=4, channels=3, kind=kind, motion=True)


FOLLOWING = {name: options for name, options in SHAPES.items() if name != "max"}


def following(**options: object) -> tuple[models.RecurrentModel, torch.Tensor]:
    return make(**{"motion": False, "follow_motion": True, **options})


def deviations(cubes: np.ndarray) -> np.ndarray:
    """Mean change of each of (steps, places, channels), in deviations from the mean place."""
    change = np.mean([np.abs(b - a).mean(1) for a, b in pairwise(cubes)], 0)
    return np.asarray((change - change.mean()) / (change.std() + 1e-3))


@pytest.mark.parametrize("options", FOLLOWING.values(), ids=FOLLOWING)
def test_following_motion_is_the_same_step_by_step_and_beside_padding(
    options: dict[str, object],
) -> None:
    model, cubes = following(**options)
    whole = model(cubes)
    padded = torch.cat([cubes, torch.full_like(cubes, 99.0)], dim=1)
    mask = (torch.arange(10) < 5).expand(2, -1)
    torch.testing.assert_close(model(padded, mask).logits[:, :5], whole.logits)
    change = model.looking.slices.change(cubes, mask[:, :5])
    state = model.start(cubes.mean((1, 2)), change)
    for step in range(5):
        logits, attention, state = model.step(cubes[:, step], state)
        torch.testing.assert_close(logits, whole.logits[:, step])
        torch.testing.assert_close(attention, whole.attention[:, step])


def test_scores_are_raised_by_the_change_of_each_place() -> None:
    model, cubes = following(form="location")
    # Without a word from the hidden state, what is left of the scores is the pull.
    model.looking.place.weight.data.zero_()
    softmax = model(cubes).softmax.detach().numpy()
    for block, row in zip(cubes.numpy(), softmax, strict=True):
        raised = np.exp(3 * deviations(block))
        np.testing.assert_allclose(row, np.tile(raised / raised.sum(), (5, 1)), atol=1e-12)


def test_the_change_of_two_stages_is_told_apart() -> None:
    model, cubes = following(**SHAPES["two stages"])
    found = model.looking.slices.change(cubes, torch.ones(2, 5, dtype=torch.bool)).numpy()
    for block, row in zip(cubes.numpy(), found, strict=True):
        np.testing.assert_allclose(row[:4], deviations(block[:, :, :5]), atol=1e-12)
        fine = block[:, :, 5:].reshape(5, 16, 3)
        np.testing.assert_allclose(row[4:], deviations(fine), atol=1e-12)


def test_what_changes_all_places_alike_and_a_single_frame_draw_no_attention() -> None:
    model, cubes = following()
    free, _ = make(motion=False)
    free.load_state_dict({k: v for k, v in model.state_dict().items() if k != "looking.pull"})
    drift = torch.arange(5, dtype=torch.float64).view(1, 5, 1, 1)
    for block in (cubes[:, :1].expand_as(cubes) + drift, cubes[:, :1]):
        torch.testing.assert_close(model(block).softmax, free(block).softmax)


def test_the_pull_is_learned() -> None:
    model, cubes = following()
    model(cubes).logits.square().sum().backward()
    assert model.looking.pull.grad.abs() > 0


def test_without_the_blocks_change_it_does_not_start() -> None:
    model, cubes = following()
    with pytest.raises(ValueError, match="follows motion"):
        model.start(cubes.mean((1, 2)))


@pytest.mark.parametrize("kind", ["average", "max", "softmax", "authors"])
def test_what_does_not_attend_follows_no_motion(kind: str) -> None:
    with pytest.raises(ValueError, match="follows no motion"):
        ModelConfig(classes=2, places=4, channels=3, kind=kind, follow_motion=True)
