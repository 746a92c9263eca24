"""Attention to two stages of a CNN at once: the multi-resolution setting of the conclusion.

A multi-scale cube has P places of a coarse stage; each holds its D1 features, and below them the
D2 features of each of the r*r places of a fine stage that it covers. Attention chooses among all
P + r*r*P slices. Slices of different stages are added in the direct sum of their spaces,
R^D1 + R^D2: each has zeros in the channels of the other stage.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from glimpses.models.attention import AttentionWrapper, SpatialAggregator
from glimpses.models.config import ModelConfig


@dataclass(frozen=True)
class SliceLayout:
    """Feature slices of a cube, of one stage or of two.

    Attributes:
        places: places of the coarse stage, P.
        coarse_channels: channels of a coarse slice, D1; of a single stage, D.
        fine_channels: channels of a fine slice, D2; 0 for a single stage.
        ratio: fine places along a side of one coarse place, r.
        score_channels: number of channels, the last ones, by which attention scores the places of
            a single stage; 0 for all.
        flow_channels: number of channels of the optical flow, the last ones.
    """

    places: int
    coarse_channels: int
    fine_channels: int = 0
    ratio: int = 1
    score_channels: int = 0
    flow_channels: int = 0

    @classmethod
    def of(cls, config: ModelConfig) -> SliceLayout:
        """Return the layout of the cubes that a model reads."""
        cube = config.cube
        if config.scores_early or not cube.fine_channels:
            scored = config.score_channels if config.scores_early else 0
            return cls(
                cube.places, cube.channels, score_channels=scored, flow_channels=cube.flow_channels
            )
        coarse_channels = cube.channels - cube.fine_ratio**2 * cube.fine_channels
        return cls(cube.places, coarse_channels, cube.fine_channels, cube.fine_ratio)

    @property
    def num_slices(self) -> int:
        """Number of slices, Q: P, or P + r*r*P for two stages."""
        return self.places * (1 + self.ratio**2 if self.fine_channels else 1)

    @property
    def num_channels(self) -> int:
        """Channels of a sum of slices, X: D, or D1 + D2 for two stages."""
        return self.coarse_channels + self.fine_channels

    def split(self, cubes: Float[Tensor, "*B P D"]) -> list[Float[Tensor, "*B Q X"]]:
        """Return the slices of each stage, coarse ones first.

        Fine slices are in the order of the coarse places that cover them, row by row within each.
        """
        if not self.fine_channels:
            return [cubes]
        coarse, below = cubes.tensor_split([self.coarse_channels], dim=-1)
        return [coarse, below.reshape(*cubes.shape[:-2], -1, self.fine_channels)]

    def scored(self, cubes: Float[Tensor, "*B P D"]) -> list[Float[Tensor, "*B Q X"]]:
        """Return the slices of each stage that attention scores, with the channels it reads."""
        if self.score_channels:
            return [cubes[..., -self.score_channels :]]
        return self.split(cubes)

    def moving(self, cubes: Float[Tensor, "*B P D"]) -> list[Float[Tensor, "*B Q X"]]:
        """Return the slices of each stage with the channels whose change is motion."""
        end = cubes.shape[-1] - self.flow_channels
        if self.score_channels > self.flow_channels:
            return [cubes[..., -self.score_channels : end]]
        return self.split(cubes[..., :end])


class EarlyStageKey(nn.Module):
    """Layer from the last channels of every place to its key, A wide."""

    def __init__(self, layout: SliceLayout, attention_size: int) -> None:
        super().__init__()
        self.layout = layout
        self.linear = nn.Linear(layout.score_channels, attention_size)

    def forward(self, cube: Float[Tensor, "B P D"]) -> Float[Tensor, "B P A"]:
        """Return the keys of all places."""
        (scored,) = self.layout.scored(cube)
        keys: Tensor = self.linear(scored)
        return keys


class MultiScaleKey(nn.Module):
    """Layers from the features of every slice to its key, A wide, one for each stage."""

    def __init__(self, layout: SliceLayout, attention_size: int) -> None:
        super().__init__()
        self.layout = layout
        self.coarse = nn.Linear(layout.coarse_channels, attention_size)
        self.fine = nn.Linear(layout.fine_channels, attention_size)

    def forward(self, cube: Float[Tensor, "B P D"]) -> Float[Tensor, "B Q A"]:
        """Return the keys of all slices."""
        coarse, fine = self.layout.split(cube)
        return torch.cat((self.coarse(coarse), self.fine(fine)), dim=-2)


class MultiScaleAttention(AttentionWrapper):
    """Attention whose glimpse is a sum of slices of two stages.

    The wrapped attention scores all slices of the layout.
    """

    def __init__(self, attention: SpatialAggregator, layout: SliceLayout) -> None:
        super().__init__(attention)
        self.layout = layout

    def weighted_sum(
        self, cube: Float[Tensor, "B P D"], weights: Float[Tensor, "B Q"]
    ) -> Float[Tensor, "B X"]:
        """Return the weighted sum of all slices (Eq. 2), in the direct sum."""
        stages = self.layout.split(cube)
        shares = torch.split(weights, [stage.shape[1] for stage in stages], dim=1)
        sums = [share.unsqueeze(1) @ stage for share, stage in zip(shares, stages, strict=True)]
        return torch.cat(sums, dim=2).squeeze(1)

    def mean_slice(self, mean: Float[Tensor, "B D"]) -> Float[Tensor, "B X"]:
        """Return the mean slice of each stage in the direct sum, from the mean over places."""
        return torch.cat([stage.mean(1) for stage in self.layout.split(mean.unsqueeze(1))], dim=1)

    def on_grid(self, weights: Float[Tensor, "*B Q"]) -> Float[Tensor, "*B L"]:
        """Return the weights of the places of the finer grid, row by row.

        The weight of a coarse place is spread evenly over the fine places that it covers.
        """
        places, ratio = self.layout.places, self.layout.ratio
        side = math.isqrt(places)
        coarse, fine = weights[..., :places], weights[..., places:]
        grid = fine.reshape(*weights.shape[:-1], side, side, ratio, ratio)
        grid = grid + coarse.reshape(*weights.shape[:-1], side, side, 1, 1) / ratio**2
        return grid.transpose(-3, -2).flatten(-4)
