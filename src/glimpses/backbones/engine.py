"""How a network is run: ONNX Runtime where it can, PyTorch as the reference and on a GPU.

On a CPU ONNX Runtime needs a quarter of the time of eager PyTorch: it fuses batch normalisation
and activations into the convolutions, and keeps its memory where PyTorch maps and unmaps it at
every layer. The results agree to rounding.

Cores share frames, not layers: each runs the whole network on one frame at a time. So none waits
for another at the end of a layer, and what passes between layers stays in its cache
(docs/benchmarks.md has the figures).
"""

from __future__ import annotations

import hashlib
import logging
import re
import threading
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, Protocol, get_args

import numpy as np
import onnxruntime
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.fx.experimental.optimization import fuse
from torch.nn.utils import convert_conv2d_weight_memory_format

from glimpses.backbones.trunk import FeatureCube, not_offered
from glimpses.errors import GlimpsesError
from glimpses.files import cache_dir, replacing
from glimpses.progress import bar

EngineName = Literal["auto", "onnxruntime", "torch"]

_log = logging.getLogger(__name__)

# Largest difference between the engines, as a part of the largest value, that is still rounding.
_TOLERANCE = 1e-3

# Frames in one call: on a CPU more take only memory, a GPU wants to be filled.
_CPU_BATCH, _GPU_BATCH = 16, 64


class Engine(Protocol):
    """Something that runs a `FeatureCube`; several threads may call it.

    Attributes:
        name: which it is.
        batch: how many frames a call should have, to keep it busy.
        threads: CPU cores that it uses.
    """

    name: str
    batch: int
    threads: int

    def __call__(self, frames: UInt8[np.ndarray, "N S S 3"]) -> Float[Tensor, "N P D"]:
        """Feature cubes of one or more frames, float32."""


def start(
    cube: FeatureCube,
    sample: UInt8[np.ndarray, "N S S 3"],
    expected: Float[Tensor, "N P D"],
    *,
    key: str,
    engine: EngineName,
    device: torch.device,
    threads: int,
) -> Engine:
    """Choose an engine and get it ready.

    Args:
        cube: the network.
        sample: two or more frames to trace it with.
        expected: their feature cubes by plain PyTorch, which ONNX Runtime must reproduce.
        key: what tells this network and its weights from all others; names the cached graph.
        engine: "auto" takes ONNX Runtime on a CPU if it can run the network, else PyTorch.
        device: where to run; anything but a CPU needs PyTorch.
        threads: cores to use.

    Raises:
        GlimpsesError: there is no such engine, or ONNX Runtime is asked for and cannot run this
            network there.
    """
    engines = get_args(EngineName)
    if engine not in engines:
        raise not_offered(f"engine {engine}: no such engine", engine, engines)
    if engine == "onnxruntime" and device.type != "cpu":
        raise GlimpsesError(
            f"engine onnxruntime: runs on the CPU here, not on {device}; choose engine torch"
        )
    if engine == "torch" or device.type != "cpu":
        return TorchEngine(_folded(cube), device, threads)
    try:
        return _onnx_engine(cube, sample, expected, key, threads)
    # An exporter and a run time of other people's making may fail in any way they like.
    except Exception as error:
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        if engine == "onnxruntime":
            raise GlimpsesError(
                f"{key}: ONNX Runtime cannot run it ({reason}); choose engine torch"
            ) from error
        _log.warning("%s: ONNX Runtime cannot run it (%s); PyTorch is slower", key, reason)
        return TorchEngine(_folded(cube), device, threads)


class TorchEngine:
    """PyTorch, channels last.

    In float32 on every device: features of one name must be the same wherever they come from.

    Args:
        network: what to run, a `FeatureCube` or what computes the same.
        device: where to run it.
        threads: cores to use on a CPU.
    """

    name = "torch"

    def __init__(self, network: nn.Module, device: torch.device, threads: int) -> None:
        module = convert_conv2d_weight_memory_format(network, torch.channels_last)
        self.batch = _CPU_BATCH if device.type == "cpu" else _GPU_BATCH
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


class OnnxEngine:
    """ONNX Runtime on the CPU.

    Args:
        graph: an ONNX file, or its bytes; kept as the attribute `graph`.
        threads: cores to use.
    """

    name = "onnxruntime"

    def __init__(self, graph: Path | bytes, threads: int) -> None:
        self.graph = graph
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        self.threads = threads
        self.batch = _CPU_BATCH
        self._session = onnxruntime.InferenceSession(
            graph, options, providers=["CPUExecutionProvider"]
        )
        self._cores = ThreadPoolExecutor(threads, thread_name_prefix="core")

    def __call__(self, frames: UInt8[np.ndarray, "N S S 3"]) -> Float[Tensor, "N P D"]:
        """Feature cubes of one or more frames, float32."""
        cubes = list(self._cores.map(self._one, np.split(frames, len(frames))))
        return torch.from_numpy(np.concatenate(cubes) if len(cubes) > 1 else cubes[0])

    def _one(self, frame: UInt8[np.ndarray, "1 S S 3"]) -> Float[np.ndarray, "1 P D"]:
        cube: np.ndarray = self._session.run(None, {"frames": frame})[0]
        return cube


def to_onnx(
    module: nn.Module, sample: Sequence[Tensor], inputs: Sequence[str], outputs: Sequence[str]
) -> bytes:
    """A network as an ONNX file's bytes, for a batch of any size.

    Args:
        module: what is to be run, in evaluation mode.
        sample: input to trace it with, two or more of a batch; the batch is the first axis of each.
        inputs: names of the inputs.
        outputs: names of the outputs; their first axis is the batch, too.

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
            dynamic_shapes=tuple(batch for _ in sample),
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    exported: bytes = program.model_proto.SerializeToString()
    return exported


def _onnx_engine(
    cube: FeatureCube,
    sample: UInt8[np.ndarray, "N S S 3"],
    expected: Float[Tensor, "N P D"],
    key: str,
    threads: int,
) -> OnnxEngine:
    """Take the graph from the cache if a whole one lies there, else export and keep it."""
    name = re.sub(r"[^\w.]+", "-", key)
    digest = hashlib.sha256(f"{key} {torch.__version__}".encode()).hexdigest()[:12]
    graph = cache_dir() / "graphs" / f"{name}-{digest}.onnx"
    if graph.exists():
        try:
            return _checked(OnnxEngine(graph, threads), sample, expected)
        except Exception as error:
            _log.warning("%s: is damaged (%s); it is made again", graph, type(error).__name__)
    # Takes seconds, on a busy machine many.
    with bar(f"Preparing {key}, once", total=1, transient=True):
        exported = to_onnx(_folded(cube), (torch.tensor(sample),), ["frames"], ["cubes"])
    engine = _checked(OnnxEngine(exported, threads), sample, expected)
    try:
        with replacing(graph) as part:
            part.write_bytes(exported)
    except GlimpsesError as error:
        _log.warning("%s; it will be made anew each time", error)
    return engine


def _checked(
    engine: OnnxEngine, sample: UInt8[np.ndarray, "N S S 3"], expected: Float[Tensor, "N P D"]
) -> OnnxEngine:
    difference = (engine(sample) - expected).abs().max() / expected.abs().max()
    if not difference <= _TOLERANCE:
        raise ValueError(f"it differs from PyTorch by {difference:.1e} of the largest value")
    return engine


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
