"""Dropout whose masks are drawn four at a time from each random number."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


class Dropout(nn.Dropout):
    """`nn.Dropout` with masks from `dropout_mask` on a CPU."""

    def forward(self, values: Tensor) -> Tensor:
        """Drop some of the values in training."""
        if not self.training or not self.p:
            return values
        if values.device.type != "cpu":
            return F.dropout(values, self.p)
        return values * dropout_mask(values.numel(), self.p, values).view(values.shape)


def dropout_mask(count: int, p: float, like: Tensor) -> Float[Tensor, " N"]:
    """Return 0 with probability `p` and 1 / (1 - p) otherwise, N = `count` times.

    Every mask value takes 16 bits of PyTorch's global random state, which rounds `p` to a multiple
    of 2^-16. `bernoulli_` takes four times as long on a CPU. The mask has the dtype and device of
    `like`.
    """
    bits = torch.empty(-(-count // 4), dtype=torch.int64, device=like.device)
    bits.random_(-(2**63), None)
    threshold = min(round(p * 2**16), 2**16 - 1)
    mask = (bits.view(torch.int16)[:count] >= threshold - 2**15).to(like.dtype)
    return mask.div_(1 - threshold / 2**16)


def step_masks(
    widths: Sequence[int], steps: int, p: float, like: Float[Tensor, "B ..."]
) -> list[Sequence[Float[Tensor, "B X"] | None]]:
    """Return for each step a mask for the input of each layer, all drawn at once; None if p is 0.

    Args:
        widths: width X of the input of each layer.
        steps: number of steps, T.
        p: dropout rate.
        like: tensor that has the batch size, dtype and device of the masks.
    """
    if not p:
        return [[None] * len(widths)] * steps
    batch = like.shape[0]
    sizes = [steps * width * batch for width in widths]
    layers = torch.split(dropout_mask(sum(sizes), p, like), sizes)
    views = [
        layer.view(steps, width, batch).transpose(1, 2).unbind()
        for layer, width in zip(layers, widths, strict=True)
    ]
    return list(zip(*views, strict=True))
