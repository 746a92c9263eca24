"""Loading of a backbone by its spec, and the object that computes feature cubes with it."""

from __future__ import annotations

import logging
import re
from collections.abc import Collection
from dataclasses import replace
from itertools import compress, pairwise
from typing import TYPE_CHECKING, get_args

import numpy as np
from jaxtyping import Float, Float16, UInt8

from glimpses.backbones import onnx_engine
from glimpses.backbones.flow import CHANNELS, FLOW, flow_cubes
from glimpses.backbones.onnx_engine import BackboneInfo, Engine, EngineName, OnnxEngine
from glimpses.backbones.registry import BACKBONES, get_entry
from glimpses.utils.errors import GlimpsesError, unknown_name
from glimpses.utils.progress import bar

if TYPE_CHECKING:
    # Imported only to build a network; a network that was built before does not need PyTorch.
    import torch
    from torch import Tensor

_log = logging.getLogger(__name__)

# Suffix of a spec for 8-bit integers, and the networks for which its error was measured.
_INT8 = "@int8"
_INT8_NETWORKS = ("efficientnet_lite0", "googlenet_bvlc")

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
        spec: `NAME`, `NAME:STAGE` or `NAME:STAGE:GRID`. The name is a key of `BACKBONES`, or
            `timm:` and a model name of timm. The default stage is the last one, as in the paper. A
            grid pools the stage's places to GRID x GRID and concatenates their average and
            maximum, which doubles the channels. The stage `LATE+EARLY` joins two: each place of the
            later stage is followed by the places of the earlier one that it covers
            (`stages.MultiScale`), for multi-scale models. The suffix `@int8` runs the network in
            8-bit integers on a CPU. This is faster, and the features differ, so the suffix is part
            of their name. With a grid as large as the later stage's, the earlier one is pooled to
            it, and a place holds both. The suffix `@flow`, which comes last, adds the optical flow
            to the channels of every place (`flow`).
        engine: "onnxruntime", "torch", or "auto" for the fastest on the device.
        device: a PyTorch device; cubes stay on it.
        threads: CPU cores to use; by default as many as PyTorch uses.
        weights: digest that the weights must have, if a model was trained on their features; by
            default any.

    Raises:
        GlimpsesError: there is no such backbone, stage or device; the grid does not divide the
            stage's grid; the weights cannot be downloaded or have another digest.
    """
    if engine not in get_args(EngineName):
        raise unknown_name(f"engine {engine}: no such engine", engine, get_args(EngineName))
    threads = threads or onnx_engine.default_threads()
    if spec.endswith(FLOW):
        network = load(
            spec.removesuffix(FLOW), engine=engine, device=device, threads=threads, weights=weights
        )
        return _with_flow(network)
    if spec.endswith(_INT8):
        info, runner = _load_int8(spec, engine, device, threads)
    else:
        info, runner = _load_float(spec, engine, device, threads)
    if weights not in (None, info.weights):
        raise GlimpsesError(
            f"{spec}: the installed weights are {info.weights}, but the model was trained on "
            f"features of {weights}; install those weights or train the model again"
        )
    return Backbone(info, runner)


class Backbone:
    """Frozen network that turns frames into feature cubes.

    It may be called from several threads.

    Attributes:
        name: the spec in its shortest form; equal names mean equal features.
        weights: first 12 hexadecimal digits of the weights' SHA-256.
        size: height and width of the input frames, pixels.
        grid: places along one side of the cube, K.
        channels: features of a place, D.
        engine: the engine that runs it, "onnxruntime" or "torch".
        batch: frames per call that keep the engine busy.
        threads: CPU cores in use.
        fine_channels: for two joined stages, features of a place of the earlier stage; else 0.
        fine_ratio: for two joined stages, places of the earlier stage along one side of a place of
            the later stage; else 1.
        flow_channels: channels of the optical flow, the last ones of a place; 0 without it.
    """

    def __init__(self, info: BackboneInfo, engine: Engine) -> None:
        self.info = info
        self.name = info.name
        self.weights = info.weights
        self.size = info.size
        self.grid = info.grid
        self.channels = info.channels
        self.fine_channels = info.fine_channels
        self.fine_ratio = info.fine_ratio
        self.flow_channels = info.flow_channels
        self.engine = engine.name
        self.batch = engine.batch
        self.threads = engine.threads
        self._engine = engine

    def __call__(self, frames: UInt8[np.ndarray, "N S S 3"]) -> Float[Tensor, "N P D"]:
        """Return the feature cubes of RGB frames, which are consecutive if there is flow.

        Place i of P = K*K is at row i // K, column i % K.

        Raises:
            GlimpsesError: the frames are not uint8 or have another size.
        """
        self._check(frames)
        if not len(frames):
            import torch

            return torch.empty(0, self.grid**2, self.channels)
        cubes = self._engine(np.ascontiguousarray(frames))
        if not self.flow_channels:
            return cubes
        import torch

        flow = torch.from_numpy(flow_cubes(frames, None, self.grid))
        return torch.cat((cubes, flow.to(cubes)), dim=-1)

    def half(
        self,
        frames: Collection[UInt8[np.ndarray, "S S 3"]],
        previous: UInt8[np.ndarray, "S S 3"] | None = None,
    ) -> Float16[np.ndarray, "N P D"]:
        """Return the feature cubes in half precision and in host memory, as they are stored.

        A frame that equals the one before it, as in a pause of a recording, is computed once.

        Args:
            frames: single frames; they need not be stacked first. With flow, consecutive ones.
            previous: the frame before the first one, if there is one; only the flow needs it.

        Raises:
            GlimpsesError: the frames are not uint8 or have another size.
        """
        for frame in frames:
            self._check(frame[None])
        if not len(frames):
            return np.empty((0, self.grid**2, self.channels), np.float16)
        frames = list(frames)
        new = [True] + [not np.array_equal(*pair) for pair in pairwise(frames)]
        cubes = self._engine.half(list(compress(frames, new)))
        if not all(new):
            cubes = cubes[np.cumsum(new) - 1]
        if not self.flow_channels:
            return cubes
        return np.concatenate((cubes, flow_cubes(frames, previous, self.grid)), axis=-1)

    def to_onnx(self) -> bytes:
        """Return the network as an ONNX file.

        Its input `frames` is that of `__call__`. Its outputs are `cubes` in single precision and
        `half` in half precision.

        Raises:
            GlimpsesError: the network does not run on ONNX Runtime.
        """
        if self.flow_channels:
            raise GlimpsesError(
                f"{self.name}: OpenCV computes the optical flow, which has no ONNX graph; train "
                f"with --backbone {self.name.removesuffix(FLOW)} to export a model"
            )
        if not isinstance(self._engine, OnnxEngine):
            raise GlimpsesError(f"{self.name}: runs only in PyTorch; it has no ONNX graph")
        graph = self._engine.graph
        return graph if isinstance(graph, bytes) else graph.read_bytes()

    def _check(self, frames: np.ndarray) -> None:
        expected = (self.size, self.size, 3)
        if frames.dtype != np.uint8 or frames.shape[1:] != expected:
            raise GlimpsesError(
                f"{self.name}: takes uint8 frames (N, {self.size}, {self.size}, 3), not "
                f"{frames.dtype} {frames.shape}; resize them first"
            )

    def __repr__(self) -> str:
        shape = f"{self.grid}x{self.grid}x{self.channels}"
        return f"Backbone({self.name}, {shape}, weights {self.weights}, {self.engine})"


def _with_flow(backbone: Backbone) -> Backbone:
    """Return a backbone whose cubes hold the optical flow too."""
    info = backbone.info
    if info.fine_ratio > 1:
        raise GlimpsesError(
            f"{info.name}{FLOW}: the optical flow needs one grid for both stages; write "
            f"{info.name}:{info.grid}{FLOW}"
        )
    return Backbone(
        replace(
            info, name=info.name + FLOW, channels=info.channels + CHANNELS, flow_channels=CHANNELS
        ),
        backbone._engine,
    )


def _load_float(
    spec: str, engine: EngineName, device: str | torch.device, threads: int
) -> tuple[BackboneInfo, Engine]:
    """Load a network's cached graph, or build the network."""
    name, stage, grid = _parse(spec)
    entry = get_entry(name)
    # The source of this package determines its own networks. The weights of others must be loaded
    # before their graph can be identified.
    key = onnx_engine.graph_key(spec) if entry.in_package else None
    if str(device) == "cpu" and engine != "torch" and key is not None:
        cached = onnx_engine.load_graph(key, threads)
        if cached is not None:
            return cached
    from glimpses.backbones import export

    torch_device = export.parse_device(device)
    if engine == "onnxruntime" and torch_device.type != "cpu":
        raise GlimpsesError(
            f"engine onnxruntime: runs on the CPU here, not on {torch_device}; choose engine torch"
        )
    return export.build(spec, entry.build(stage), name, grid, key, engine, torch_device, threads)


def _load_int8(
    spec: str, engine: EngineName, device: str | torch.device, threads: int
) -> tuple[BackboneInfo, Engine]:
    """Load a network in 8-bit integers, quantised from its float graph on first use."""
    float_spec = spec.removesuffix(_INT8)
    name, *_ = _parse(float_spec)
    if name not in _INT8_NETWORKS:
        raise GlimpsesError(
            f"{spec}: {_INT8} is supported for {', '.join(_INT8_NETWORKS)} only; leave it out"
        )
    if engine == "torch" or str(device) != "cpu":
        raise GlimpsesError(
            f"{spec}: runs on ONNX Runtime on a CPU, not in PyTorch or on {device}; so do models "
            "that were trained on it"
        )
    if not onnx_engine.has_vnni():
        _log.warning(
            "%s: this processor may lack VNNI, without which 8-bit integers are slower than "
            "single precision",
            spec,
        )
    key = onnx_engine.graph_key(spec)
    if cached := onnx_engine.load_graph(key, threads):
        return cached
    from glimpses.backbones.quantize import quantize

    backbone = load(float_spec, engine="onnxruntime", threads=threads)
    info = replace(backbone.info, name=backbone.name + _INT8)
    with bar(f"Preparing {info.name}, once", total=1, transient=True):
        graph = quantize(backbone.to_onnx(), info)
    onnx_engine.save_graph(key, graph)
    return info, OnnxEngine(graph, threads)


def _parse(spec: str) -> tuple[str, str | None, int | None]:
    """Split a spec into name, stage and grid."""
    match = _SPEC.fullmatch(spec)
    if match is None:
        raise GlimpsesError(
            f"{spec}: is not a backbone; write NAME, NAME:STAGE or NAME:STAGE:GRID, where NAME is "
            f"{', '.join(BACKBONES)} or timm:MODEL"
        )
    name, stage, grid = match.group("name", "stage", "grid")
    return name, stage, int(grid) if grid else None
