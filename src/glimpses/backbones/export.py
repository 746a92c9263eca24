"""From a network's layers to something that runs: PyTorch, the reference, and what it exports."""

from __future__ import annotations

import io
import logging
import math
import threading
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import onnx
import torch
from jaxtyping import Float, Float16, UInt8
from torch import Tensor, nn
from torch.fx.experimental.optimization import fuse
from torch.nn.utils import convert_conv2d_weight_memory_format
from torch.utils import _pytree as pytree

from glimpses.backbones import onnx_engine as engines
from glimpses.backbones.cuda_engine import GpuEngine
from glimpses.backbones.onnx_engine import (
    CPU_BATCH,
    CUBES,
    FRAMES,
    HALF,
    BackboneInfo,
    Engine,
    EngineName,
    OnnxEngine,
)
from glimpses.backbones.stages import FeatureCube, MultiScale, StageModel
from glimpses.utils.errors import GlimpsesError, describe_error
from glimpses.utils.progress import bar

_log = logging.getLogger(__name__)

# A GPU wants to be filled.
_GPU_BATCH = 64


def build(
    spec: str,
    trunk: StageModel,
    name: str,
    grid: int | None,
    *,
    key: str | None,
    engine: EngineName,
    device: torch.device,
    threads: int,
) -> tuple[BackboneInfo, Engine]:
    """Make a network ready to run.

    Args:
        spec: as it was asked for, for errors.
        trunk: its layers.
        name: of the network.
        grid: places along a side to pool to; None for the trunk's own.
        key: under which to keep its graph; None for one by its weights.
        engine: "auto" takes ONNX Runtime on a CPU if it can run the network, else PyTorch; on a GPU
            PyTorch in half precision, where "torch" is in single precision everywhere.
        device: where to run; anything but a CPU needs PyTorch.
        threads: cores to use.

    Raises:
        GlimpsesError: the grid does not divide the trunk's, or ONNX Runtime is asked for and cannot
            run this network.
    """
    cube, expected = _feature_cube(spec, trunk, grid)
    _, places, channels = expected.shape
    joined = trunk.module if isinstance(trunk.module, MultiScale) else None
    description = BackboneInfo(
        _canonical(name, trunk, cube.grid),
        trunk.weights,
        trunk.size,
        math.isqrt(places),
        channels,
        fine_channels=joined.fine_channels if joined else 0,
        fine_ratio=joined.ratio if joined else 1,
    )
    if engine == "torch":
        return description, TorchEngine(_folded(cube), device, threads)
    if device.type != "cpu":
        sample = engines.probe_frames(trunk.size)
        return description, GpuEngine(_folded(cube), device, sample, expected, threads)
    try:
        return description, _onnx_engine(cube, description, expected, key, threads)
    # An exporter and a run time of other people's making may fail in any way they like.
    except Exception as error:
        subject = f"{description.name} {trunk.weights}"
        reason = describe_error(error)
        if engine == "onnxruntime":
            raise GlimpsesError(
                f"{subject}: ONNX Runtime cannot run it ({reason}); choose engine torch"
            ) from error
        _log.warning("%s: ONNX Runtime cannot run it (%s); PyTorch is slower", subject, reason)
        return description, TorchEngine(_folded(cube), device, threads)


def parse_device(name: str | torch.device) -> torch.device:
    """A device by its name.

    Raises:
        GlimpsesError: it is none, or none that is supported or here.
    """
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise GlimpsesError(f"device {name}: is none; choose cpu or cuda") from error
    if device.type not in ("cpu", "cuda"):
        raise GlimpsesError(f"device {name}: is not supported; choose cpu or cuda")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise GlimpsesError(f"device {name}: there is none here that PyTorch can use; choose cpu")
    return device


class TorchEngine:
    """PyTorch, channels last.

    In float32 on every device: what other engines are held to (`engine`, `gpu`).

    Args:
        network: what to run, a `FeatureCube` or what computes the same.
        device: where to run it.
        threads: cores to use on a CPU.
    """

    name = "torch"

    def __init__(self, network: nn.Module, device: torch.device, threads: int) -> None:
        module = convert_conv2d_weight_memory_format(network, torch.channels_last)
        self.batch = CPU_BATCH if device.type == "cpu" else _GPU_BATCH
        self.threads = threads
        self._module = module.to(device)
        self._device = device
        # One pass takes all cores.
        self._turn = threading.Lock()

    @torch.inference_mode()
    def __call__(self, frames: UInt8[np.ndarray, "N S S 3"]) -> Float[Tensor, "N P D"]:
        """Feature cubes of one or more frames, float32, on the engine's device."""
        with self._turn, _torch_threads(self.threads):
            parts = torch.split(torch.tensor(frames, device=self._device), self.batch)
            return torch.cat([self._module(part) for part in parts])

    def half(self, frames: Collection[UInt8[np.ndarray, "S S 3"]]) -> Float16[np.ndarray, "N P D"]:
        """The same in half precision, in the computer's memory."""
        cubes: np.ndarray = self(np.stack(list(frames))).to("cpu", torch.float16).numpy()
        return cubes


def to_onnx(
    module: nn.Module,
    sample: Sequence[Tensor | tuple[Tensor, ...]],
    inputs: Sequence[str],
    outputs: Sequence[str],
    metadata: Mapping[str, str] | None = None,
) -> bytes:
    """A network as an ONNX file's bytes, for a batch of any size.

    Args:
        module: what is to be run, in evaluation mode.
        sample: input to trace it with, two or more of a batch; the batch is the first axis of each.
        inputs: names of the inputs.
        outputs: names of the outputs; their first axis is the batch, too.
        metadata: what the file is to say of itself.

    Raises:
        Exception: whatever PyTorch's exporter says of a network that it cannot trace.
    """
    batch = {0: torch.export.Dim("batch", min=1)}
    with _silence():
        program = torch.onnx.export(
            module,
            tuple(sample),
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_shapes=pytree.tree_map(lambda _: batch, tuple(sample)),
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    graph = program.model_proto
    for key, value in (metadata or {}).items():
        graph.metadata_props.add(key=key, value=value)
    exported: bytes = graph.SerializeToString()
    return exported


@torch.inference_mode()
def _feature_cube(
    spec: str, trunk: StageModel, grid: int | None
) -> tuple[FeatureCube, Float[Tensor, "2 P D"]]:
    """The network with its pooling, and what it makes of `noise`."""
    frames = torch.tensor(engines.probe_frames(trunk.size))
    whole = FeatureCube(trunk, None).eval().requires_grad_(False)
    cubes = whole(frames)
    own = math.isqrt(cubes.shape[1])
    if grid is None or grid == own:
        return whole, cubes
    if isinstance(trunk.module, MultiScale):
        raise GlimpsesError(f"{spec}: joined stages keep their own places; leave out :{grid}")
    if own % grid:
        raise GlimpsesError(
            f"{spec}: the stage has {own}x{own} places, which {grid}x{grid} does not divide; "
            f"choose one of {', '.join(str(k) for k in range(1, own + 1) if own % k == 0)}"
        )
    pooled = FeatureCube(trunk, grid).eval().requires_grad_(False)
    return pooled, pooled(frames)


def _canonical(name: str, trunk: StageModel, grid: int | None) -> str:
    if grid is not None:
        return f"{name}:{trunk.stage}:{grid}"
    return name if trunk.stage == trunk.last else f"{name}:{trunk.stage}"


def _onnx_engine(
    cube: FeatureCube,
    description: BackboneInfo,
    expected: Float[Tensor, "2 P D"],
    key: str | None,
    threads: int,
) -> OnnxEngine:
    """Export a graph, try it and keep it, unless one of the same weights lies there."""
    subject = f"{description.name} {description.weights}"
    if key is None and (found := engines.load_graph(subject, threads)) is not None:
        return found[1]
    with bar(f"Preparing {subject}, once", total=1, transient=True):
        sample = torch.tensor(engines.probe_frames(description.size))
        metadata = engines.graph_metadata(description, expected.numpy())
        # Of other people's networks the older exporter understands less, and says so at length.
        export = to_onnx if key is None else _traced
        exported = export(_Both(_folded(cube)), (sample,), [FRAMES], [CUBES, HALF], metadata)
    engine = OnnxEngine(exported, threads)
    engines.verify(engine)
    engines.save_graph(key or subject, exported)
    return engine


def _traced(
    module: nn.Module,
    sample: tuple[Tensor, ...],
    inputs: list[str],
    outputs: list[str],
    metadata: Mapping[str, str],
) -> bytes:
    """Like `to_onnx`, by PyTorch's older exporter, which takes a tenth of the time."""
    file: Any = io.BytesIO()
    with _silence():
        torch.onnx.export(
            module,
            sample,
            file,
            input_names=inputs,
            output_names=outputs,
            dynamic_axes={name: {0: "batch"} for name in (*inputs, *outputs)},
            dynamo=False,
        )
    graph = onnx.load_from_string(file.getvalue())
    # All sizes but the batch's are known, and it does not always say them.
    with torch.inference_mode():
        made: Sequence[Tensor] = module(*sample)
    for output, tensor in zip(graph.graph.output, made, strict=True):
        dims = output.type.tensor_type.shape.dim
        for dim, size in zip(dims[1:], tensor.shape[1:], strict=True):
            dim.dim_value = size
    onnx.helper.set_model_props(graph, dict(metadata))
    exported: bytes = graph.SerializeToString()
    return exported


class _Both(nn.Module):
    """The same cubes in single and in half precision."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, frames: UInt8[Tensor, "N S S 3"]) -> tuple[Tensor, Tensor]:
        cubes: Tensor = self.network(frames)
        return cubes, cubes.half()


def _folded(cube: FeatureCube) -> nn.Module:
    """The network with batch normalisation folded into its convolutions, where that can be."""
    try:
        return fuse(cube)
    # Some of timm's networks decide by their input's shape, which torch.fx cannot trace.
    except Exception as error:
        _log.info("batch normalisation is not folded: %s", error)
        return cube


@contextmanager
def _silence() -> Iterator[None]:
    """Keep the exporter's remarks, all meant for its developers, from the user's screen."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


@contextmanager
def _torch_threads(threads: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
