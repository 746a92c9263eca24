"""What a backbone is made of: a network cut at a stage, and the arithmetic around it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from glimpses.errors import GlimpsesError


@dataclass(frozen=True)
class Trunk:
    """A pretrained network from its input to one of its stages.

    Attributes:
        module: normalised RGB `(N, 3, S, S)` -> feature map `(N, D, K, K)`.
        mean: what normalises red, green and blue in 0..1, with `std`.
        std: see `mean`.
        size: input pixels S.
        stage: name of the stage.
        last: name of the stage that is taken by default.
        weights: first 12 hexadecimal digits of the weights' SHA-256.
    """

    module: nn.Module
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    size: int
    stage: str
    last: str
    weights: str


class FeatureCube(nn.Module):
    """Frames to feature cubes: normalise, run the trunk, pool, lay out by place.

    Args:
        trunk: the network.
        grid: places along one side K, a divisor of the stage's own; None for the stage's own.
            Pooling keeps the average and the maximum of the places that fall together side by
            side, averages first: an average alone washes out what is small.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, trunk: Trunk, grid: int | None) -> None:
        super().__init__()
        self.trunk = trunk.module
        self.grid = grid
        # (x / 255 - mean) / std as one multiplication and one addition.
        mean, std = torch.tensor(trunk.mean), torch.tensor(trunk.std)
        self.register_buffer("scale", (1 / (255 * std)).view(1, 3, 1, 1))
        self.register_buffer("shift", (-mean / std).view(1, 3, 1, 1))

    def forward(self, frames: UInt8[Tensor, "N S S 3"]) -> Float[Tensor, "N P D"]:
        """Feature cubes; place i of P = K*K lies at row i // K, column i % K."""
        images = frames.permute(0, 3, 1, 2).float() * self.scale + self.shift
        maps: Tensor = self.trunk(images)
        if self.grid is not None:
            average = F.adaptive_avg_pool2d(maps, self.grid)
            maps = torch.cat((average, F.adaptive_max_pool2d(maps, self.grid)), dim=1)
        return maps.flatten(2).transpose(1, 2)


def not_offered(subject: str, given: str, offered: Iterable[str]) -> GlimpsesError:
    """The error for a name that is not on offer: what was probably meant, and what there is."""
    names = list(offered)
    close = difflib.get_close_matches(given, names, n=1)
    meant = f"did you mean {close[0]}? " if close else ""
    return GlimpsesError(f"{subject}; {meant}there are {', '.join(names)}")
