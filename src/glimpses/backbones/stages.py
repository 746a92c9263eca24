"""What a backbone is made of: a network cut at one or two stages, and the arithmetic around it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from glimpses.utils.errors import GlimpsesError, unknown_name


@dataclass(frozen=True)
class StageModel:
    """A pretrained network from its input to one of its stages, or to two that are joined.

    Attributes:
        module: normalised RGB `(N, 3, S, S)` -> feature map `(N, D, K, K)`; `MultiScale` for two
            stages.
        mean: what normalises red, green and blue in 0..1, with `std`.
        std: see `mean`.
        size: input pixels S.
        stage: name of the stage, `LATE+EARLY` for two.
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


class MultiScale(nn.Module):
    """Two stages of a network in one map: with each place of the later, the earlier's within it.

    The map `(N, D1 + r*r*D2, K, K)` has K x K places of the later stage with its D1 channels first.
    Then come, row by row, the r x r places of the earlier stage that lie within the place, with D2
    channels each. Nothing is pooled or lost.

    Args:
        stages: normalised RGB -> the later stage's map `(N, D1, K, K)` and the earlier one's
            `(N, D2, rK, rK)`.
        size: input pixels S.
        spec: what to call it in an error.

    Attributes:
        fine_channels: D2.
        ratio: r.

    Raises:
        GlimpsesError: the places of one do not divide into those of the other.
    """

    def __init__(self, stages: nn.Module, size: int, spec: str) -> None:
        super().__init__()
        self.stages = stages.eval()
        with torch.inference_mode():
            coarse, fine = stages(torch.zeros(1, 3, size, size))
        self.fine_channels = fine.shape[1]
        self.ratio, rest = divmod(fine.shape[2], coarse.shape[2])
        if rest:
            raise GlimpsesError(
                f"{spec}: {fine.shape[2]}x{fine.shape[2]} places do not divide evenly among "
                f"{coarse.shape[2]}x{coarse.shape[2]}; choose other stages"
            )

    def forward(self, images: Float[Tensor, "N 3 S S"]) -> Float[Tensor, "N D K K"]:
        """The joined map."""
        coarse, fine = self.stages(images)
        ratio = self.ratio
        within = fine.unflatten(3, (-1, ratio)).unflatten(2, (-1, ratio))  # N D2 K r K r
        below = within.permute(0, 3, 5, 1, 2, 4).flatten(1, 3)
        return torch.cat((coarse, below), dim=1)


class SequentialStages(nn.Module):
    """The two maps of a network that is a sequence of layers, the later one first."""

    def __init__(self, early: nn.Module, then: nn.Module) -> None:
        super().__init__()
        self.early = early
        self.then = then

    def forward(
        self, images: Float[Tensor, "N 3 S S"]
    ) -> tuple[Float[Tensor, "N D K K"], Float[Tensor, "N E L L"]]:
        """Later map, earlier map."""
        fine = self.early(images)
        return self.then(fine), fine


def truncate(network: nn.Sequential, depths: Sequence[int], size: int, spec: str) -> nn.Module:
    """A sequence of layers up to a depth, or joined at two.

    Args:
        network: the layers.
        depths: after how many of them each stage ends, the later stage first.
        size: input pixels S.
        spec: what to call it in an error.

    Raises:
        GlimpsesError: two stages cannot be joined.
    """
    late, *early = depths
    if not early:
        return network[:late]
    return MultiScale(SequentialStages(network[: early[0]], network[early[0] : late]), size, spec)


def parse_stages(
    name: str, stage: str | None, depths: Mapping[str, int], last: str
) -> tuple[str, ...]:
    """The stages that a spec names, one or two; one that has two names by the first of them.

    Args:
        name: of the network.
        stage: `STAGE`, `LATE+EARLY`, or None for the last.
        depths: how deep in the network each stage on offer lies.
        last: the last one.

    Raises:
        GlimpsesError: there is no such stage, or the second does not come before the first.
    """
    names = tuple((stage or last).split("+", maxsplit=1))
    for own in names:
        if own not in depths:
            raise unknown_name(f"{name}:{own}: no such stage", own, depths)
    if len(names) == 2 and depths[names[0]] <= depths[names[1]]:
        raise GlimpsesError(
            f"{name}:{stage}: {names[1]} is no earlier stage than {names[0]}; write LATE+EARLY"
        )
    return tuple(next(known for known in depths if depths[known] == depths[own]) for own in names)


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

    def __init__(self, trunk: StageModel, grid: int | None) -> None:
        super().__init__()
        self.trunk = trunk.module.eval()
        self.grid = grid
        if grid is not None:
            with torch.inference_mode():
                side = self.trunk(torch.zeros(1, 3, trunk.size, trunk.size)).shape[-1]
            self.together = side // grid
        # (x / 255 - mean) / std as one multiplication and one addition.
        mean, std = torch.tensor(trunk.mean), torch.tensor(trunk.std)
        self.register_buffer("scale", (1 / (255 * std)).view(1, 3, 1, 1))
        self.register_buffer("shift", (-mean / std).view(1, 3, 1, 1))

    def forward(self, frames: UInt8[Tensor, "N S S 3"]) -> Float[Tensor, "N P D"]:
        """Feature cubes; place i of P = K*K lies at row i // K, column i % K."""
        images = frames.permute(0, 3, 1, 2).float() * self.scale + self.shift
        maps: Tensor = self.trunk(images)
        if self.grid is not None:
            average = F.avg_pool2d(maps, self.together)
            maps = torch.cat((average, F.max_pool2d(maps, self.together)), dim=1)
        return maps.flatten(2).transpose(1, 2)
