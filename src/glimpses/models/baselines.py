"""Baselines of Table 1: LSTMs on pooled cubes, and softmax regression."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from glimpses.models import base
from glimpses.models.base import ActionModel, ModelOutput, State
from glimpses.models.config import ModelConfig
from glimpses.models.dropout import Dropout
from glimpses.models.motion import change_since, feature_changes, no_previous, previous_spec
from glimpses.models.normalization import ChannelNorm
from glimpses.models.recurrent import InitState, build_head, describe_size

# Hidden and cell state of all N LSTM layers.
StackedLayers = tuple[Float[Tensor, "N B H"], Float[Tensor, "N B H"]]


class PooledLSTM(ActionModel):
    """The recurrent model without attention: the LSTM reads the whole cube, pooled over places.

    Its input does not depend on its state, so all steps of a block go through `nn.LSTM` at once.
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
    def pool(self, cube: Float[Tensor, "B P D"]) -> Float[Tensor, "B D"]:
        """Return one vector for all places of a cube."""

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
        base.require_trailing_padding(mask)
        frames = [self.channel_norm(cube) for cube in cubes.unbind(1)]
        mean = base.mean_slice(frames, mask) if mean is None else self.channel_norm(mean)
        hidden_states, _ = self._run_lstm(self._block_glimpses(frames), self._initial_layers(mean))
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
        cube = self.channel_norm(cube)
        change, new_state = change_since(cube, state) if self.config.options.motion else (None, {})
        layers = (state["hidden"].transpose(0, 1), state["cell"].transpose(0, 1))
        glimpse = self._glimpse(cube, change)
        hidden_states, (hidden, cell) = self._run_lstm(glimpse.unsqueeze(1), layers)
        new_state |= {"hidden": hidden.transpose(0, 1), "cell": cell.transpose(0, 1)}
        return self.head(hidden_states.squeeze(1)), None, new_state

    def fit_normalization(
        self, frames: Iterable[Float[Tensor, "P D"]], blocks: Iterable[Float[Tensor, "T P D"]]
    ) -> None:
        """Fit the normalization of features, then of glimpses of motion; see `ActionModel`."""
        super().fit_normalization(frames, blocks)
        if self.config.options.channel_norm and isinstance(self.glimpse_norm, ChannelNorm):
            normalized = ([self.channel_norm(cube[None]) for cube in block] for block in blocks)
            self.glimpse_norm.fit(self._block_glimpses(frames)[0] for frames in normalized)

    def _block_glimpses(self, frames: Sequence[Float[Tensor, "B P D"]]) -> Float[Tensor, "B T X"]:
        """Return the glimpses of all steps of a block, not normalized."""
        changes = feature_changes(frames) if self.config.options.motion else [None] * len(frames)
        return torch.stack([self._glimpse(*both) for both in zip(frames, changes, strict=True)], 1)

    def _glimpse(
        self, cube: Float[Tensor, "B P D"], change: Float[Tensor, "B P D"] | None
    ) -> Float[Tensor, "B X"]:
        """Return the pooled features, their pooled change, or both; not normalized."""
        if change is None:
            return self.pool(cube)
        if self.config.options.motion_only:
            return self.pool(change)
        return torch.cat((self.pool(cube), self.pool(change)), dim=1)

    def _initial_layers(self, mean: Float[Tensor, "B D"]) -> StackedLayers:
        """Return h_0 and c_0 of every layer (Eq. 6)."""
        return torch.stack(self.init_hidden(mean)), torch.stack(self.init_cell(mean))

    def _run_lstm(
        self, glimpses: Float[Tensor, "B T X"], layers: StackedLayers
    ) -> tuple[Float[Tensor, "B T H"], StackedLayers]:
        """Return the hidden state of the top layer after every step, and the layers' last state."""
        x = self.dropout(self.glimpse_norm(glimpses))
        hidden, cell = (state.contiguous() for state in layers)
        # cuDNN computes no gradient in evaluation mode, which Grad-CAM needs.
        with torch.backends.cudnn.flags(enabled=self.training or not torch.is_grad_enabled()):
            hidden_states, layers = self.lstm(x, (hidden, cell))
        return hidden_states, layers


class AveragePooledLSTM(PooledLSTM):
    """LSTM on the mean over places."""

    name = "average"

    def pool(self, cube: Float[Tensor, "B P D"]) -> Float[Tensor, "B D"]:
        """Return the mean of every channel."""
        return cube.mean(1)


class MaxPooledLSTM(PooledLSTM):
    """LSTM on the maximum over places."""

    name = "max"

    def pool(self, cube: Float[Tensor, "B P D"]) -> Float[Tensor, "B D"]:
        """Return the maximum of every channel."""
        return cube.amax(1)


class SoftmaxRegression(ActionModel):
    """One linear map from the whole cube to logits, at every step by itself."""

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
