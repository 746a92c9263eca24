"""Logistic regression on statistics of a clip: a baseline without order in time or attention.

The statistics run along with the frames: at every step they are those of the frames so far. The
weights are not learned by gradient steps but solved for at once, in `glimpses.training`.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from glimpses.models import base
from glimpses.models.base import ActionModel, ConvexModel, ModelOutput, State
from glimpses.models.config import ModelConfig
from glimpses.models.motion import change_since, feature_changes, no_previous, previous_spec
from glimpses.models.normalization import ChannelNorm

# Smallest variance, so that the standard deviation has a derivative.
_LEAST_VARIANCE = 1e-12


class _Sums(NamedTuple):
    """Sums over the frames so far of values pooled over places; `frames` is their number."""

    frames: Float[Tensor, "*B 1"]
    mean: Float[Tensor, "*B D"]
    square: Float[Tensor, "*B D"]
    change: Float[Tensor, "*B D"]
    maximum: Float[Tensor, "*B D"]


class LinearModel(ActionModel, ConvexModel):
    """Logistic regression on `ModelOptions.statistics` of the frames so far.

    - `mean`: of every channel, over places and frames.
    - `deviation`: over frames, of the mean over places.
    - `change`: mean absolute change from one frame to the next, over places and frames.
    - `maximum`: over places, averaged over frames.

    Attributes:
        statistics_norm: standardization of the statistics, by the training clips.
        logits: linear map from standardized statistics to logits.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        width = config.cube.channels * len(config.options.statistics)
        self.statistics_norm = ChannelNorm(width)
        self.logits = nn.Linear(width, config.num_classes)

    @property
    def description(self) -> str:
        """Kind of the model, and what it reads."""
        return f"logistic regression on {', '.join(self.config.options.statistics)}"

    @property
    def state_spec(self) -> dict[str, tuple[int, ...]]:
        """Sums over the frames so far, and the previous frame; see `previous_spec`."""
        channels = self.config.cube.channels
        sums = {name: (1 if name == "frames" else channels,) for name in _Sums._fields}
        return {**sums, **previous_spec(self.config.cube)}

    def forward(
        self,
        cubes: Float[Tensor, "B T P D"],
        mask: Bool[Tensor, "B T"] | None = None,
        attention: Float[Tensor, "B T Q"] | None = None,
        mean: Float[Tensor, "B D"] | None = None,
    ) -> ModelOutput:
        """Read blocks of feature cubes; see `ActionModel.forward`."""
        if attention is not None:
            raise ValueError("logistic regression has no attention")
        base.require_trailing_padding(mask)
        return ModelOutput(self.logits(self.statistics_norm(self.statistics(cubes))), None)

    def statistics(self, cubes: Float[Tensor, "B T P D"]) -> Float[Tensor, "B T S"]:
        """Return the statistics of all frames up to each step; see `ConvexModel.statistics`."""
        frames = [self.channel_norm(cube) for cube in cubes.unbind(1)]
        changes = feature_changes(frames)
        parts = [_pool(*both) for both in zip(frames, changes, strict=True)]
        sums = (torch.stack(column, dim=1).cumsum(1) for column in zip(*parts, strict=True))
        return self._statistics(_Sums(*sums))

    def initial_state(self, mean: Float[Tensor, "B D"]) -> State:
        """Return the state before the first step; see `ActionModel.initial_state`."""
        mean = self.channel_norm(mean)
        zeros = torch.zeros_like(mean)
        sums = {name: zeros[:, :1] if name == "frames" else zeros for name in _Sums._fields}
        return {**sums, **no_previous(mean, self.config.cube.places)}

    def step(
        self, cube: Float[Tensor, "B P D"], state: State
    ) -> tuple[Float[Tensor, "B C"], None, State]:
        """Read one frame; see `ActionModel.step`."""
        cube = self.channel_norm(cube)
        change, previous = change_since(cube, state)
        new = _pool(cube, change)
        sums = _Sums(*(state[name] + getattr(new, name) for name in _Sums._fields))
        logits = self.logits(self.statistics_norm(self._statistics(sums)))
        return logits, None, {**sums._asdict(), **previous}

    def set_weights(
        self,
        mean: Float[Tensor, " S"],
        std: Float[Tensor, " S"],
        weight: Float[Tensor, "C S"],
        bias: Float[Tensor, " C"],
    ) -> None:
        """Set standardization and weights; see `ConvexModel.set_weights`."""
        self.statistics_norm.set(mean, std)
        with torch.no_grad():
            self.logits.weight.copy_(weight)
            self.logits.bias.copy_(bias)

    def _statistics(self, sums: _Sums) -> Float[Tensor, "*B S"]:
        mean = sums.mean / sums.frames
        variance = (sums.square / sums.frames - mean**2).clamp(min=_LEAST_VARIANCE)
        values = {
            "mean": mean,
            "deviation": variance.sqrt(),
            # The first frame has no change.
            "change": sums.change / (sums.frames - 1).clamp(min=1),
            "maximum": sums.maximum / sums.frames,
        }
        return torch.cat([values[name] for name in self.config.options.statistics], dim=-1)


def _pool(cube: Float[Tensor, "B P D"], change: Float[Tensor, "B P D"]) -> _Sums:
    """Return the values of one frame."""
    mean = cube.mean(1)
    return _Sums(torch.ones_like(mean[:, :1]), mean, mean**2, change.mean(1), cube.amax(1))
