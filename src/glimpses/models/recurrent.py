"""The paper's model: a stacked LSTM that takes one glimpse of each frame (Fig. 1b).

Read `RecurrentAttentionModel` beside the equations: Eq. 1 and 2 are in `attention`, Eq. 3 to 6
here, and Eq. 7 in `losses`. Hard attention, attention to two stages and motion are wrapped around
it: see `hard_attention`, `multiscale` and `motion`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from glimpses.models import base
from glimpses.models.attention import (
    ContentAttention,
    Glimpse,
    LocationAttention,
    SpatialAggregator,
)
from glimpses.models.base import ActionModel, HardSample, ModelOutput, State
from glimpses.models.compiled import CheckedCompile
from glimpses.models.config import ModelConfig, ModelOptions
from glimpses.models.dropout import Dropout, step_masks
from glimpses.models.glimpse import (
    MotionFeatures,
    SceneFeatures,
    glimpse_scale,
    glimpse_width,
)
from glimpses.models.hard_attention import HardAttention
from glimpses.models.multiscale import (
    EarlyStageKey,
    MultiScaleAttention,
    MultiScaleKey,
    SliceLayout,
)
from glimpses.models.normalization import ChannelNorm

# Hidden or cell state of every LSTM layer, bottom layer first.
Layers = tuple[Float[Tensor, "B H"], ...]


class RecurrentAttentionModel(ActionModel):
    """Soft attention model of the paper.

    At each step the location softmax (Eq. 1) turns the feature cube into a glimpse (Eq. 2). The
    LSTM layers read it (Eq. 3 to 5). A hidden layer with tanh and a linear layer turn the hidden
    state of the top layer into logits, and the next step's location softmax is computed from the
    same state. Dropout is on all non-recurrent connections (Zaremba et al., 2014).
    """

    has_attention = True

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        options, size = config.options, config.options.hidden_size
        channels, width = SliceLayout.of(config).num_channels, glimpse_width(config)
        self.attention = build_attention(config)
        self.init_hidden = InitState(channels, config)  # f_init,h
        self.init_cell = InitState(channels, config)  # f_init,c
        self.widths = [width, *[size] * (options.num_layers - 1)]
        self.cells = nn.ModuleList(nn.LSTMCell(width, size) for width in self.widths)  # M
        self.head = build_head(config)
        # Change varies by a few tenths around a mean as large, which depends on where the model
        # looks, and the mean over a frame varies less than its places.
        normalize = options.motion or options.scene
        self.glimpse_norm = ChannelNorm(width) if normalize else nn.Identity()
        self.linear_path: nn.Linear | None = None
        if options.glimpse_to_output:
            self.linear_path = nn.Linear(width, config.num_classes)
            nn.init.zeros_(self.linear_path.weight)
        self._compiled = CheckedCompile()

    @property
    def description(self) -> str:
        """Kind and size of the model, in one line."""
        options = self.config.options
        hard = "hard " if options.attention_mode == "hard" else ""
        return f"{hard}attention, {options.attention}{describe_size(options)}"

    @property
    def state_spec(self) -> dict[str, tuple[int, ...]]:
        """Hidden and cell state of all layers, bottom layer first."""
        shape = (self.config.options.num_layers, self.config.options.hidden_size)
        return {"hidden": shape, "cell": shape}

    def forward(
        self,
        cubes: Float[Tensor, "B T P D"],
        mask: Bool[Tensor, "B T"] | None = None,
        attention: Float[Tensor, "B T Q"] | None = None,
        mean: Float[Tensor, "B D"] | None = None,
    ) -> ModelOutput:
        """Read blocks of feature cubes; see `ActionModel.forward`."""
        base.require_trailing_padding(mask)
        # One frame at a time stays in the processor's cache, where a whole block does not.
        frames = [self.channel_norm(cube) for cube in cubes.unbind(1)]
        mean = base.mean_slice(frames, mask) if mean is None else self.channel_norm(mean)
        hidden_states, glimpses = self._unroll(frames, mean, mask, attention)
        weights = torch.stack([glimpse.weights for glimpse in glimpses], dim=1)
        return ModelOutput(
            logits=self._logits(hidden_states, glimpses),
            attention=self.attention.on_grid(weights),
            samples=_stack_samples([glimpse.sample for glimpse in glimpses]),
            slice_attention=weights,
        )

    def _unroll(
        self,
        frames: Sequence[Float[Tensor, "B P D"]],
        mean: Float[Tensor, "B D"],
        mask: Bool[Tensor, "B T"] | None = None,
        attention: Float[Tensor, "B T Q"] | None = None,
    ) -> tuple[Float[Tensor, "B T H"], list[Glimpse]]:
        """Return the hidden state of the top layer after every step, and the glimpses.

        `frames` and `mean` are standardized; see `ActionModel.forward` for the other arguments.
        """
        hidden, cell = self._initial_layers(mean)  # Eq. 6
        frames, biases = self._prepare(frames, mask)
        weights = [None] * len(frames) if attention is None else attention.unbind(1)
        masks = self._dropout_masks(mean, len(frames))
        step = self._compiled.wrap(self._step) if mean.is_cuda else self._step
        hidden_states, glimpses = [], []
        for t, cube in enumerate(frames):
            glimpse, hidden, cell = step(cube, hidden, cell, masks[t], weights[t], biases[t])
            hidden_states.append(hidden[-1])
            glimpses.append(glimpse)
        return torch.stack(hidden_states, dim=1), glimpses

    def _step(
        self,
        cube: Float[Tensor, "B P D"],
        hidden: Layers,
        cell: Layers,
        masks: Sequence[Float[Tensor, "B X"] | None],
        weights: Float[Tensor, "B Q"] | None = None,
        bias: Float[Tensor, "B Q"] | None = None,
    ) -> tuple[Glimpse, Layers, Layers]:
        """Return the glimpse of one frame, and the hidden and cell states after it."""
        glimpse: Glimpse = self.attention(cube, hidden[-1], weights, bias)  # Eq. 1 and 2
        x = self.glimpse_norm(glimpse.features)
        glimpse = glimpse._replace(features=x)
        new_hidden, new_cell = [], []
        for lstm, h, c, mask in zip(self.cells, hidden, cell, masks, strict=True):
            x, c = lstm(x if mask is None else x * mask, (h, c))  # Eq. 3 to 5
            new_hidden.append(x)
            new_cell.append(c)
        return glimpse, tuple(new_hidden), tuple(new_cell)

    def initial_state(self, mean: Float[Tensor, "B D"]) -> State:
        """Return the state before the first step (Eq. 6); see `ActionModel.initial_state`."""
        hidden, cell = self._initial_layers(self.channel_norm(mean))
        return {"hidden": torch.stack(hidden, dim=1), "cell": torch.stack(cell, dim=1)}

    def step(
        self, cube: Float[Tensor, "B P D"], state: State
    ) -> tuple[Float[Tensor, "B C"], Float[Tensor, "B L"] | None, State]:
        """Read one frame; see `ActionModel.step`."""
        return self._step_normalized(self.channel_norm(cube), state)

    def _step_normalized(
        self, cube: Float[Tensor, "B P X"], state: State, bias: Float[Tensor, "B Q"] | None = None
    ) -> tuple[Float[Tensor, "B C"], Float[Tensor, "B L"], State]:
        hidden, cell = state["hidden"].unbind(1), state["cell"].unbind(1)
        masks = self._dropout_masks(cube, steps=1)[0]
        glimpse, hidden, cell = self._step(cube, hidden, cell, masks, None, bias)
        logits = self._logits(hidden[-1].unsqueeze(1), [glimpse]).squeeze(1)
        new_state = {"hidden": torch.stack(hidden, dim=1), "cell": torch.stack(cell, dim=1)}
        return logits, self.attention.on_grid(glimpse.weights), new_state

    def _logits(
        self, hidden_states: Float[Tensor, "B T H"], glimpses: Sequence[Glimpse]
    ) -> Float[Tensor, "B T C"]:
        """Return the logits of every step from the LSTM, and from the glimpse itself."""
        logits: Tensor = self.head(hidden_states)
        if self.linear_path is None:
            return logits
        features = torch.stack([glimpse.features for glimpse in glimpses], dim=1)
        # One mask for all steps (Gal and Ghahramani, 2016): the mean over steps would undo others.
        rate = self.config.options.dropout if self.training else 0.0
        features = features * F.dropout(torch.ones_like(features[:, :1]), rate)
        logits = logits + self.linear_path(features)
        return logits

    def fit_normalization(
        self, frames: Iterable[Float[Tensor, "P D"]], blocks: Iterable[Float[Tensor, "T P D"]]
    ) -> None:
        """Fit the normalization of features, then of glimpses; see `ActionModel`.

        Glimpses are those of the untrained model, which looks everywhere or where motion draws it.
        """
        super().fit_normalization(frames, blocks)
        if self.config.options.channel_norm and isinstance(self.glimpse_norm, ChannelNorm):
            self.glimpse_norm.fit(self._glimpses(block) for block in blocks)
            scale = glimpse_scale(self.config)
            if scale is not None:
                self.glimpse_norm.scale.mul_(scale)

    @torch.inference_mode()
    def _glimpses(self, block: Float[Tensor, "T P D"]) -> Float[Tensor, "T X"]:
        """Return the glimpses of a block; not normalized while they are being fitted."""
        training = self.training
        frames = [self.eval().channel_norm(cube.unsqueeze(0)) for cube in block]
        _, glimpses = self._unroll(frames, base.mean_slice(frames))
        self.train(training)
        return torch.cat([glimpse.features for glimpse in glimpses])

    def _initial_layers(self, mean: Float[Tensor, "B D"]) -> tuple[Layers, Layers]:
        """Return h_0 and c_0 of every layer (Eq. 6)."""
        mean = self.attention.mean_slice(mean)
        return self.init_hidden(mean), self.init_cell(mean)

    def _prepare(
        self, frames: Sequence[Float[Tensor, "B P D"]], mask: Bool[Tensor, "B T"] | None
    ) -> tuple[Sequence[Float[Tensor, "B P X"]], Sequence[Float[Tensor, "B Q"] | None]]:
        """Return the cubes that glimpses are taken of, and a bias of each step's scores, if any."""
        return frames, [None] * len(frames)

    def _dropout_masks(
        self, like: Float[Tensor, "B ..."], steps: int
    ) -> list[Sequence[Float[Tensor, "B X"] | None]]:
        """Return the dropout masks of the inputs of all LSTM layers, for each step."""
        rate = self.config.options.dropout if self.training else 0.0
        return step_masks(self.widths, steps, rate, like)


class InitState(nn.Module):
    """Multilayer perceptron from the mean slice, of `width` channels, to all states (Eq. 6)."""

    def __init__(self, width: int, config: ModelConfig) -> None:
        super().__init__()
        size, self.num_layers = config.options.hidden_size, config.options.num_layers
        self.inner = nn.Linear(width, size)
        self.outer = nn.Linear(size, self.num_layers * size)
        self.dropout = Dropout(config.options.dropout)

    def forward(self, mean: Float[Tensor, "B X"]) -> tuple[Float[Tensor, "B H"], ...]:
        """Return one state for each layer, bottom layer first."""
        inner = torch.tanh(self.inner(self.dropout(mean)))
        return torch.tanh(self.outer(self.dropout(inner))).chunk(self.num_layers, dim=-1)


def build_attention(config: ModelConfig) -> SpatialAggregator:
    """Return the attention that the options ask for."""
    options, layout = config.options, SliceLayout.of(config)
    size, attention_size = options.hidden_size, options.attention_size
    # The order of these lines is the order in which initial weights are drawn.
    value = nn.Linear(size, 1) if options.attention_mode == "hard" else None
    attention: SpatialAggregator
    if options.attention == "location":
        attention = LocationAttention(layout.num_slices, size)
    elif layout.fine_channels:
        attention = ContentAttention(MultiScaleKey(layout, attention_size), size, attention_size)
    else:
        key: nn.Module = nn.Linear(layout.coarse_channels, attention_size)
        if layout.score_channels:
            key = EarlyStageKey(layout, attention_size)
        attention = ContentAttention(key, size, attention_size)
    if layout.fine_channels:
        attention = MultiScaleAttention(attention, layout)
    if value is not None:
        attention = HardAttention(attention, value)
    if options.motion:
        attention = MotionFeatures(attention, layout, motion_only=options.motion_only)
    return SceneFeatures(attention) if options.scene else attention


def build_head(config: ModelConfig) -> nn.Sequential:
    """Return the layers from the hidden state of the top LSTM layer to the logits."""
    size, rate = config.options.hidden_size, config.options.dropout
    inner, logits = nn.Linear(size, size), nn.Linear(size, config.num_classes)
    return nn.Sequential(Dropout(rate), inner, nn.Tanh(), Dropout(rate), logits)


def describe_size(options: ModelOptions) -> str:
    """Return the end of a model's description: its use of motion, and its LSTM layers."""
    motion = ", with motion" if options.motion else ""
    motion += " only" if options.motion_only else ""
    motion += ", motion bias" if options.motion_bias else ""
    return f"{motion}, {options.num_layers} layers of {options.hidden_size}"


def _stack_samples(samples: Sequence[HardSample | None]) -> HardSample | None:
    """Return the samples of all steps in one; None if there are none."""
    present = [sample for sample in samples if sample is not None]
    stacked = (torch.stack(parts, dim=1) for parts in zip(*present, strict=True))
    return HardSample(*stacked) if present else None
