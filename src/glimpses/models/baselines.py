"""Baselines of Table 1: LSTMs on pooled cubes, and softmax regression."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from glimpses.models.base import (
    ActionModel,
    ModelOutput,
    State,
    mean_slice,
    require_trailing_padding,
)
from glimpses.models.config import ModelConfig
from glimpses.models.dropout import Dropout
from glimpses.models.motion import change_since, feature_change, no_previous, previous_spec
from glimpses.models.normalization import ChannelNorm
from glimpses.models.recurrent import InitState, build_head, describe_size


class PooledLSTM(ActionModel):
    """The recurrent model without attention: the LSTM reads the whole cube, pooled over places.

    Its input does not depend on its state, so all steps of a block go through `nn.LSTM` at once.

    Args:
        config: options and shapes.
    """

    name = ""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        options, channels = config.options, config.cube.channels
        size, num_layers = options.hidden_size, options.num_layers
        width = channels * (2 if options.motion and not options.motion_only else 1)
        self.glimpse_norm = ChannelNorm(width) if options.motion else nn.Identity()
        self.init_hidden = InitState(channels, config)  # f_init,h
        self.init_cell = InitState(channels, config)  # f_init,c
        # `nn.LSTM` drops connections between its layers; those to the first are dropped here.
        self.dropout = Dropout(options.dropout)
        between = options.dropout if num_layers > 1 else 0.0
        self.lstm = nn.LSTM(width, size, num_layers, batch_first=True, dropout=between)
        self.head = build_head(config)

    @abstractmethod
    def pool(self, cubes: Float[Tensor, "*B P D"]) -> Float[Tensor, "*B D"]:
        """Reduce all places of a cube to one vector."""

    @property
    def description(self) -> str:
        """Kind and size of the model, in one line."""
        return f"{self.name} pooling{describe_size(self.config.options)}"

    @property
    def state_spec(self) -> dict[str, tuple[int, ...]]:
        """State of the LSTM, and with motion the previous frame; see `previous_spec`."""
        options = self.config.options
        layers = (options.num_layers, options.hidden_size)
        previous = previous_spec(self.config.cube) if options.motion else {}
        return {"hidden": layers, "cell": layers, **previous}

    def forward(
        self,
        cubes: Float[Tensor, "B T P D"],
        mask: Bool[Tensor, "B T"] | None = None,
        attention: Float[Tensor, "B T Q"] | None = None,
        mean: Float[Tensor, "B D"] | None = None,
    ) -> ModelOutput:
        """Read blocks of feature cubes; see `ActionModel.forward`."""
        if attention is not None:
            raise ValueError("a model that pools has no attention")
        require_trailing_padding(mask)
        cubes = self.channel_norm(cubes)
        mean = mean_slice(cubes, mask) if mean is None else self.channel_norm(mean)
        change = feature_change(cubes) if self.config.options.motion else None
        hidden_states, _ = self._run_lstm(self._glimpses(cubes, change), self._initial_layers(mean))
        return ModelOutput(self.head(hidden_states), None)

    def initial_state(self, mean: Float[Tensor, "B D"]) -> State:
        """Return the state before the first step (Eq. 6); see `ActionModel.initial_state`."""
        hidden, cell = self._initial_layers(self.channel_norm(mean))
        state = {"hidden": hidden.transpose(0, 1), "cell": cell.transpose(0, 1)}
        if self.config.options.motion:
            state |= no_previous(mean.to(hidden.dtype), self.config.cube.places)
        return state

    def step(
        self, cube: Float[Tensor, "B P D"], state: State
    ) -> tuple[Float[Tensor, "B C"], None, State]:
        """Read one frame; see `ActionModel.step`."""
        cube, change = self.channel_norm(cube), None
        new_state: State = {}
        if self.config.options.motion:
            change, new_state = change_since(cube, state)
        layers = (state["hidden"].transpose(0, 1), state["cell"].transpose(0, 1))
        glimpse = self._glimpses(cube, change)
        hidden_states, (hidden, cell) = self._run_lstm(glimpse.unsqueeze(1), layers)
        new_state |= {"hidden": hidden.transpose(0, 1), "cell": cell.transpose(0, 1)}
        return self.head(hidden_states.squeeze(1)), None, new_state

    def fit_normalization(
        self,
        frames: Iterable[Float[Tensor, "P D"]],
        blocks: Iterable[Float[Tensor, "T P D"]],
    ) -> None:
        """Fit the normalization of features, then of glimpses of motion; see `ActionModel`."""
        super().fit_normalization(frames, blocks)
        if self.config.options.channel_norm and isinstance(self.glimpse_norm, ChannelNorm):
            normalized = (self.channel_norm(block.unsqueeze(0)) for block in blocks)
            self.glimpse_norm.fit(
                self._glimpses(cubes, feature_change(cubes))[0] for cubes in normalized
            )

    def _glimpses(
        self, cubes: Float[Tensor, "*B P D"], change: Float[Tensor, "*B P D"] | None
    ) -> Float[Tensor, "*B X"]:
        """Return the pooled features, their pooled change, or both; not normalized."""
        if change is None:
            return self.pool(cubes)
        if self.config.options.motion_only:
            return self.pool(change)
        return torch.cat((self.pool(cubes), self.pool(change)), dim=-1)

    def _initial_layers(
        self, mean: Float[Tensor, "B D"]
    ) -> tuple[Float[Tensor, "N B H"], Float[Tensor, "N B H"]]:
        """Return h_0 and c_0 of every layer (Eq. 6)."""
        return torch.stack(self.init_hidden(mean)), torch.stack(self.init_cell(mean))

    def _run_lstm(
        self,
        glimpses: Float[Tensor, "B T X"],
        layers: tuple[Float[Tensor, "N B H"], Float[Tensor, "N B H"]],
    ) -> tuple[Float[Tensor, "B T H"], tuple[Float[Tensor, "N B H"], Float[Tensor, "N B H"]]]:
        """Return the hidden state of the top layer after every step, and the layers' last state."""
        x = self.dropout(self.glimpse_norm(glimpses))
        hidden, cell = (each.contiguous() for each in layers)
        # cuDNN computes no gradient in evaluation mode, which Grad-CAM needs.
        with torch.backends.cudnn.flags(enabled=self.training or not torch.is_grad_enabled()):
            hidden_states, last = self.lstm(x, (hidden, cell))
        return hidden_states, last


class AveragePooledLSTM(PooledLSTM):
    """LSTM on the mean over places."""

    name = "average"

    def pool(self, cubes: Float[Tensor, "*B P D"]) -> Float[Tensor, "*B D"]:
        """Return the mean of every channel."""
        return cubes.mean(-2)


class MaxPooledLSTM(PooledLSTM):
    """LSTM on the maximum over places."""

    name = "max"

    def pool(self, cubes: Float[Tensor, "*B P D"]) -> Float[Tensor, "*B D"]:
        """Return the maximum of every channel."""
        return cubes.amax(-2)


class SoftmaxRegression(ActionModel):
    """One linear map from the whole cube to logits, at every step by itself.

    Args:
        config: options and shapes.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.logits = nn.Linear(config.cube.places * config.cube.channels, config.num_classes)

    @property
    def description(self) -> str:
        """Kind of the model."""
        return "softmax regression"

    def forward(
        self,
        cubes: Float[Tensor, "B T P D"],
        mask: Bool[Tensor, "B T"] | None = None,
        attention: Float[Tensor, "B T Q"] | None = None,
        mean: Float[Tensor, "B D"] | None = None,
    ) -> ModelOutput:
        """Read blocks of feature cubes; see `ActionModel.forward`."""
        if attention is not None:
            raise ValueError("softmax regression has no attention")
        return ModelOutput(self.logits(self.channel_norm(cubes).flatten(2)), None)

    def step(
        self, cube: Float[Tensor, "B P D"], state: State
    ) -> tuple[Float[Tensor, "B C"], None, State]:
        """Read one frame; see `ActionModel.step`."""
        return self.logits(self.channel_norm(cube).flatten(1)), None, {}
