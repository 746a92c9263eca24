"""The models against a plain NumPy transcription of the paper's equations, in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.autograd import gradcheck

from glimpses import models
from glimpses.models import attention_penalty, sequence_loss
from tests.models.transcription import (
    CHANNELS,
    CLASSES,
    PLACES,
    make,
    paper,
    penalised_loss,
    sigmoid,
    softmax,
)

KINDS = [
    ("attention", "location"),
    ("attention", "content"),
    ("average", "content"),
    ("max", "content"),
]


@pytest.mark.parametrize(("kind", "form"), KINDS)
@pytest.mark.parametrize(
    ("layers", "steps", "places"), [(1, 4, 4), (2, 3, 9), (3, 5, 4), (3, 1, 4), (2, 4, 1)]
)
def test_forward_is_the_equations(
    kind: str, form: str, layers: int, steps: int, places: int
) -> None:
    model = make(model=kind, attention=form, num_layers=layers, places=places)
    cubes = torch.randn(3, steps, places, CHANNELS, dtype=torch.float64)
    lengths = [steps, max(1, steps - 1), max(1, steps - 2)]
    mask = torch.arange(steps) < torch.tensor(lengths)[:, None]
    output = model(cubes, mask)
    weights = {name: value.numpy() for name, value in model.state_dict().items()}
    logits, looked = paper(weights, model.config, cubes.numpy(), lengths)
    real = mask.numpy()
    np.testing.assert_allclose(output.logits.detach().numpy()[real], logits[real], atol=1e-12)
    if kind == "attention":
        assert output.attention is not None
        np.testing.assert_allclose(
            output.attention.detach().numpy()[real], looked[real], atol=1e-12
        )
        np.testing.assert_allclose(output.attention.detach().numpy().sum(-1), 1)
    else:
        assert output.attention is None


def test_softmax_regression_reads_every_place() -> None:
    model = make(model="softmax")
    cubes = torch.randn(2, 3, PLACES, CHANNELS, dtype=torch.float64)
    weight, bias = (model.state_dict()[f"logits.{name}"].numpy() for name in ("weight", "bias"))
    standard = model.channel_norm(cubes).detach().numpy()
    expected = standard.reshape(2, 3, -1) @ weight.T + bias
    np.testing.assert_allclose(model(cubes).logits.detach().numpy(), expected, atol=1e-12)


# `nn.LSTM` of the poolings ignores the parameters of `functional_call`; see test_baselines.
@pytest.mark.parametrize(("kind", "form"), KINDS[:2])
@pytest.mark.parametrize(
    ("layers", "steps", "places"), [(1, 3, 4), (2, 3, 4), (3, 3, 4), (3, 1, 4), (2, 3, 1)]
)
def test_gradients_by_finite_differences(
    kind: str, form: str, layers: int, steps: int, places: int
) -> None:
    model = make(model=kind, attention=form, num_layers=layers, places=places)
    cubes = torch.randn(2, steps, places, CHANNELS, dtype=torch.float64)
    mask = torch.arange(steps) < torch.tensor([[steps], [max(1, steps - 1)]])
    targets = torch.tensor([0, 2])
    assert gradcheck(*penalised_loss(model, cubes, mask, targets), atol=1e-7, fast_mode=True)


@pytest.mark.parametrize(("kind", "form"), KINDS)
def test_padding_changes_nothing(kind: str, form: str) -> None:
    model = make(model=kind, attention=form, num_layers=3)
    cubes = torch.randn(2, 6, PLACES, CHANNELS, dtype=torch.float64)
    mask = torch.arange(6) < torch.tensor([[4], [4]])
    cut = model(cubes[:, :4])
    padded = model(torch.where(mask[..., None, None], cubes, 99.0), mask)
    torch.testing.assert_close(padded.logits[:, :4], cut.logits)


@pytest.mark.parametrize(("kind", "form"), KINDS)
def test_forward_is_its_steps(kind: str, form: str) -> None:
    model = make(model=kind, attention=form)
    cubes = torch.randn(2, 4, PLACES, CHANNELS, dtype=torch.float64)
    output = model(cubes)
    state = model.initial_state(cubes.mean((1, 2)))
    for step in range(4):
        logits, attention, state = model.step(cubes[:, step], state)
        torch.testing.assert_close(logits, output.logits[:, step])
        if output.attention is not None:
            torch.testing.assert_close(attention, output.attention[:, step])


def test_content_follows_its_object_and_location_does_not() -> None:
    """Moving what is in the places moves `content`'s attention with it; Eq. 1 cannot see it."""
    cubes = torch.randn(1, 5, PLACES, CHANNELS, dtype=torch.float64)
    order = torch.tensor([2, 0, 3, 1])
    for form in ("content", "location"):
        model = make(attention=form)
        straight, moved = model(cubes).attention, model(cubes[:, :, order]).attention
        assert torch.allclose(moved, straight[..., order]) == (form == "content")
        assert torch.allclose(moved[:, 0], straight[:, 0]) == (form == "location")


def test_dropout_is_on_in_training_and_seeded() -> None:
    model = make(dropout=0.5).train()
    cubes = torch.randn(2, 4, PLACES, CHANNELS, dtype=torch.float64)

    def run(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return model(cubes).logits

    torch.testing.assert_close(run(1), run(1))
    assert not torch.allclose(run(1), run(2))


def test_half_precision_cubes_are_taken() -> None:
    model = make().float()
    cubes = torch.randn(2, 3, PLACES, CHANNELS).half()
    torch.testing.assert_close(model(cubes).logits, model(cubes.float()).logits)


def test_loss_is_equation_7() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(2, 4, CLASSES))
    attention = softmax(rng.normal(size=(2, 4, PLACES)))
    mask = np.array([[1, 1, 1, 1], [1, 1, 0, 0]], bool)
    targets = [2, 0]
    for weight, target in ((0.0, "one"), (10.0, "one"), (10.0, "share")):
        blocks = []
        for b in range(2):
            steps = np.flatnonzero(mask[b])
            cross = -sum(np.log(softmax(logits[b, t]))[targets[b]] for t in steps)
            goal = 1 if target == "one" else len(steps) / PLACES
            penalty = sum((goal - attention[b, steps, i].sum()) ** 2 for i in range(PLACES))
            blocks.append(cross + weight * penalty)
        loss = sequence_loss(
            models.ModelOutput(torch.tensor(logits), torch.tensor(attention)),
            torch.tensor(targets),
            torch.tensor(mask),
            attention_weight=weight,
            attention_target=target,  # type: ignore[arg-type]
        )
        assert loss.total.item() == pytest.approx(np.mean(blocks))


def test_loss_of_several_labels() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(2, 3, CLASSES))
    targets = np.array([[1, 0, 1], [0, 0, 0]], float)
    p = sigmoid(logits)
    each = -(targets[:, None] * np.log(p) + (1 - targets[:, None]) * np.log(1 - p))
    loss = sequence_loss(
        models.ModelOutput(torch.tensor(logits), None),
        torch.tensor(targets),
        torch.ones(2, 3, dtype=torch.bool),
        multi_label=True,
    )
    assert loss.total.item() == pytest.approx(each.sum((1, 2)).mean())


def test_penalty_is_least_when_every_place_is_looked_at_alike() -> None:
    even = torch.full((1, PLACES, PLACES), 1 / PLACES)
    turns = torch.eye(PLACES)[None]
    stare = torch.zeros(1, PLACES, PLACES)
    stare[..., 0] = 1
    mask = torch.ones(1, PLACES, dtype=torch.bool)
    assert attention_penalty(even, mask).item() == pytest.approx(0)
    assert attention_penalty(turns, mask).item() == pytest.approx(0)
    assert attention_penalty(stare, mask).item() == pytest.approx((PLACES - 1) ** 2 + PLACES - 1)


def test_standardised_features_have_mean_0_and_deviation_1() -> None:
    features = torch.randn(500, CHANNELS, dtype=torch.float64) * 30 + 7
    features[:, 0] = 3.0  # a dead channel stays finite
    standard = make().channel_norm
    standard.set(features.mean(0), features.std(0))
    made = standard(features)
    torch.testing.assert_close(made.mean(0), torch.zeros(CHANNELS, dtype=torch.float64))
    assert made.std(0)[1:].tolist() == pytest.approx([1] * (CHANNELS - 1))
    assert made[:, 0].abs().max() == 0
