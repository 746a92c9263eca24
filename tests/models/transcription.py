"""The models in plain NumPy, written from the paper's equations; and models to compare with it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from glimpses.models.loss import sequence_loss

from glimpses import models
from glimpses.models import ModelConfig

CLASSES, PLACES, CHANNELS, HIDDEN = 3, 4, 5, 6


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def stages(config: ModelConfig, cube: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The slices of a cube: (P, D1) and those of the finer stage, if it has one, (r*r*P, D2)."""
    below = config.fine_ratio**2 if config.fine_channels else 0
    own = config.channels - below * config.fine_channels
    fine = [
        slices[own + j * config.fine_channels : own + (j + 1) * config.fine_channels]
        for slices in cube
        for j in range(below)
    ]
    return cube[:, :own], np.array(fine).reshape(len(fine), config.fine_channels)


def on_grid(config: ModelConfig, weights: np.ndarray) -> np.ndarray:
    """Weights of all slices as weights of the places of the finest grid, place by place."""
    if not config.fine_channels:
        return weights
    k, r = round(config.places**0.5), config.fine_ratio
    grid = np.zeros((k * r, k * r))
    for row in range(k * r):
        for column in range(k * r):
            place = (row // r) * k + column // r
            within = (row % r) * r + column % r
            grid[row, column] = weights[place] / r**2
            grid[row, column] += weights[config.places + place * r**2 + within]
    return grid.flatten()


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
    cubes = (cubes - w["standard.mean"]) * w["standard.scale"]
    logits = np.zeros((batch, steps, config.classes))
    attends = config.kind == "attention"
    below = config.fine_ratio**2 if config.fine_channels and attends else 0
    looked = np.zeros((batch, steps, config.places * (1 + below)))
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
            inner = np.tanh(w[f"start_{name}.inner.weight"] @ mean + w[f"start_{name}.inner.bias"])
            outer = np.tanh(w[f"start_{name}.outer.weight"] @ inner + w[f"start_{name}.outer.bias"])
            start[name] = outer.reshape(config.layers, config.hidden)
        h, c = start["hidden"], start["cell"]
        for t in range(lengths[b]):
            cube = cubes[b, t]
            if config.kind == "average":
                x = cube.mean(0)
            elif config.kind == "max":
                x = cube.max(0)
            else:
                coarse, fine = stages(config, cube)
                if config.form == "location":  # Equation 1
                    score = w["looking.place.weight"] @ h[-1]
                else:  # the authors' code
                    query = w["looking.query.weight"] @ h[-1]
                    key = coarse @ w["looking.key.weight"].T + w["looking.key.bias"]
                    score = np.tanh(key + query) @ w["looking.score.weight"][0]
                    if below:
                        key = fine @ w["looking.fine_key.weight"].T + w["looking.fine_key.bias"]
                        more = np.tanh(key + query) @ w["looking.score.weight"][0]
                        score = np.concatenate([score, more])
                looked[b, t] = softmax(score)
                # The direct sum: each slice with zeros in the channels of the other stage.
                slices = np.zeros((len(coarse) + len(fine), coarse.shape[1] + fine.shape[1]))
                slices[: len(coarse), : coarse.shape[1]] = coarse
                slices[len(coarse) :, coarse.shape[1] :] = fine
                if config.glimpse == "hard":
                    x = slices[looked[b, t].argmax() if choices is None else choices[b, t]]
                else:
                    x = sum(looked[b, t, i] * slices[i] for i in range(len(slices)))  # Equation 2
            h, c = h.copy(), c.copy()
            for layer in range(config.layers):
                # Equations 3 to 5; PyTorch keeps the gates in the order i, f, g, o
                gates = (
                    w[f"cells.{layer}.weight_ih"] @ x
                    + w[f"cells.{layer}.bias_ih"]
                    + w[f"cells.{layer}.weight_hh"] @ h[layer]
                    + w[f"cells.{layer}.bias_hh"]
                )
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
    shape = {"classes": CLASSES, "places": PLACES, "channels": CHANNELS}
    shape |= {"hidden": HIDDEN, "attention_size": 5}
    model = models.build(ModelConfig(**{**shape, **changes})).double().eval()  # type: ignore[arg-type]
    channels = model.config.channels
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.7)
        model.standard.set(torch.randn(channels), torch.rand(channels) + 0.5)
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
