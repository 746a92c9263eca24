"""Models that read motion, how much each feature has changed, and such as attend to it."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy import ndimage

from glimpses import models
from glimpses.models.motion import feature_changes, slice_changes, slice_motion
from tests.configs import model_config

BINOMIAL = np.array([1, 4, 6, 4, 1]) / 16
SHAPES = {
    "content": {},
    "location": {"attention": "location"},
    "hard": {"attention_mode": "hard"},
    "two stages": {"channels": 5 + 4 * 3, "fine_channels": 3, "fine_ratio": 2},
    "max": {"model": "max"},
}
ALONE = {
    f"{name}, alone": {**options, "motion_only": True}
    for name, options in (SHAPES | {"average": {"model": "average"}}).items()
}


def make(**options: object) -> tuple[models.ActionModel, torch.Tensor]:
    torch.manual_seed(0)
    shape = {
        "num_classes": 3,
        "places": 4,
        "channels": 7,
        "hidden_size": 6,
        "motion": True,
        **options,
    }
    config = model_config(**shape)
    model = models.build_model(config).double().eval()
    return model, torch.randn(2, 5, 4, config.cube.channels, dtype=torch.float64)


@pytest.mark.parametrize("options", (SHAPES | ALONE).values(), ids=SHAPES | ALONE)
def test_step_by_step_it_says_what_it_says_of_a_block(options: dict[str, object]) -> None:
    model, cubes = make(**options)
    whole = model(cubes)
    state = model.initial_state(cubes.mean((1, 2)))
    for step in range(5):
        logits, attention, state = model.step(cubes[:, step], state)
        torch.testing.assert_close(logits, whole.logits[:, step])
        if attention is not None:
            torch.testing.assert_close(attention, whole.attention[:, step])


def changed(cubes: torch.Tensor, step: int) -> torch.Tensor:
    return (cubes[:, step] - cubes[:, max(step - 1, 0)]).abs()


@pytest.mark.parametrize("kind", ["average", "max"])
def test_a_pooled_glimpse_is_that_of_features_and_change(kind: str) -> None:
    model, cubes = make(model=kind)
    pool = {"average": lambda x: x.mean(1), "max": lambda x: x.max(1).values}[kind]
    seen: list[torch.Tensor] = []
    model.lstm.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
    model(cubes)
    for step in range(5):
        both = [pool(cubes[:, step]), pool(changed(cubes, step))]
        torch.testing.assert_close(seen[0][:, step], torch.cat(both, dim=1))


@pytest.mark.parametrize("kind", ["average", "max"])
def test_alone_a_pooled_glimpse_is_that_of_the_change(kind: str) -> None:
    model, cubes = make(model=kind, motion_only=True)
    pool = {"average": lambda x: x.mean(1), "max": lambda x: x.max(1).values}[kind]
    seen: list[torch.Tensor] = []
    model.lstm.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
    model(cubes)
    for step in range(5):
        torch.testing.assert_close(seen[0][:, step], pool(changed(cubes, step)))


def test_motion_alone_is_read_as_the_equations_say() -> None:
    model, cubes = make(motion_only=True, motion_bias=True, num_layers=1)
    model.channel_norm.set(*torch.randn(2, 7).abs())
    model.glimpse_norm.set(*torch.randn(2, 7).abs())
    weights = {name: weight.detach().numpy() for name, weight in model.state_dict().items()}
    said = model(cubes).logits.detach().numpy()
    for block, logits in zip(cubes.numpy(), said, strict=True):
        np.testing.assert_allclose(by_hand(weights, block), logits, rtol=1e-9)


def by_hand(weights: dict[str, np.ndarray], block: np.ndarray) -> np.ndarray:
    """Logits of a block (steps, places, channels) from where it is, not what it is of."""

    def linear(name: str, x: np.ndarray) -> np.ndarray:
        return np.asarray(x @ weights[f"{name}.weight"].T + weights.get(f"{name}.bias", 0))

    def sigmoid(x: np.ndarray) -> np.ndarray:
        return np.asarray(1 / (1 + np.exp(-x)))

    x = (block - weights["channel_norm.mean"]) * weights["channel_norm.scale"]
    h, c = (
        np.tanh(linear(f"{start}.outer", np.tanh(linear(f"{start}.inner", x.mean((0, 1))))))
        for start in ("init_hidden", "init_cell")
    )
    drawn = weights["motion_gain"] * deviations(x)
    logits = []
    for step, cube in enumerate(x):
        inner = np.tanh(
            linear("attention.attention.key", cube) + linear("attention.attention.query", h)
        )
        raised = np.exp(linear("attention.attention.score", inner)[:, 0] + drawn)
        glimpse = raised / raised.sum() @ np.abs(cube - x[max(step - 1, 0)])
        glimpse = (glimpse - weights["glimpse_norm.mean"]) * weights["glimpse_norm.scale"]
        gates = glimpse @ weights["cells.0.weight_ih"].T + weights["cells.0.bias_ih"]
        gates = gates + h @ weights["cells.0.weight_hh"].T + weights["cells.0.bias_hh"]
        i, f, g, o = np.split(gates, 4)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        logits.append(linear("head.4", np.tanh(linear("head.1", h))))
    return np.stack(logits)


def test_a_glimpse_of_motion_is_standardised_before_it_is_read() -> None:
    model, cubes = make()
    model.glimpse_norm.set(torch.full((14,), 0.5), torch.full((14,), 4.0))
    seen: list[torch.Tensor] = []
    model.glimpse_norm.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    model.cells[0].register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
    model(cubes)
    for glimpse, read in zip(seen[::2], seen[1::2], strict=True):
        torch.testing.assert_close(read, (glimpse - 0.5) / 4)


@pytest.mark.parametrize("alone", [False, True])
def test_an_attended_place_gives_its_features_and_their_change(alone: bool) -> None:
    model, cubes = make(**SHAPES["two stages"], motion_only=alone)
    slices = model.layout
    place = torch.zeros(2, 5, slices.num_slices, dtype=torch.float64)
    # The second of the fine places below coarse place 1.
    place[:, :, 4 + 4 + 1] = 1
    seen: list[torch.Tensor] = []
    model.cells[0].register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
    model(cubes, None, place)
    fine = cubes[:, :, 1, 5 + 3 : 5 + 6]
    nothing = torch.zeros(2, 5 if alone else 10, dtype=torch.float64)
    for step in range(5):
        change = changed(cubes, step)[:, 1, 5 + 3 : 5 + 6]
        parts = [nothing, change] if alone else [nothing, fine[:, step], change]
        torch.testing.assert_close(seen[step], torch.cat(parts, dim=1))


FOLLOWING = {name: options for name, options in SHAPES.items() if name != "max"}


def following(**options: object) -> tuple[models.ActionModel, torch.Tensor]:
    return make(**{"motion": False, "motion_bias": True, **options})


def deviations(cubes: np.ndarray, *, smooth: bool = True) -> np.ndarray:
    """Mean change of each of (steps, places, channels), in deviations from the mean place."""
    change = np.mean([np.abs(b - a).mean(1) for a, b in pairwise(cubes)], 0)
    if smooth:
        side = round(len(change) ** 0.5)
        rows = ndimage.convolve1d(change.reshape(side, side), BINOMIAL, 0, mode="constant")
        change = ndimage.convolve1d(rows, BINOMIAL, 1, mode="constant").ravel()
    return np.asarray((change - change.mean()) / (change.std() + 1e-3))


@pytest.mark.parametrize("options", FOLLOWING.values(), ids=FOLLOWING)
def test_following_motion_is_the_same_beside_padding(
    options: dict[str, object],
) -> None:
    model, cubes = following(**options)
    whole = model(cubes)
    padded = torch.cat([cubes, torch.full_like(cubes, 99.0)], dim=1)
    mask = (torch.arange(10) < 5).expand(2, -1)
    torch.testing.assert_close(model(padded, mask).logits[:, :5], whole.logits)


def test_scores_are_raised_by_the_change_of_each_place() -> None:
    model, cubes = following(attention="location")
    # Without a word from the hidden state, only the bias is left of the scores.
    model.attention.place.weight.data.zero_()
    softmax = model(cubes).slice_attention.detach().numpy()
    for block, row in zip(cubes.numpy(), softmax, strict=True):
        raised = np.exp(3 * deviations(block))
        np.testing.assert_allclose(row, np.tile(raised / raised.sum(), (5, 1)), atol=1e-12)


@pytest.mark.parametrize("options", FOLLOWING.values(), ids=FOLLOWING)
@pytest.mark.parametrize("motion", [False, True])
def test_motion_of_the_past_can_be_followed_step_by_step(
    options: dict[str, object], motion: bool
) -> None:
    model, cubes = following(**options, motion_span="past", motion=motion)
    assert model.can_stream
    whole = model(cubes)
    state = model.initial_state(cubes.mean((1, 2)))
    assert {name: tuple(value.shape[1:]) for name, value in state.items()} == model.state_spec
    for step in range(5):
        logits, attention, state = model.step(cubes[:, step], state)
        torch.testing.assert_close(logits, whole.logits[:, step])
        torch.testing.assert_close(attention, whole.attention[:, step])
        # No output depends on later frames.
        mean = cubes.mean((1, 2))
        shorter = model(cubes[:, : step + 1], mean=mean)
        torch.testing.assert_close(shorter.logits[:, -1], whole.logits[:, step])


def test_scores_are_raised_by_the_change_so_far() -> None:
    model, cubes = following(attention="location", motion_span="past")
    model.attention.place.weight.data.zero_()
    softmax = model(cubes).slice_attention.detach().numpy()
    for block, rows in zip(cubes.numpy(), softmax, strict=True):
        np.testing.assert_allclose(rows[0], 1 / 4)
        for step in range(1, 5):
            raised = np.exp(3 * deviations(block[: step + 1]))
            np.testing.assert_allclose(rows[step], raised / raised.sum(), atol=1e-12)


def test_the_change_of_two_stages_is_told_apart() -> None:
    model, cubes = following(**SHAPES["two stages"])
    changes = slice_changes(feature_changes(cubes.unbind(1)), model.layout)
    found = slice_motion(changes, None, model.layout).numpy()
    for block, (row, *_) in zip(cubes.numpy(), found, strict=True):
        coarse = deviations(block[:, :, :5], smooth=False)
        np.testing.assert_allclose(row[:4], coarse, atol=1e-12)
        fine = block[:, :, 5:].reshape(5, 16, 3)
        np.testing.assert_allclose(row[4:], deviations(fine, smooth=False), atol=1e-12)


def test_what_changes_all_places_alike_and_a_single_frame_draw_no_attention() -> None:
    model, cubes = following()
    free, _ = make(motion=False)
    free.load_state_dict({k: v for k, v in model.state_dict().items() if k != "motion_gain"})
    drift = torch.arange(5, dtype=torch.float64).view(1, 5, 1, 1)
    for block in (cubes[:, :1].expand_as(cubes) + drift, cubes[:, :1]):
        torch.testing.assert_close(model(block).slice_attention, free(block).slice_attention)


def test_the_pull_is_learned() -> None:
    model, cubes = following()
    model(cubes).logits.square().sum().backward()
    assert model.motion_gain.grad.abs() > 0


def test_a_model_with_motion_bias_cannot_stream() -> None:
    model, cubes = following()
    assert not model.can_stream
    assert "--motion-bias" in str(model.streaming_problem)
    with pytest.raises(ValueError, match="--motion-bias"):
        model.initial_state(cubes.mean((1, 2)))
    with pytest.raises(ValueError, match="--motion-bias"):
        model.step(cubes[:, 0], {})
