"""How a frame's feature cube becomes the one vector that the decoder reads: x_t."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn


class Glimpse(NamedTuple):
    """What is seen of a frame.

    Attributes:
        vector: x_t of Eq. 2.
        attention: location softmax l_t it was taken with; None where everything was pooled.
    """

    vector: Float[Tensor, "B D"]
    attention: Float[Tensor, "B P"] | None


class Looking(nn.Module, ABC):
    """Chooses what is seen of a frame, from the decoder's state before that frame."""

    def keys(self, cubes: Float[Tensor, "*B P D"]) -> Float[Tensor, "*B P A"] | None:
        """What depends on the cubes alone, and so can be computed for all steps at once."""
        return None

    @abstractmethod
    def forward(
        self,
        cube: Float[Tensor, "B P D"],
        keys: Float[Tensor, "B P A"] | None,
        hidden: Float[Tensor, "B H"],
    ) -> Glimpse:
        """Look at one frame.

        Args:
            cube: its features, X_t.
            keys: what `keys` gave for it.
            hidden: the top layer's hidden state before it, h_(t-1).
        """


class Attention(Looking):
    """The expected feature slice under a location softmax: Eq. 2."""

    def forward(
        self,
        cube: Float[Tensor, "B P D"],
        keys: Float[Tensor, "B P A"] | None,
        hidden: Float[Tensor, "B H"],
    ) -> Glimpse:
        """Look at one frame; see `Looking.forward`."""
        attention = torch.softmax(self.scores(keys, hidden), dim=-1)
        return Glimpse(torch.bmm(attention.unsqueeze(1), cube).squeeze(1), attention)

    @abstractmethod
    def scores(
        self, keys: Float[Tensor, "B P A"] | None, hidden: Float[Tensor, "B H"]
    ) -> Float[Tensor, "B P"]:
        """What the location softmax is the softmax of."""


class LocationAttention(Attention):
    """Location softmax from the hidden state alone: Eq. 1.

    It knows nothing of the picture it is about to look at; it can only learn where things tend to
    be and how they move on.
    """

    def __init__(self, places: int, hidden: int) -> None:
        super().__init__()
        self.place = nn.Linear(hidden, places, bias=False)  # W_i

    def scores(
        self, keys: Float[Tensor, "B P A"] | None, hidden: Float[Tensor, "B H"]
    ) -> Float[Tensor, "B P"]:
        """W_i^T h_(t-1) for every place i."""
        scores: Tensor = self.place(hidden)
        return scores


class ContentAttention(Attention):
    """Location softmax from the hidden state and the features of every place.

    The form of the authors' released code, after Bahdanau et al. (2015). It can find what it looks
    for wherever that is. Theirs keeps the width D of the features inside, which costs more than
    all the rest of the model.
    """

    def __init__(self, channels: int, hidden: int, size: int) -> None:
        super().__init__()
        self.key = nn.Linear(channels, size)  # W_c, b
        self.query = nn.Linear(hidden, size, bias=False)  # W_d
        self.score = nn.Linear(size, 1, bias=False)  # U

    def keys(self, cubes: Float[Tensor, "*B P D"]) -> Float[Tensor, "*B P A"]:
        """W_c X_t,i + b for every place i."""
        keys: Tensor = self.key(cubes)
        return keys

    def scores(
        self, keys: Float[Tensor, "B P A"] | None, hidden: Float[Tensor, "B H"]
    ) -> Float[Tensor, "B P"]:
        """U^T tanh(W_c X_t,i + W_d h_(t-1) + b) for every place i."""
        scores: Tensor = self.score(torch.tanh(keys + self.query(hidden).unsqueeze(1)))
        return scores.squeeze(-1)


class AveragePooling(Looking):
    """The mean over places: a baseline of Table 1."""

    def forward(
        self,
        cube: Float[Tensor, "B P D"],
        keys: Float[Tensor, "B P A"] | None,
        hidden: Float[Tensor, "B H"],
    ) -> Glimpse:
        """Look at one frame; see `Looking.forward`."""
        return Glimpse(cube.mean(dim=1), None)


class MaxPooling(Looking):
    """The largest value over places, channel by channel: a baseline of Table 1."""

    def forward(
        self,
        cube: Float[Tensor, "B P D"],
        keys: Float[Tensor, "B P A"] | None,
        hidden: Float[Tensor, "B H"],
    ) -> Glimpse:
        """Look at one frame; see `Looking.forward`."""
        return Glimpse(torch.amax(cube, dim=1), None)
