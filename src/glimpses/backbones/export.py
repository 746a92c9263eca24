"""Building of engines from PyTorch networks, and the export to ONNX."""

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

from glimpses.backbones import onnx_engine
from glimpses.backbones.cuda_engine import CudaEngine
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
from glimpses.backbones.stages import CubeNetwork, MultiScale, StageModel
from glimpses.utils.errors import GlimpsesError, describe_error
from glimpses.utils.progress import bar

_log = logging.getLogger(__name__)

# Frames in one call, enough to fill a GPU.
_GPU_BATCH = 64


def build(
    spec: str, model: StageModel, name: str, grid: int | None,
    key: str | None, engine: EngineName, device: torch.device, threads: int,
) -> tuple[BackboneInfo, Engine]:  # fmt: skip
    """Build the engine of a network.

    Args:
        spec: the spec as the user wrote it, for error messages.
        model: the network up to a stage.
        name: name of the network.
        grid: places along one side after pooling; None for the stage's own grid.
        key: cache key of the graph; None for a key from the weights.
        engine: "auto" is ONNX Runtime on a CPU if it can run the network, else PyTorch, and PyTorch
            in half precision on a GPU; "torch" is PyTorch in single precision on any device.
        device: the device; only PyTorch runs on a GPU.
        threads: cores to use.

    Raises:
        GlimpsesError: the grid does not divide the stage's, or ONNX Runtime is requested and cannot
            run this network.
    """
    network, expected = _cube_network(spec, model, grid)
    if network.grid is not None:
        name = f"{name}:{model.stage}:{network.grid}"
    elif model.stage != model.last:
        name = f"{name}:{model.stage}"
    _, places, channels = expected.shape
    joined = model.module if isinstance(model.module, MultiScale) else None
    fine = (joined.fine_channels, joined.ratio) if joined else (0, 1)
    if network.grid is not None and joined:
        fine = (2 * joined.fine_channels, 1)
    info = BackboneInfo(name, model.weights, model.size, math.isqrt(places), channels, *fine)
    if engine == "torch":
        return info, TorchEngine(_fold_batch_norm(network), device, threads)
    if device.type != "cpu":
        sample = onnx_engine.probe_frames(model.size)
        return info, CudaEngine(_fold_batch_norm(network), device, sample, expected, threads)
    try:
        return info, _build_onnx_engine(network, info, expected, key, threads)
    # The exporter and the runtime may fail with any exception.
    except Exception as error:
        subject = f"{info.name} {model.weights}"
        reason = describe_error(error)
        if engine == "onnxruntime":
            raise GlimpsesError(
                f"{subject}: ONNX Runtime cannot run it ({reason}); choose engine torch"
            ) from error
        _log.warning("%s: ONNX Runtime cannot run it (%s); using PyTorch instead", subject, reason)
        return info, TorchEngine(_fold_batch_norm(network), device, threads)


def parse_device(name: str | torch.device) -> torch.device:
    """Return a device by its name.

    Raises:
        GlimpsesError: the name is not a device, or the device is not supported or not available.
    """
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise GlimpsesError(f"device {name}: is not a device; choose cpu or cuda") from error
    if device.type not in ("cpu", "cuda"):
        raise GlimpsesError(f"device {name}: is not supported; choose cpu or cuda")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise GlimpsesError(f"device {name}: PyTorch cannot use such a device here; choose cpu")
    return device


class TorchEngine:
    """PyTorch in single precision, channels last: the reference for all other engines."""

    name = "torch"

    def __init__(self, network: nn.Module, device: torch.device, threads: int) -> None:
        self.batch = CPU_BATCH if device.type == "cpu" else _GPU_BATCH
        self.threads = threads
        self._module = convert_conv2d_weight_memory_format(network, torch.channels_last).to(device)
        self._device = device
        # One forward pass uses all cores.
        self._lock = threading.Lock()

    @torch.inference_mode()
    def __call__(self, frames: UInt8[np.ndarray, "N S S 3"]) -> Float[Tensor, "N P D"]:
        """Return the feature cubes of one or more frames, float32, on the engine's device."""
        with self._lock, _torch_threads(self.threads):
            batches = torch.split(torch.tensor(frames, device=self._device), self.batch)
            return torch.cat([self._module(batch) for batch in batches])

    def half(self, frames: Collection[UInt8[np.ndarray, "S S 3"]]) -> Float16[np.ndarray, "N P D"]:
        """Return the feature cubes in half precision, in host memory."""
        return np.asarray(self(np.stack(list(frames))).to("cpu", torch.float16))


def to_onnx(
    module: nn.Module,
    sample: Sequence[Tensor | tuple[Tensor, ...]],
    inputs: Sequence[str],
    outputs: Sequence[str],
    metadata: Mapping[str, str] | None = None,
) -> bytes:
    """Export a network to the bytes of an ONNX file, for any batch size.

    Args:
        module: the network, in evaluation mode.
        sample: example inputs with a batch of two or more on the first axis.
        inputs: names of the inputs.
        outputs: names of the outputs; their first axis is the batch.
        metadata: metadata of the file.

    Raises:
        Exception: PyTorch's exporter cannot trace the network.
    """
    batch = {0: torch.export.Dim("batch", min=1)}
    with _silence_exporter():
        program = torch.onnx.export(
            module, tuple(sample), input_names=list(inputs), output_names=list(outputs),
            dynamic_shapes=pytree.tree_map(lambda _: batch, tuple(sample)),
            dynamo=True, verbose=False,
        )  # fmt: skip
    assert program is not None
    graph = program.model_proto
    for key, value in (metadata or {}).items():
        graph.metadata_props.add(key=key, value=value)
    return bytes(graph.SerializeToString())


@torch.inference_mode()
def _cube_network(
    spec: str, model: StageModel, grid: int | None
) -> tuple[CubeNetwork, Float[Tensor, "2 P D"]]:
    """Return the network with its pooling, and its cubes of `probe_frames`."""
    frames = torch.tensor(onnx_engine.probe_frames(model.size))
    unpooled = CubeNetwork(model, None).eval().requires_grad_(False)
    cubes = unpooled(frames)
    stage_grid = math.isqrt(cubes.shape[1])
    if isinstance(model.module, MultiScale) and grid is not None:
        if grid != stage_grid:
            raise GlimpsesError(f"{spec}: joined stages can be pooled to :{stage_grid} only")
        if model.module.ratio == 1:
            return unpooled, cubes
        pooled = CubeNetwork(model, grid).eval().requires_grad_(False)
        return pooled, pooled(frames)
    if grid is None or grid == stage_grid:
        return unpooled, cubes
    if stage_grid % grid:
        divisors = [str(k) for k in range(1, stage_grid + 1) if stage_grid % k == 0]
        raise GlimpsesError(
            f"{spec}: the stage has {stage_grid}x{stage_grid} places, which {grid}x{grid} does not "
            f"divide; choose one of {', '.join(divisors)}"
        )
    pooled = CubeNetwork(model, grid).eval().requires_grad_(False)
    return pooled, pooled(frames)


def _build_onnx_engine(
    network: CubeNetwork, info: BackboneInfo, expected: Float[Tensor, "2 P D"],
    key: str | None, threads: int,
) -> OnnxEngine:  # fmt: skip
    """Load the cached graph of the same weights, or export, verify and save one."""
    subject = f"{info.name} {info.weights}"
    if key is None and (cached := onnx_engine.load_graph(subject, threads)) is not None:
        return cached[1]
    with bar(f"Preparing {subject}, once", total=1, transient=True):
        sample = torch.tensor(onnx_engine.probe_frames(info.size))
        metadata = onnx_engine.graph_metadata(info, expected.numpy())
        # The older exporter supports fewer of the networks outside this package.
        export = to_onnx if key is None else _to_onnx_by_tracing
        module = _WithHalf(_fold_batch_norm(network))
        graph = export(module, (sample,), [FRAMES], [CUBES, HALF], metadata)
    engine = OnnxEngine(graph, threads)
    onnx_engine.verify(engine)
    onnx_engine.save_graph(key or subject, graph)
    return engine


def _to_onnx_by_tracing(
    module: nn.Module, sample: tuple[Tensor, ...], inputs: list[str], outputs: list[str],
    metadata: Mapping[str, str],
) -> bytes:  # fmt: skip
    """Export like `to_onnx`, with PyTorch's older exporter, which takes a tenth of the time."""
    file: Any = io.BytesIO()
    with _silence_exporter():
        torch.onnx.export(
            module, sample, file, input_names=inputs, output_names=outputs,
            dynamic_axes={name: {0: "batch"} for name in (*inputs, *outputs)}, dynamo=False,
        )  # fmt: skip
    graph = onnx.load_from_string(file.getvalue())
    # This exporter leaves some sizes out of the graph, but only the batch is dynamic.
    with torch.inference_mode():
        results: Sequence[Tensor] = module(*sample)
    for output, tensor in zip(graph.graph.output, results, strict=True):
        dims = output.type.tensor_type.shape.dim
        for dim, size in zip(dims[1:], tensor.shape[1:], strict=True):
            dim.dim_value = size
    onnx.helper.set_model_props(graph, dict(metadata))
    return bytes(graph.SerializeToString())


class _WithHalf(nn.Module):
    """Network that returns its cubes in single and in half precision."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, frames: UInt8[Tensor, "N S S 3"]) -> tuple[Tensor, Tensor]:
        cubes: Tensor = self.network(frames)
        return cubes, cubes.half()


def _fold_batch_norm(network: CubeNetwork) -> nn.Module:
    """Fold batch normalisation into the convolutions, if the network can be traced."""
    try:
        return fuse(network)
    # Some timm networks branch on the shape of their input, which torch.fx cannot trace.
    except Exception as error:
        _log.info("batch normalisation is not folded: %s", error)
        return network


@contextmanager
def _silence_exporter() -> Iterator[None]:
    """Suppress the exporter's log messages and warnings, which are meant for its developers."""
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
