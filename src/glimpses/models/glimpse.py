"""Glimpses that hold more than the attended features: their change, and the whole frame."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from glimpses.models.attention import AttentionWrapper, SpatialAggregator
from glimpses.models.config import ModelConfig
from glimpses.models.multiscale import SliceLayout


class MotionFeatures(AttentionWrapper):
    """Attention whose glimpse holds the change of the features, beside them or alone.

    It reads cubes whose places have the features and then their change, 2 D channels in all. The
    wrapped attention, whose slices are those of `layout`, scores the features.
    """

    def __init__(
        self, attention: SpatialAggregator, layout: SliceLayout, *, motion_only: bool
    ) -> None:
        super().__init__(attention)
        self.layout, self.motion_only = layout, motion_only

    def scores(
        self, cube: Float[Tensor, "B P 2*D"], hidden: Float[Tensor, "B H"]
    ) -> Float[Tensor, "B Q"]:
        """Return the scores of the features."""
        return self.attention.scores(cube.chunk(2, dim=-1)[0], hidden)

    def weighted_sum(
        self, cube: Float[Tensor, "B P 2*D"], weights: Float[Tensor, "B Q"]
    ) -> Float[Tensor, "B X"]:
        """Return the features and their change, weighted and summed (Eq. 2), stage by stage."""
        features, change = cube.chunk(2, dim=-1)
        change = self.attention.weighted_sum(change, weights)
        if self.motion_only:
            return change
        features = self.attention.weighted_sum(features, weights)
        widths = [self.layout.coarse_channels, self.layout.fine_channels]
        stages = zip(torch.split(features, widths, 1), torch.split(change, widths, 1), strict=True)
        return torch.cat([part for stage in stages for part in stage], dim=1)


class SceneFeatures(AttentionWrapper):
    """Attention whose glimpse also holds the mean over all places."""

    def weighted_sum(
        self, cube: Float[Tensor, "B P D"], weights: Float[Tensor, "B Q"]
    ) -> Float[Tensor, "B X"]:
        """Return the weighted sum (Eq. 2) beside the sum with uniform weights."""
        uniform = torch.full_like(weights, 1 / weights.shape[1])
        sums = [self.attention.weighted_sum(cube, share) for share in (weights, uniform)]
        return torch.cat(sums, dim=1)


def glimpse_width(config: ModelConfig) -> int:
    """Return the width of a glimpse, X."""
    options = config.options
    width = SliceLayout.of(config).num_channels
    width *= 2 if options.motion and not options.motion_only else 1
    return width * (2 if options.scene else 1)


def glimpse_scale(config: ModelConfig) -> Float[Tensor, " X"] | None:
    """Return the factors that give both stages and the flow the same share in a glimpse.

    A stage of 1280 channels would outweigh 24 channels of flow in whatever is linear in the
    glimpse. The factors make the total variance of every group of channels equal, as multiple
    factor analysis does (Escofier and Pages, 1994). None if there is one group, or if the slices
    of two stages compete.
    """
    cube = config.cube
    groups = [cube.coarse_channels, cube.fine_channels, cube.flow_channels]
    if not config.scores_early:
        return None
    largest = max(groups)
    factors = torch.cat([torch.full((n,), math.sqrt(largest / n)) for n in groups if n])
    return factors.repeat(glimpse_width(config) // cube.channels)
