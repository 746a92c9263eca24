"""The models in plain NumPy, written from the paper's equations; and models to compare with it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from glimpses import models
from glimpses.models import ModelConfig, sequence_loss
from tests.configs import model_config

CLASSES, PLACES, CHANNELS, HIDDEN = 3, 4, 5, 6


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def stages(config: ModelConfig, cube: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The slices of a cube: (P, D1) and those of the finer stage, if it has one, (r*r*P, D2)."""
    below = config.cube.fine_ratio**2 if config.cube.fine_channels else 0
    own = config.cube.channels - below * config.cube.fine_channels
    fine = [
        slices[own + j * config.cube.fine_channels : own + (j + 1) * config.cube.fine_channels]
        for slices in cube
        for j in range(below)
    ]
    return cube[:, :own], np.array(fine).reshape(len(fine), config.cube.fine_channels)


def on_grid(config: ModelConfig, weights: np.ndarray) -> np.ndarray:
    """Weights of all slices as weights of the places of the finest grid, place by place."""
    if not config.cube.fine_channels:
        return weights
    k, r = round(config.cube.places**0.5), config.cube.fine_ratio
    grid = np.zeros((k * r, k * r))
    for row in range(k * r):
        for column in range(k * r):
            place = (row // r) * k + column // r
            within = (row % r) * r + column % r
            grid[row, column] = weights[place] / r**2
            grid[row, column] += weights[config.cube.places + place * r**2 + within]
    return grid.flatten()


def named(w: dict[str, np.ndarray], end: str) -> np.ndarray:
    """The one array whose name ends so: attention may be wrapped."""
    (found,) = (value for name, value in w.items() if name.endswith(f".{end}"))
    return found


def paper(
    w: dict[str, np.ndarray],
    config: ModelConfig,
    cubes: np.ndarray,
    lengths: Sequence[int],
    choices: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Logits and location softmax of every real step, one block and one step at a time.

    Hard attention takes the places `choices` (B, T), or the most probable ones.
    """
    batch, steps = cubes.shape[:2]
    cubes = (cubes - w["channel_norm.mean"]) * w["channel_norm.scale"]
    logits = np.zeros((batch, steps, config.num_classes))
    attends = config.options.model == "attention"
    below = config.cube.fine_ratio**2 if config.cube.fine_channels and attends else 0
    looked = np.zeros((batch, steps, config.cube.places * (1 + below)))
    for b in range(batch):
        # Equation 6
        mean = np.mean([cubes[b, t].mean(0) for t in range(lengths[b])], axis=0)
        if attends:
            mean = np.concatenate([
                np.mean([s for t in range(lengths[b]) for s in stages(config, cubes[b, t])[n]], 0)
                for n in range(2 if below else 1)
            ])  # fmt: skip
        start = {}
        for name in ("hidden", "cell"):
            inner = np.tanh(w[f"init_{name}.inner.weight"] @ mean + w[f"init_{name}.inner.bias"])
            outer = np.tanh(w[f"init_{name}.outer.weight"] @ inner + w[f"init_{name}.outer.bias"])
            start[name] = outer.reshape(config.options.num_layers, config.options.hidden_size)
        h, c = start["hidden"], start["cell"]
        for t in range(lengths[b]):
            cube = cubes[b, t]
            if config.options.model == "average":
                x = cube.mean(0)
            elif config.options.model == "max":
                x = cube.max(0)
            else:
                coarse, fine = stages(config, cube)
                if config.options.attention == "location":  # Equation 1
                    score = named(w, "place.weight") @ h[-1]
                else:  # the authors' code
                    query = named(w, "query.weight") @ h[-1]
                    key = "key.coarse" if below else "key"
                    keys = coarse @ named(w, f"{key}.weight").T + named(w, f"{key}.bias")
                    score = np.tanh(keys + query) @ named(w, "score.weight")[0]
                    if below:
                        keys = fine @ named(w, "key.fine.weight").T + named(w, "key.fine.bias")
                        more = np.tanh(keys + query) @ named(w, "score.weight")[0]
                        score = np.concatenate([score, more])
                looked[b, t] = softmax(score)
                # The direct sum: each slice with zeros in the channels of the other stage.
                slices = np.zeros((len(coarse) + len(fine), coarse.shape[1] + fine.shape[1]))
                slices[: len(coarse), : coarse.shape[1]] = coarse
                slices[len(coarse) :, coarse.shape[1] :] = fine
                if config.options.attention_mode == "hard":
                    x = slices[looked[b, t].argmax() if choices is None else choices[b, t]]
                else:
                    x = sum(looked[b, t, i] * slices[i] for i in range(len(slices)))  # Equation 2
            h, c = h.copy(), c.copy()
            for layer in range(config.options.num_layers):
                # Equations 3 to 5; PyTorch keeps the gates in the order i, f, g, o
                m = {
                    name: w.get(f"cells.{layer}.{name}", w.get(f"lstm.{name}_l{layer}"))
                    for name in ("weight_ih", "bias_ih", "weight_hh", "bias_hh")
                }
                gates = m["weight_ih"] @ x + m["bias_ih"] + m["weight_hh"] @ h[layer] + m["bias_hh"]
                i, f, g, o = np.split(gates, 4)
                c[layer] = sigmoid(f) * c[layer] + sigmoid(i) * np.tanh(g)
                h[layer] = sigmoid(o) * np.tanh(c[layer])
                x = h[layer]
            inner = np.tanh(w["head.1.weight"] @ h[-1] + w["head.1.bias"])
            logits[b, t] = w["head.4.weight"] @ inner + w["head.4.bias"]
    return logits, looked


def make(**changes: object) -> models.ActionModel:
    """A small model in float64 with weights that are not small."""
    torch.manual_seed(0)
    shape = {"num_classes": CLASSES, "places": PLACES, "channels": CHANNELS, "dropout": 0.5}
    shape |= {"hidden_size": HIDDEN, "attention_size": 5}
    model = models.build_model(model_config(**{**shape, **changes})).double().eval()  # type: ignore[arg-type]
    channels = model.config.cube.channels
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.7)
        model.channel_norm.set(torch.randn(channels), torch.rand(channels) + 0.5)
    return model


def penalised_loss(
    model: models.ActionModel, cubes: torch.Tensor, mask: torch.Tensor, targets: torch.Tensor
) -> tuple[Callable[..., torch.Tensor], tuple[torch.Tensor, ...]]:
    """The loss with lambda 0.3 as a function of the model's parameters, and where they are."""
    names, values = zip(*model.named_parameters(), strict=True)

    def loss(*parameters: torch.Tensor) -> torch.Tensor:
        output = torch.func.functional_call(
            model, dict(zip(names, parameters, strict=True)), (cubes, mask)
        )
        return sequence_loss(output, targets, mask, attention_weight=0.3).total

    return loss, tuple(value.detach().requires_grad_() for value in values)
