"""Soft attention: the location softmax and the glimpse (Eq. 1 and 2)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from glimpses.models.base import HardSample


class Glimpse(NamedTuple):
    """The part of a frame that the LSTM reads.

    Attributes:
        features: x_t of Eq. 2.
        weights: location softmax l_t, over the feature slices.
        sample: place that hard attention chose; None for soft attention.
    """

    features: Float[Tensor, "B X"]
    weights: Float[Tensor, "B Q"]
    sample: HardSample | None = None


class SpatialAggregator(nn.Module, ABC):
    """Attention that reduces the feature cube of a frame to one glimpse.

    `forward` is the soft attention of the paper. Subclasses say how places are scored.
    """

    def forward(
        self,
        cube: Float[Tensor, "B P D"],
        hidden: Float[Tensor, "B H"],
        weights: Float[Tensor, "B Q"] | None = None,
        bias: Float[Tensor, "B Q"] | None = None,
    ) -> Glimpse:
        """Take a glimpse of one frame.

        Args:
            cube: features of the frame, X_t.
            hidden: hidden state of the top layer before the frame, h_(t-1).
            weights: weights of the slices, in place of the location softmax.
            bias: added to the scores of the slices.
        """
        sample = None
        if weights is None:
            scores = self.scores(cube, hidden)
            weights, sample = self.attend(scores if bias is None else scores + bias, hidden)
        return Glimpse(self.weighted_sum(cube, weights), weights, sample)

    def attend(
        self, scores: Float[Tensor, "B Q"], hidden: Float[Tensor, "B H"]
    ) -> tuple[Float[Tensor, "B Q"], HardSample | None]:
        """Return the location softmax l_t (Eq. 1); hard attention also returns its choice."""
        return torch.softmax(scores, dim=-1), None

    def weighted_sum(
        self, cube: Float[Tensor, "B P D"], weights: Float[Tensor, "B Q"]
    ) -> Float[Tensor, "B X"]:
        """Return x_t, the sum over places i of l_(t,i) X_(t,i) (Eq. 2)."""
        # One product of matrices is an order of magnitude faster than multiplying and summing.
        return torch.bmm(weights.unsqueeze(1), cube).squeeze(1)

    @abstractmethod
    def scores(
        self, cube: Float[Tensor, "B P D"], hidden: Float[Tensor, "B H"]
    ) -> Float[Tensor, "B Q"]:
        """Return the score of every slice, the argument of the location softmax."""

    def mean_slice(self, mean: Float[Tensor, "B D"]) -> Float[Tensor, "B X"]:
        """Return the mean over all slices, from the mean over all places of the cube."""
        return mean

    def on_grid(self, weights: Float[Tensor, "*B Q"]) -> Float[Tensor, "*B L"]:
        """Return the weights of the places of the picture's grid, row by row."""
        return weights


class LocationAttention(SpatialAggregator):
    """Location softmax from the hidden state alone (Eq. 1).

    It does not depend on the current frame, so it can only learn where actors tend to be and how
    they move. `num_slices` is Q, `hidden_size` is H.
    """

    def __init__(self, num_slices: int, hidden_size: int) -> None:
        super().__init__()
        self.place = nn.Linear(hidden_size, num_slices, bias=False)  # W_i

    def scores(
        self, cube: Float[Tensor, "B P D"], hidden: Float[Tensor, "B H"]
    ) -> Float[Tensor, "B Q"]:
        """Return W_i^T h_(t-1) for every place i."""
        scores: Tensor = self.place(hidden)
        return scores


class ContentAttention(SpatialAggregator):
    """Location softmax from the hidden state and the features of every place.

    This is the attention of the authors' released code, after Bahdanau et al. (2015). It finds
    what it looks for wherever that is. The authors' code keeps the width D of the features in the
    layer inside, which costs more than the rest of the model.

    Args:
        key: layer from the features of a place to its key, A wide: W_c and b.
        hidden_size: size of the hidden state, H.
        attention_size: width of a key, A.
    """

    def __init__(self, key: nn.Module, hidden_size: int, attention_size: int) -> None:
        super().__init__()
        self.key = key  # W_c, b
        self.query = nn.Linear(hidden_size, attention_size, bias=False)  # W_d
        self.score = nn.Linear(attention_size, 1, bias=False)  # U

    def scores(
        self, cube: Float[Tensor, "B P D"], hidden: Float[Tensor, "B H"]
    ) -> Float[Tensor, "B Q"]:
        """Return U^T tanh(W_c X_(t,i) + W_d h_(t-1) + b) for every place i."""
        scores: Tensor = self.score(torch.tanh(self.key(cube) + self.query(hidden).unsqueeze(1)))
        return scores.squeeze(-1)


class AttentionWrapper(SpatialAggregator):
    """Base class of attention that changes another attention in part."""

    def __init__(self, attention: SpatialAggregator) -> None:
        super().__init__()
        self.attention = attention

    def scores(
        self, cube: Float[Tensor, "B P D"], hidden: Float[Tensor, "B H"]
    ) -> Float[Tensor, "B Q"]:
        """Return the wrapped attention's scores."""
        return self.attention.scores(cube, hidden)

    def attend(
        self, scores: Float[Tensor, "B Q"], hidden: Float[Tensor, "B H"]
    ) -> tuple[Float[Tensor, "B Q"], HardSample | None]:
        """Return the wrapped attention's weights."""
        return self.attention.attend(scores, hidden)

    def weighted_sum(
        self, cube: Float[Tensor, "B P D"], weights: Float[Tensor, "B Q"]
    ) -> Float[Tensor, "B X"]:
        """Return the wrapped attention's sum."""
        return self.attention.weighted_sum(cube, weights)

    def mean_slice(self, mean: Float[Tensor, "B D"]) -> Float[Tensor, "B X"]:
        """Return the wrapped attention's mean slice."""
        return self.attention.mean_slice(mean)

    def on_grid(self, weights: Float[Tensor, "*B Q"]) -> Float[Tensor, "*B L"]:
        """Return the wrapped attention's weights on the grid."""
        return self.attention.on_grid(weights)
