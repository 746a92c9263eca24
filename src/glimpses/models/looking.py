"""How a frame's feature cube becomes the one vector that the decoder reads: x_t."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from glimpses.models.base import Choice, ModelConfig

# How much a deviation of change adds to a score before anything is learned: places that change most
# then have most of the attention, and still share it.
_PULL = 3.0
# In deviations of a feature: a change below this is noise, and draws no attention.
_STILL = 1e-3


class Glimpse(NamedTuple):
    """What is seen of a frame.

    Attributes:
        vector: x_t of Eq. 2.
        attention: how much of it is from each place of the picture's grid; None where everything
            was pooled.
        choice: of hard attention that chose for itself; None without.
        softmax: the same attention over the slices it was taken from; None where everything was
            pooled.
    """

    vector: Float[Tensor, "B X"]
    attention: Float[Tensor, "B L"] | None
    choice: Choice | None = None
    softmax: Float[Tensor, "B Q"] | None = None


@dataclass(frozen=True)
class Slices:
    """The feature slices that lie in a cube: one for each place, of one stage or of two.

    With two (`backbones.trunk.Joined`) a cube is taken apart into P = K*K slices of the later,
    coarse stage and r*r*P of the earlier, fine one, which is the multi-resolution attention that
    the paper's conclusion proposes. Slices of different stages are added in the direct sum of
    their spaces, R^D1 + R^D2: each has zeros in the other's channels.

    Attributes:
        places: of the cube, P.
        channels: of a slice of the coarse stage, D1; of the only one, D.
        fine_channels: of a slice of the fine stage, D2; 0 without.
        ratio: r.
        motion: whether a cube comes with its change beside it; then a slice has its place's
            features and the change of each, and twice the channels.
    """

    places: int
    channels: int
    fine_channels: int = 0
    ratio: int = 1
    motion: bool = False

    @classmethod
    def of(cls, config: ModelConfig) -> Slices:
        """Those that a model attends to."""
        below = config.fine_ratio**2 * config.fine_channels
        return cls(
            config.places,
            config.channels - below,
            config.fine_channels,
            config.fine_ratio,
            config.motion and not config.motion_alone,
        )

    @property
    def count(self) -> int:
        """How many there are, Q: P, or with two stages P + r*r*P."""
        return self.places * (1 + self.ratio**2 if self.fine_channels else 1)

    @property
    def widths(self) -> tuple[int, int]:
        """Channels of a slice of each stage, coarse ones first."""
        times = 2 if self.motion else 1
        return times * self.channels, times * self.fine_channels

    @property
    def width(self) -> int:
        """Channels of a sum of slices."""
        return sum(self.widths)

    def apart(self, cubes: Float[Tensor, "*B P D"]) -> list[Float[Tensor, "*B Q X"]]:
        """The slices of each stage, coarse ones first.

        Fine ones are in the order of the coarse places that they lie in, row by row within each.
        """
        if not self.motion or not self.fine_channels:
            return self.stages(cubes)
        both = (self.stages(half) for half in cubes.chunk(2, dim=-1))
        return [torch.cat(halves, dim=-1) for halves in zip(*both, strict=True)]

    def stages(self, cubes: Float[Tensor, "*B P D"]) -> list[Float[Tensor, "*B Q X"]]:
        """The slices of each stage of cubes without change, coarse ones first."""
        if not self.fine_channels:
            return [cubes]
        below = cubes[..., self.channels :]
        fine = below.reshape(*cubes.shape[:-2], -1, self.fine_channels)
        return [cubes[..., : self.channels], fine]

    def change(
        self, cubes: Float[Tensor, "B T P D"], mask: Bool[Tensor, "B T"]
    ) -> Float[Tensor, "B Q"]:
        """How much each slice changes in a block, as deviations from the mean over its stage.

        The change of a slice is the mean distance of its features from those of the frame before,
        over all channels and real steps but the first. Camera and light, which change all places
        alike, are in the mean.

        Args:
            cubes: X, standardised.
            mask: True where a step is a real frame; real ones come first.
        """
        real = mask[:, 1:].to(cubes.dtype)
        real = real / real.sum(1, keepdim=True).clamp(min=1)
        found = []
        for stage in self.stages((cubes[:, 1:] - cubes[:, :-1]).abs()):
            change = torch.einsum("btq,bt->bq", stage.mean(-1), real)
            change = change - change.mean(1, keepdim=True)
            found.append(change / (change.std(1, keepdim=True, unbiased=False) + _STILL))
        return torch.cat(found, dim=1)

    def weighted(
        self, cube: Float[Tensor, "B P D"], weights: Float[Tensor, "B Q"]
    ) -> Float[Tensor, "B X"]:
        """The sum of all slices, each by its weight."""
        parts = self.apart(cube)
        shares = torch.split(weights, [part.shape[1] for part in parts], dim=1)
        sums = [
            torch.bmm(share.unsqueeze(1), part).squeeze(1)
            for share, part in zip(shares, parts, strict=True)
        ]
        return torch.cat(sums, dim=1) if len(sums) > 1 else sums[0]

    @property
    def mean_width(self) -> int:
        """Channels of `mean`."""
        return self.channels + self.fine_channels

    def mean(self, mean: Float[Tensor, "B D"]) -> Float[Tensor, "B X"]:
        """The mean slice of each stage, in the direct sum, from the mean over a cube's places.

        Change has no part in it: before the first frame there is none.
        """
        return torch.cat([part.mean(1) for part in self.stages(mean.unsqueeze(1))], dim=1)

    def on_grid(self, weights: Float[Tensor, "B Q"]) -> Float[Tensor, "B L"]:
        """Weights of the slices as weights of the places of the finest grid, row by row.

        What a coarse place has is spread evenly over the fine ones that it covers.
        """
        if not self.fine_channels:
            return weights
        side, ratio = math.isqrt(self.places), self.ratio
        coarse, fine = weights[:, : self.places], weights[:, self.places :]
        below = fine.reshape(-1, side, side, ratio, ratio)
        below = below + coarse.reshape(-1, side, side, 1, 1) / ratio**2
        return below.transpose(2, 3).flatten(1)


class Looking(nn.Module, ABC):
    """Chooses what is seen of a frame, from the decoder's state before that frame.

    Args:
        slices: what there is to be seen.
    """

    def __init__(self, slices: Slices) -> None:
        super().__init__()
        self.slices = slices

    def keys(self, cubes: Float[Tensor, "*B P D"]) -> Float[Tensor, "*B Q A"] | None:
        """What depends on the cubes alone, and so can be computed for all steps at once."""
        return None

    @abstractmethod
    def forward(
        self,
        cube: Float[Tensor, "B P D"],
        keys: Float[Tensor, "B Q A"] | None,
        hidden: Float[Tensor, "B H"],
        softmax: Float[Tensor, "B Q"] | None = None,
        change: Float[Tensor, "B Q"] | None = None,
    ) -> Glimpse:
        """Look at one frame.

        Args:
            cube: its features, X_t.
            keys: what `keys` gave for it.
            hidden: the top layer's hidden state before it, h_(t-1).
            softmax: where to look, in place of the location softmax l_t.
            change: what `Slices.change` gave for the block, for attention that follows it.

        Raises:
            ValueError: `softmax` is given where everything is pooled.
        """


class HardChoice(nn.Module):
    """One place in place of all: Xu et al. (2015), section 4.1.

    In training it is drawn from the location softmax, by PyTorch's global random state; in
    evaluation it is the most probable one, so that a video always gives the same prediction.
    """

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.value = nn.Linear(hidden, 1)

    def forward(
        self, scores: Float[Tensor, "B Q"], hidden: Float[Tensor, "B H"]
    ) -> tuple[Float[Tensor, "B Q"], Choice]:
        """Choose.

        Args:
            scores: what the location softmax is the softmax of.
            hidden: the top layer's hidden state before the frame; what the value learns does not
                reach it.

        Returns:
            1 at the chosen place and 0 elsewhere, and what training needs to know of the choice.
        """
        log_softmax = torch.log_softmax(scores, dim=-1)
        softmax = log_softmax.exp()
        place = (self.draw(softmax) if self.training else softmax.argmax(dim=-1)).unsqueeze(1)
        weights = torch.zeros_like(scores).scatter(1, place, 1.0)
        return weights, Choice(
            log_softmax.gather(1, place).squeeze(1),
            -(softmax * log_softmax).sum(dim=-1),
            self.value(hidden.detach()).squeeze(1),
        )

    def draw(self, softmax: Float[Tensor, "B Q"]) -> Int[Tensor, " B"]:
        """A place for each frame of the batch."""
        return torch.multinomial(softmax, 1).squeeze(1)


class Attention(Looking):
    """The expected feature slice under a location softmax (Eq. 2), or the slice of one place.

    Where the model follows motion, `pull` times the block's change there (`Slices.change`) is
    added to the score of each place. What little is learned from few clips does not find the one
    place that matters; that something moves there is known beforehand. The pull is learned like
    any other weight, and may come to nothing.

    Args:
        config: shape of the model.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(Slices.of(config))
        self.choose = HardChoice(config.hidden) if config.glimpse == "hard" else None
        self.pull = nn.Parameter(torch.tensor(_PULL)) if config.follow_motion else None

    def forward(
        self,
        cube: Float[Tensor, "B P D"],
        keys: Float[Tensor, "B Q A"] | None,
        hidden: Float[Tensor, "B H"],
        softmax: Float[Tensor, "B Q"] | None = None,
        change: Float[Tensor, "B Q"] | None = None,
    ) -> Glimpse:
        """Look at one frame; see `Looking.forward`."""
        choice = None
        if softmax is None:
            scores = self.scores(keys, hidden)
            if self.pull is not None and change is not None:
                scores = scores + self.pull * change
            if self.choose is None:
                softmax = torch.softmax(scores, dim=-1)
            else:
                softmax, choice = self.choose(scores, hidden)
        vector = self.slices.weighted(cube, softmax)
        return Glimpse(vector, self.slices.on_grid(softmax), choice, softmax)

    @abstractmethod
    def scores(
        self, keys: Float[Tensor, "B Q A"] | None, hidden: Float[Tensor, "B H"]
    ) -> Float[Tensor, "B Q"]:
        """What the location softmax is the softmax of, for every slice."""


class LocationAttention(Attention):
    """Location softmax from the hidden state alone: Eq. 1.

    It knows nothing of the picture it is about to look at; it can only learn where things tend to
    be and how they move on.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.place = nn.Linear(config.hidden, self.slices.count, bias=False)  # W_i

    def scores(
        self, keys: Float[Tensor, "B Q A"] | None, hidden: Float[Tensor, "B H"]
    ) -> Float[Tensor, "B Q"]:
        """W_i^T h_(t-1) for every place i."""
        scores: Tensor = self.place(hidden)
        return scores


class ContentAttention(Attention):
    """Location softmax from the hidden state and the features of every place.

    The form of the authors' released code, after Bahdanau et al. (2015). It can find what it looks
    for wherever that is. Theirs keeps the width D of the features inside, which costs more than
    all the rest of the model. Each of two joined stages has a W_c and b of its own.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        size, fine = config.attention_size, self.slices.fine_channels
        self.key = nn.Linear(self.slices.channels, size)  # W_c, b
        self.fine_key = nn.Linear(fine, size) if fine else None
        self.query = nn.Linear(config.hidden, size, bias=False)  # W_d
        self.score = nn.Linear(size, 1, bias=False)  # U

    def keys(self, cubes: Float[Tensor, "*B P D"]) -> Float[Tensor, "*B Q A"]:
        """W_c X_t,i + b for every place i."""
        coarse, *fine = self.slices.stages(cubes)
        keys: Tensor = self.key(coarse)
        return keys if self.fine_key is None else torch.cat((keys, self.fine_key(*fine)), dim=-2)

    def scores(
        self, keys: Float[Tensor, "B Q A"] | None, hidden: Float[Tensor, "B H"]
    ) -> Float[Tensor, "B Q"]:
        """U^T tanh(W_c X_t,i + W_d h_(t-1) + b) for every place i."""
        scores: Tensor = self.score(torch.tanh(keys + self.query(hidden).unsqueeze(1)))
        return scores.squeeze(-1)


class Pooling(Looking):
    """All places at once, each with all that is in the cube there.

    Args:
        config: shape of the model.
    """

    def __init__(self, config: ModelConfig) -> None:
        beside = config.motion and not config.motion_alone
        super().__init__(Slices(config.places, config.channels, motion=beside))

    def forward(
        self,
        cube: Float[Tensor, "B P D"],
        keys: Float[Tensor, "B Q A"] | None,
        hidden: Float[Tensor, "B H"],
        softmax: Float[Tensor, "B Q"] | None = None,
        change: Float[Tensor, "B Q"] | None = None,
    ) -> Glimpse:
        """Look at one frame; see `Looking.forward`."""
        if softmax is not None:
            raise ValueError("a model that pools has no attention")
        return Glimpse(self.pooled(cube), None)

    @abstractmethod
    def pooled(self, cube: Float[Tensor, "B P D"]) -> Float[Tensor, "B D"]:
        """One vector for the whole cube."""


class AveragePooling(Pooling):
    """The mean over places: a baseline of Table 1."""

    def pooled(self, cube: Float[Tensor, "B P D"]) -> Float[Tensor, "B D"]:
        """The mean, channel by channel."""
        return cube.mean(dim=1)


class MaxPooling(Pooling):
    """The largest value over places, channel by channel: a baseline of Table 1."""

    def pooled(self, cube: Float[Tensor, "B P D"]) -> Float[Tensor, "B D"]:
        """The largest, channel by channel."""
        return torch.amax(cube, dim=1)
