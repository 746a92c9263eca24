"""Interface of all models: feature cubes in, logits and attention at every step out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from glimpses.models.config import ModelConfig
from glimpses.models.normalization import ChannelNorm

#: Tensors that a model carries from step to step, by name; batch first.
State = dict[str, Tensor]


class HardSample(NamedTuple):
    """Places that hard attention chose, as far as training needs to know them.

    Attributes:
        log_probability: log of the location softmax l_t at the chosen place.
        entropy: entropy of the location softmax, in nats.
        value: expected reward per real step from here on, predicted before the choice; the
            baseline of `losses.reinforce_loss`.
    """

    log_probability: Float[Tensor, "*B"]
    entropy: Float[Tensor, "*B"]
    value: Float[Tensor, "*B"]


class ModelOutput(NamedTuple):
    """Output of a model at every step of a block.

    Attributes:
        logits: class logits; their softmax is y_t of Eq. 7.
        attention: share of the glimpse that comes from each place of the picture's grid, rows sum
            to 1: the location softmax l_t, or for hard attention 1 at the chosen place. A
            multi-scale model uses the finer grid, and spreads the attention to a coarse place
            evenly over the fine places that it covers. None for a model without attention.
        samples: places that hard attention chose; None for other models.
        slice_attention: the same attention over the feature slices (`multiscale.SliceLayout`), in
            the form that `ActionModel.forward` accepts; None for a model without attention.
    """

    logits: Float[Tensor, "B T C"]
    attention: Float[Tensor, "B T L"] | None
    samples: HardSample | None = None
    slice_attention: Float[Tensor, "B T Q"] | None = None


class ActionModel(nn.Module, ABC):
    """Base class of all models.

    `forward` reads whole blocks. `initial_state` and `step` read the same blocks frame by frame.

    Attributes:
        config: options and shapes.
        channel_norm: standardization of the features.
        has_attention: whether the model reports where it looks.
        temperature: number that `to_probabilities` divides logits by; fitted after training and
            kept in the run's config.
    """

    has_attention: bool = False
    temperature: float = 1.0

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.channel_norm = ChannelNorm(config.cube.channels)

    @property
    @abstractmethod
    def description(self) -> str:
        """Kind and size of the model, in one line."""

    @property
    def streaming_problem(self) -> str | None:
        """Reason why the model cannot read frames one by one; None if it can."""
        return None

    @property
    def can_stream(self) -> bool:
        """True if the model can read frames one by one."""
        return self.streaming_problem is None

    @property
    def state_spec(self) -> dict[str, tuple[int, ...]]:
        """Names and shapes, without batch axis, of the state's tensors; empty without memory."""
        return {}

    @abstractmethod
    def forward(
        self,
        cubes: Float[Tensor, "B T P D"],
        mask: Bool[Tensor, "B T"] | None = None,
        attention: Float[Tensor, "B T Q"] | None = None,
        mean: Float[Tensor, "B D"] | None = None,
    ) -> ModelOutput:
        """Read blocks of feature cubes.

        Args:
            cubes: X, in any floating dtype.
            mask: True where a step is a real frame and False where it is padding, which comes
                after the real frames; None if all are real. Outputs at padding are meaningless,
                and padding does not change the outputs at real frames.
            attention: attention over the feature slices at every step, in place of the model's
                own, in the form of `ModelOutput.slice_attention`.
            mean: mean feature slice for `initial_state`, for a caller that must not know the whole
                block when it begins; the block's own mean by default.

        Raises:
            ValueError: `attention` is given to a model that has none, or padding comes before a
                real frame.
        """

    def initial_state(self, mean: Float[Tensor, "B D"]) -> State:
        """Return the state before the first step (Eq. 6), in the form of `state_spec`.

        `mean` is the feature slice averaged over places and over the block's real frames.

        Raises:
            ValueError: the model cannot read frames one by one.
        """
        return {}

    @abstractmethod
    def step(
        self, cube: Float[Tensor, "B P D"], state: State
    ) -> tuple[Float[Tensor, "B C"], Float[Tensor, "B L"] | None, State]:
        """Read one frame, X_t, in the state before it.

        Returns:
            Logits, attention (see `ModelOutput.attention`), and the state after the frame.
        """

    def to_probabilities(
        self, logits: Float[Tensor, "*B C"], *, multi_label: bool
    ) -> Float[Tensor, "*B C"]:
        """Convert logits to calibrated class probabilities.

        Args:
            logits: logits of any steps.
            multi_label: whether classes are independent (sigmoid) or mutually exclusive (softmax).
        """
        logits = logits / self.temperature
        return logits.sigmoid() if multi_label else logits.softmax(-1)

    def fit_normalization(
        self, frames: Iterable[Float[Tensor, "P D"]], blocks: Iterable[Float[Tensor, "T P D"]]
    ) -> None:
        """Fit the normalization layers to frames and to blocks of the training clips.

        Without `ModelOptions.channel_norm`, do nothing.
        """
        if self.config.options.channel_norm:
            self.channel_norm.fit(frames)


class ConvexModel(ABC):
    """Part of the interface of a model that is linear in statistics of the frames so far.

    Training solves for its weights at once instead of taking gradient steps.
    """

    @abstractmethod
    def statistics(self, cubes: Float[Tensor, "B T P D"]) -> Float[Tensor, "B T S"]:
        """Return the statistics of all frames up to each step, not standardized."""

    @abstractmethod
    def set_weights(
        self,
        mean: Float[Tensor, " S"],
        std: Float[Tensor, " S"],
        weight: Float[Tensor, "C S"],
        bias: Float[Tensor, " C"],
    ) -> None:
        """Set the standardization of the statistics, and the weights for standardized ones."""


def mean_slice(
    frames: Sequence[Float[Tensor, "B P D"]], mask: Bool[Tensor, "B T"] | None = None
) -> Float[Tensor, "B D"]:
    """Return the mean feature slice of each block, over places and real frames (Eq. 6)."""
    means = torch.stack([cube.mean(1) for cube in frames], dim=1)
    if mask is None:
        return means.mean(1)
    weight = mask.to(means.dtype)
    total = torch.einsum("btd,bt->bd", means, weight)
    return total / weight.sum(1, keepdim=True).clamp(min=1)


def require_trailing_padding(mask: Bool[Tensor, "B T"] | None) -> None:
    """Raise ValueError if a mask has padding before a real frame."""
    if mask is not None and bool((mask[:, 1:] & ~mask[:, :-1]).any()):
        raise ValueError("padding must come after a block's real frames")
