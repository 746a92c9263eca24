"""Standardization of feature channels."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from jaxtyping import Float
from torch import Tensor, nn


class ChannelNorm(nn.Module):
    """Standardization of every channel to mean 0 and standard deviation 1.

    It is the identity until `fit` or `set` is called, and learns nothing afterwards. The paper has
    no such layer: its features all come from one CNN. The features of different CNNs differ in
    size by an order of magnitude, and large ones saturate the gates of an LSTM.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("scale", torch.ones(channels))

    def fit(self, features: Iterable[Float[Tensor, "N D"]]) -> None:
        """Take the mean and standard deviation of every channel from some features."""
        means, squares = [], []
        for part in features:
            exact = part.double()
            means.append(exact.mean(0))
            squares.append((exact**2).mean(0))
        mean = torch.stack(means).mean(0)
        variance = torch.stack(squares).mean(0) - mean**2
        self.set(mean, variance.clamp(min=0).sqrt())

    def set(self, mean: Float[Tensor, " D"], std: Float[Tensor, " D"]) -> None:
        """Set the mean and standard deviation of every channel."""
        self.mean.copy_(mean)
        # A channel that hardly varies must not be blown up.
        self.scale.copy_(1 / std.clamp(min=1e-2 * float(std.mean()) + 1e-12))

    def forward(self, features: Float[Tensor, "*N D"]) -> Float[Tensor, "*N D"]:
        """Return the standardized features, in the dtype of the statistics."""
        # In place, because a batch of cubes takes as long to move through memory as to compute.
        return features.to(self.scale.dtype, copy=True).sub_(self.mean).mul_(self.scale)
