"""Attention to two stages at once, and attention to one place only, against plain NumPy."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from torch.autograd import gradcheck

from glimpses.models import ActionModel, HardSample, reinforce_loss, sequence_loss
from tests.models.transcription import (
    CHANNELS,
    CLASSES,
    PLACES,
    make,
    on_grid,
    paper,
    penalised_loss,
    sigmoid,
    softmax,
)

# 3 channels of the later stage, and below each place 2 x 2 places with 2 channels of the earlier.
TWO: dict[str, Any] = {"channels": 11, "fine_channels": 2, "fine_ratio": 2}
FORMS = ("location", "content")


def weights_of(model: ActionModel) -> dict[str, np.ndarray]:
    return {name: value.numpy() for name, value in model.state_dict().items()}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("glimpse", ["soft", "hard"])
@pytest.mark.parametrize(
    ("layers", "steps", "places", "ratio"),
    [(1, 4, 4, 2), (2, 3, 9, 2), (3, 1, 4, 1), (2, 4, 1, 3), (1, 1, 1, 1)],
)
@pytest.mark.parametrize("fine", [0, 2])
def test_forward_is_the_equations(
    form: str, glimpse: str, layers: int, steps: int, places: int, ratio: int, fine: int
) -> None:
    channels = 3 + ratio**2 * fine
    model = make(
        attention=form, attention_mode=glimpse, num_layers=layers, places=places, channels=channels,
        fine_channels=fine, fine_ratio=ratio, score_stage="all",
    )  # fmt: skip
    cubes = torch.randn(3, steps, places, channels, dtype=torch.float64)
    lengths = [steps, max(1, steps - 1), max(1, steps - 2)]
    mask = torch.arange(steps) < torch.tensor(lengths)[:, None]
    output = model(cubes, mask)
    logits, looked = paper(weights_of(model), model.config, cubes.numpy(), lengths)
    if glimpse == "hard":
        looked = np.eye(looked.shape[-1])[looked.argmax(-1)]
    attention = np.array([[on_grid(model.config, step) for step in block] for block in looked])
    real = mask.numpy()
    assert output.attention.shape == (3, steps, places * (ratio**2 if fine else 1))
    np.testing.assert_allclose(output.logits.detach().numpy()[real], logits[real], atol=1e-12)
    np.testing.assert_allclose(output.attention.detach().numpy()[real], attention[real], atol=1e-12)
    np.testing.assert_allclose(output.attention.detach().numpy().sum(-1), 1)


@pytest.mark.parametrize("kind", ["average", "max", "softmax"])
def test_baselines_take_a_joined_cube_as_it_is(kind: str) -> None:
    cubes = torch.randn(2, 3, PLACES, TWO["channels"], dtype=torch.float64)
    joined, plain = make(model=kind, **TWO), make(model=kind, channels=TWO["channels"])
    torch.testing.assert_close(joined(cubes).logits, plain(cubes).logits)


@pytest.mark.parametrize("form", FORMS)
def test_gradients_by_finite_differences(form: str) -> None:
    model = make(attention=form, num_layers=2, **TWO)
    cubes = torch.randn(2, 3, PLACES, TWO["channels"], dtype=torch.float64)
    mask = torch.tensor([[True, True, True], [True, True, False]])
    targets = torch.tensor([0, 2])
    assert gradcheck(*penalised_loss(model, cubes, mask, targets), atol=1e-7, fast_mode=True)


@pytest.mark.parametrize(("glimpse", "shape"), [("soft", TWO), ("hard", {}), ("hard", TWO)])
@pytest.mark.parametrize("form", FORMS)
def test_padding_changes_nothing_and_forward_is_its_steps(
    form: str, glimpse: str, shape: dict[str, Any]
) -> None:
    model = make(attention=form, attention_mode=glimpse, **shape)
    cubes = torch.randn(2, 4, PLACES, model.config.cube.channels, dtype=torch.float64)
    output = model(cubes)
    padded = torch.cat([cubes, torch.full_like(cubes, 99.0)], dim=1)
    mask = (torch.arange(8) < 4).expand(2, -1)
    torch.testing.assert_close(model(padded, mask).logits[:, :4], output.logits)
    state = model.initial_state(cubes.mean((1, 2)))
    for step in range(4):
        logits, attention, state = model.step(cubes[:, step], state)
        torch.testing.assert_close(logits, output.logits[:, step])
        torch.testing.assert_close(attention, output.attention[:, step])


@pytest.mark.parametrize("multi_label", [False, True])
@pytest.mark.parametrize(("form", "shape"), [("content", {}), ("location", {}), ("content", TWO)])
def test_reinforce_is_the_gradient_of_the_expected_loss(
    monkeypatch: pytest.MonkeyPatch, form: str, shape: dict[str, Any], multi_label: bool
) -> None:
    """All sequences of places, each by its probability, against finite differences in NumPy."""
    steps, length = 3, 2  # the last step is padding
    places = 1 if shape else 3
    model = make(
        attention=form, attention_mode="hard", num_layers=2, places=places, dropout=0.0, **shape
    ).train()
    count = 5 if shape else 3
    cubes = torch.randn(1, steps, places, model.config.cube.channels, dtype=torch.float64)
    mask = torch.tensor([[True] * length + [False] * (steps - length)])
    target = np.array([0.0, 1.0, 1.0]) if multi_label else np.array([0.0, 0.0, 1.0])
    sequences = np.array(list(product(range(count), repeat=length)))

    def probability_and_loss(w: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        many = np.repeat(cubes.numpy(), len(sequences), 0)
        logits, looked = paper(w, model.config, many, [length] * len(sequences), sequences)
        logits = logits[:, :length]
        if multi_label:
            p = sigmoid(logits)
            likelihood = target * np.log(p) + (1 - target) * np.log(1 - p)
        else:
            likelihood = target * np.log(softmax(logits))
        own = np.take_along_axis(looked[:, :length], sequences[..., None], 2)[..., 0]
        return own.prod(1), -likelihood.sum((1, 2))

    weights = weights_of(model)
    probability, losses = probability_and_loss(weights)
    assert probability.sum() == pytest.approx(1)
    names = [name for name, _ in model.named_parameters() if "value" not in name]
    direction = {name: np.random.default_rng(0).normal(size=weights[name].shape) for name in names}

    def expected_along(step: float) -> float:
        moved = {**weights, **{name: weights[name] + step * direction[name] for name in names}}
        p, loss = probability_and_loss(moved)
        return float(p @ loss)

    truth = (expected_along(1e-5) - expected_along(-1e-5)) / 2e-5
    label = torch.tensor(target[None]) if multi_label else torch.tensor([2])

    def average_gradient(value_bias: float, entropy_weight: float = 0.0) -> tuple[float, float]:
        with torch.no_grad():
            model.attention.value.bias.fill_(value_bias)
        total, classification = 0.0, 0.0
        for sequence, p in zip(sequences, probability, strict=True):
            drawn = iter([*sequence, *[0] * (steps - length)])
            monkeypatch.setattr(
                model.attention, "sample", lambda _, drawn=drawn: torch.tensor([next(drawn)])
            )
            loss = sequence_loss(
                model(cubes, mask), label, mask, multi_label=multi_label,
                entropy_weight=entropy_weight,
            )  # fmt: skip
            model.zero_grad()
            loss.total.backward()
            grads = {name: value.grad.numpy() for name, value in model.named_parameters()
                     if name in names}  # fmt: skip
            total += p * sum((grads[name] * direction[name]).sum() for name in names)
            classification += p * loss.classification.item()
        return float(total), classification

    for bias in (0.0, -40.0):
        gradient, loss = average_gradient(bias)
        assert loss == pytest.approx(probability @ losses)
        assert gradient == pytest.approx(truth, rel=1e-6)
    assert average_gradient(0.0, entropy_weight=0.5)[0] != pytest.approx(truth, rel=1e-3)


def test_places_are_drawn_by_the_location_softmax() -> None:
    model = make(attention_mode="hard", dropout=0.0).train()
    cube = torch.randn(1, 1, PLACES, CHANNELS, dtype=torch.float64)
    (_, looked), count = paper(weights_of(model), model.config, cube.numpy(), [1]), 40_000
    with torch.no_grad():
        output = model(cube.expand(count, -1, -1, -1))
    drawn = output.attention[:, 0]
    assert set(drawn.unique().tolist()) == {0, 1}
    deviation = np.sqrt(looked[0, 0] * (1 - looked[0, 0]) / count)
    assert (np.abs(drawn.mean(0).numpy() - looked[0, 0]) < 4 * deviation).all()
    log = np.log(looked[0, 0])
    np.testing.assert_allclose(output.samples.log_probability[:, 0], log[drawn.argmax(1)])
    np.testing.assert_allclose(output.samples.entropy, -(looked[0, 0] @ log))


def test_reinforce_loss_is_section_4_1() -> None:
    rng = np.random.default_rng(0)
    rewards, log, entropy, value = rng.normal(size=(4, 2, 3))
    lengths = (3, 2)
    expected = np.zeros(2)
    for b, length in enumerate(lengths):
        rewards[b, length:] = 0
        for t in range(length):
            reward, left = rewards[b, t:length].sum(), length - t
            expected[b] -= (reward - left * value[b, t]) * log[b, t]
            expected[b] -= 0.1 * entropy[b, t]
            expected[b] += (reward / left - value[b, t]) ** 2
    mask = torch.arange(3) < torch.tensor(lengths)[:, None]
    made = [torch.tensor(each, requires_grad=True) for each in (log, entropy, value, rewards)]
    loss = reinforce_loss(HardSample(*made[:3]), made[3], mask, 0.1)
    np.testing.assert_allclose(loss.detach().numpy(), expected)
    loss.sum().backward()
    assert made[3].grad is None  # the reward is not improved by changing what rewards
    mean = torch.tensor([[rewards[0].sum() / 3, rewards[0, 1:].sum() / 2, rewards[0, 2]]])
    torch.testing.assert_close(made[2].grad[:1], -2 * (mean - made[2][:1].detach()))


def test_loss_of_hard_attention_is_its_terms() -> None:
    model = make(attention_mode="hard", dropout=0.0).train()
    cubes = torch.randn(2, 4, PLACES, CHANNELS, dtype=torch.float64)
    mask = torch.ones(2, 4, dtype=torch.bool)
    output = model(cubes)
    loss = sequence_loss(output, torch.tensor([0, CLASSES - 1]), mask)
    torch.testing.assert_close(loss.total, loss.classification + loss.reinforce)
    assert sequence_loss(output._replace(samples=None), torch.tensor([0, 1]), mask).reinforce == 0
