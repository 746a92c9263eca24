"""Pooling through `nn.LSTM` against a loop of `nn.LSTMCell` with the same weights."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from glimpses.models import ActionModel, sequence_loss
from tests.models.transcription import CHANNELS, make


def by_step(model: ActionModel, cubes: Tensor) -> Tensor:
    """Logits by the equations, one step and one layer at a time."""
    layers, size = model.state_spec["hidden"]
    cubes = model.channel_norm(cubes)
    mean = cubes.mean((1, 2))
    hidden, cell = list(model.init_hidden(mean)), list(model.init_cell(mean))
    weights = dict(model.lstm.named_parameters())
    tops = []
    for cube in cubes.unbind(1):
        x = model.pool(cube)
        for k in range(layers):
            lstm = nn.LSTMCell(x.shape[1], size)
            own = {name: weights[f"{name}_l{k}"] for name, _ in lstm.named_parameters()}
            x, cell[k] = torch.func.functional_call(lstm, own, (x, (hidden[k], cell[k])))
            hidden[k] = x
        tops.append(x)
    return model.head(torch.stack(tops, dim=1))


@pytest.mark.parametrize("name", ["average", "max"])
@pytest.mark.parametrize(("layers", "steps", "places"), [(1, 1, 4), (3, 5, 9), (2, 4, 1)])
def test_gradients_are_those_of_the_loop(name: str, layers: int, steps: int, places: int) -> None:
    model = make(model=name, num_layers=layers, places=places)
    cubes = torch.randn(3, steps, places, CHANNELS, dtype=torch.float64) * 3 + 2
    logits, expected = model(cubes).logits, by_step(model, cubes)
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-12)
    direction = torch.randn_like(logits)
    parameters = list(model.parameters())
    gradients = torch.autograd.grad((logits * direction).sum(), parameters)
    for own, reference in zip(
        gradients, torch.autograd.grad((expected * direction).sum(), parameters), strict=True
    ):
        torch.testing.assert_close(own, reference, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("layers", [1, 3])
def test_dropout_is_on_every_layers_input(layers: int) -> None:
    model = make(model="average", num_layers=layers, dropout=0.5).train()
    cubes = torch.randn(2, 4, 4, CHANNELS, dtype=torch.float64)
    targets, mask = torch.tensor([0, 1]), torch.ones(2, 4, dtype=torch.bool)
    torch.manual_seed(0)
    losses = {float(sequence_loss(model(cubes), targets, mask).total.detach()) for _ in range(3)}
    assert len(losses) == 3
    seen: list[Tensor] = []
    model.lstm.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    model(cubes)
    share = float((seen[0] == 0).double().mean())
    assert 0.2 < share < 0.8
    assert model.lstm.dropout == (0.5 if layers > 1 else 0.0)
