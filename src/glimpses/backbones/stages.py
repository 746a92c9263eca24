"""Networks cut at one or two stages, and the arithmetic from frames to feature cubes."""

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
    """Pretrained network from its input to one of its stages, or to two joined stages.

    Attributes:
        module: normalised RGB `(N, 3, S, S)` -> feature map `(N, D, K, K)`; a `MultiScale` for two
            stages.
        mean: mean of red, green and blue in 0..1, to normalise the input.
        std: standard deviation of red, green and blue in 0..1.
        size: height and width of the input, pixels, S.
        stage: name of the stage; `LATE+EARLY` for two.
        last: name of the last stage, the default.
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
    """Two stages of a network in one map.

    The map `(N, D1 + r*r*D2, K, K)` has the K x K places of the later stage. The channels of a
    place are its D1 channels, followed, row by row, by the D2 channels of each of the r x r places
    of the earlier stage that it covers. Nothing is pooled.

    Args:
        stages: normalised RGB -> the later stage's map `(N, D1, K, K)` and the earlier stage's map
            `(N, D2, rK, rK)`.
        size: height and width of the input, pixels, S.
        spec: the spec, for error messages.

    Attributes:
        fine_channels: D2.
        ratio: r.

    Raises:
        GlimpsesError: the grid of the earlier stage is not a multiple of the later one's.
    """

    def __init__(self, stages: nn.Module, size: int, spec: str) -> None:
        super().__init__()
        self.stages = stages.eval()
        with torch.inference_mode():
            coarse, fine = stages(torch.zeros(1, 3, size, size))
        self.fine_channels = fine.shape[1]
        self.ratio, remainder = divmod(fine.shape[2], coarse.shape[2])
        if remainder:
            raise GlimpsesError(
                f"{spec}: a grid of {fine.shape[2]}x{fine.shape[2]} places is not a multiple of "
                f"{coarse.shape[2]}x{coarse.shape[2]}; choose other stages"
            )

    def forward(self, images: Float[Tensor, "N 3 S S"]) -> Float[Tensor, "N D K K"]:
        """Return the joined map."""
        coarse, fine = self.stages(images)
        ratio = self.ratio
        cells = fine.unflatten(3, (-1, ratio)).unflatten(2, (-1, ratio))  # N D2 K r K r
        covered = cells.permute(0, 3, 5, 1, 2, 4).flatten(1, 3)
        return torch.cat((coarse, covered), dim=1)

    def pool(self, joined: Float[Tensor, "N D K K"]) -> Float[Tensor, "N E K K"]:
        """Return the joined map with the average and the maximum of the covered places."""
        places, channels = self.ratio**2, self.fine_channels
        coarse = joined.shape[1] - places * channels
        fine = torch.unflatten(joined[:, coarse:], 1, (places, channels))
        return torch.cat((joined[:, :coarse], fine.mean(1), fine.amax(1)), dim=1)


class SequentialStages(nn.Module):
    """Maps of two stages of a sequential network, the later stage first."""

    def __init__(self, early: nn.Module, late: nn.Module) -> None:
        super().__init__()
        self.early = early
        self.late = late

    def forward(
        self, images: Float[Tensor, "N 3 S S"]
    ) -> tuple[Float[Tensor, "N D K K"], Float[Tensor, "N E L L"]]:
        """Return the later and the earlier map."""
        fine = self.early(images)
        return self.late(fine), fine


def truncate(network: nn.Sequential, depths: Sequence[int], size: int, spec: str) -> nn.Module:
    """Return a sequential network up to one stage, or two of its stages joined.

    Args:
        network: the layers.
        depths: number of layers up to the end of each stage, the later stage first.
        size: height and width of the input, pixels, S.
        spec: the spec, for error messages.

    Raises:
        GlimpsesError: the two stages cannot be joined.
    """
    late, *early = depths
    if not early:
        return network[:late]
    return MultiScale(SequentialStages(network[: early[0]], network[early[0] : late]), size, spec)


def parse_stages(
    name: str, stage: str | None, depths: Mapping[str, int], last: str
) -> tuple[str, ...]:
    """Return the one or two stages of a spec; of several names of a stage, the first.

    Args:
        name: name of the network, for error messages.
        stage: `STAGE`, `LATE+EARLY`, or None for the last stage.
        depths: depth of each stage in the network.
        last: name of the last stage.

    Raises:
        GlimpsesError: there is no such stage, or the second stage is not earlier than the first.
    """
    names = tuple((stage or last).split("+", maxsplit=1))
    for stage_name in names:
        if stage_name not in depths:
            raise unknown_name(f"{name}:{stage_name}: no such stage", stage_name, depths)
    if len(names) == 2 and depths[names[0]] <= depths[names[1]]:
        raise GlimpsesError(
            f"{name}:{stage}: {names[1]} is not an earlier stage than {names[0]}; write LATE+EARLY"
        )
    first_names = {depth: alias for alias, depth in reversed(list(depths.items()))}
    return tuple(first_names[depths[stage_name]] for stage_name in names)


class CubeNetwork(nn.Module):
    """Network from frames to feature cubes: normalise, compute the stage, pool, flatten places.

    Args:
        model: the network up to a stage.
        grid: places along one side after pooling, K, a divisor of the stage's grid; None for the
            stage's own grid. Pooling concatenates the average and the maximum of the pooled places,
            averages first, because an average alone weakens small details. Of two joined stages,
            the earlier one is pooled to the grid of the later one.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, model: StageModel, grid: int | None) -> None:
        super().__init__()
        self.network = model.module.eval()
        self.grid = grid
        if grid is not None:
            with torch.inference_mode():
                stage_grid = self.network(torch.zeros(1, 3, model.size, model.size)).shape[-1]
            self.pool_size = stage_grid // grid
        # (x / 255 - mean) / std as one multiplication and one addition.
        mean, std = torch.tensor(model.mean), torch.tensor(model.std)
        self.register_buffer("scale", (1 / (255 * std)).view(1, 3, 1, 1))
        self.register_buffer("shift", (-mean / std).view(1, 3, 1, 1))

    def forward(self, frames: UInt8[Tensor, "N S S 3"]) -> Float[Tensor, "N P D"]:
        """Return feature cubes; place i of P = K*K is at row i // K, column i % K."""
        images = frames.permute(0, 3, 1, 2).float() * self.scale + self.shift
        maps: Tensor = self.network(images)
        if self.grid is not None and isinstance(self.network, MultiScale):
            maps = self.network.pool(maps)
        elif self.grid is not None:
            average = F.avg_pool2d(maps, self.pool_size)
            maps = torch.cat((average, F.max_pool2d(maps, self.pool_size)), dim=1)
        return maps.flatten(2).transpose(1, 2)
