"""Engine for a CPU, ONNX Runtime, and the cache of its graphs.

On a CPU ONNX Runtime takes a quarter of the time of eager PyTorch: it fuses batch normalisation and
activations into the convolutions, and reuses memory that PyTorch maps and unmaps at every layer.
The results agree to rounding.

Cores share frames, not layers: each core runs the whole network on one frame at a time. No core
waits for another at the end of a layer, and activations stay in the core's cache
(docs/benchmarks.md).

This module does not import PyTorch, which takes longer than computing a hundred frames. A cached
graph therefore contains its own description as metadata.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import platform
import re
import sys
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol
from weakref import WeakSet

import numpy as np
from jaxtyping import Float, Float16, UInt8

from glimpses.utils.errors import GlimpsesError
from glimpses.utils.files import atomic_write, cache_dir
from glimpses.utils.onnx_runtime import onnxruntime

if TYPE_CHECKING:
    from torch import Tensor

EngineName = Literal["auto", "onnxruntime", "torch"]

_log = logging.getLogger(__name__)

#: Names of a graph's input, and of its outputs in single and in half precision. ONNX Runtime rounds
#: in a tenth of the time of NumPy.
FRAMES, CUBES, HALF = "frames", "cubes", "half"

#: Frames in one call on a CPU; more only take memory.
CPU_BATCH = 16

# Largest difference between engines, relative to the largest value, that counts as rounding.
_TOLERANCE = 1e-3

# Values of the cubes of `probe_frames` that are stored with a graph to verify it.
_PROBES = 512


@dataclass(frozen=True)
class BackboneInfo:
    """Description of a network's input and output; see `Backbone`."""

    name: str
    weights: str
    size: int
    grid: int
    channels: int
    fine_channels: int = 0
    fine_ratio: int = 1
    flow_channels: int = 0


class Engine(Protocol):
    """Runtime of a network, which several threads may call.

    Attributes:
        name: "onnxruntime" or "torch".
        batch: frames per call that keep the engine busy.
        threads: CPU cores in use.
    """

    name: str
    batch: int
    threads: int

    def __call__(self, frames: UInt8[np.ndarray, "N S S 3"]) -> Float[Tensor, "N P D"]:
        """Return the feature cubes of one or more frames, float32, on the engine's device."""

    def half(self, frames: Collection[UInt8[np.ndarray, "S S 3"]]) -> Float16[np.ndarray, "N P D"]:
        """Return the feature cubes in half precision and in host memory, as they are stored."""


class OnnxEngine:
    """ONNX Runtime on the CPU, for an ONNX file or its bytes."""

    name = "onnxruntime"

    def __init__(self, graph: Path | bytes, threads: int) -> None:
        self.graph = graph
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        if not has_vnni():
            options.add_session_config_entry("session.x64quantprecision", "1")
        self.threads = threads
        self.batch = CPU_BATCH
        providers = ["CPUExecutionProvider"]
        self._session = onnxruntime.InferenceSession(graph, options, providers=providers)
        self.start_threads()
        _engines.add(self)

    def start_threads(self) -> None:
        """Make the pool of threads; a fork of this process has none of them."""
        self._cores = ThreadPoolExecutor(self.threads, thread_name_prefix="core")

    def __call__(self, frames: UInt8[np.ndarray, "N S S 3"]) -> Float[Tensor, "N P D"]:
        """Return the feature cubes of one or more frames, float32."""
        import torch

        return torch.from_numpy(self.compute(frames))

    def half(self, frames: Collection[UInt8[np.ndarray, "S S 3"]]) -> Float16[np.ndarray, "N P D"]:
        """Return the feature cubes in half precision."""
        return self._run(HALF, frames)

    def compute(self, frames: Collection[UInt8[np.ndarray, "S S 3"]]) -> Float[np.ndarray, "N P D"]:
        """Return the feature cubes of one or more frames, float32, without PyTorch."""
        return self._run(CUBES, frames)

    @property
    def metadata(self) -> dict[str, str]:
        """Metadata stored in the graph."""
        return dict(self._session.get_modelmeta().custom_metadata_map)

    def _run(self, output: str, frames: Collection[np.ndarray]) -> np.ndarray:
        def run(share: Sequence[np.ndarray]) -> list[np.ndarray]:
            return [self._session.run([output], {FRAMES: frame[None]})[0] for frame in share]

        # Each core receives its share at once: handing over single frames takes time.
        length, frame_list = -(-len(frames) // self.threads), list(frames)
        shares = [frame_list[first : first + length] for first in range(0, len(frames), length)]
        return np.concatenate(list(chain.from_iterable(self._cores.map(run, shares))))


_engines: WeakSet[OnnxEngine] = WeakSet()


def _restart_after_fork() -> None:
    for engine in list(_engines):
        engine.start_threads()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_restart_after_fork)


def default_threads() -> int:
    """Return the number of cores to use, the same as PyTorch's default."""
    if "torch" in sys.modules:
        return int(sys.modules["torch"].get_num_threads())
    configured = os.environ.get("OMP_NUM_THREADS", "")
    if configured.isdigit() and int(configured):
        return int(configured)
    # Not every system reports which cores a process may use.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@cache
def has_vnni() -> bool:
    """Return whether this processor is known to add products of 8-bit integers without overflow.

    On x86 this takes the VNNI instructions. Without them ONNX Runtime must be configured to compute
    the same numbers in another way, which takes two to three times as long.
    """
    if platform.machine() not in ("x86_64", "AMD64"):
        return True
    try:
        return "vnni" in Path("/proc/cpuinfo").read_text()
    except OSError:
        return False


def probe_frames(size: int) -> UInt8[np.ndarray, "2 S S 3"]:
    """Return two frames of noise on which engines are compared."""
    return np.random.default_rng(0).integers(0, 256, (2, size, size, 3), np.uint8)


def graph_key(spec: str) -> str:
    """Return the cache key of the graph of a network that is defined in this package.

    It depends on the spec and on all source code that contributes to the graph.
    """
    sources = b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py")))
    return f"{spec} {hashlib.sha256(sources).hexdigest()}"


def graph_metadata(info: BackboneInfo, expected: Float[np.ndarray, "2 P D"]) -> dict[str, str]:
    """Return the metadata with which `load_graph` can describe and verify a graph.

    `expected` are the cubes of `probe_frames`, computed by PyTorch.
    """
    values = expected.ravel()[_probe_indices(expected.size)].tolist()
    probe = {"scale": float(np.abs(expected).max()), "values": values}
    return {"description": json.dumps(asdict(info)), "probe": json.dumps(probe)}


def load_graph(key: str, threads: int) -> tuple[BackboneInfo, OnnxEngine] | None:
    """Load the graph saved with a key; return None if it does not exist or is damaged."""
    path = _graph_path(key)
    if not path.exists():
        return None
    try:
        engine = OnnxEngine(path, threads)
        return verify(engine), engine
    # ONNX Runtime's errors have no common base class, and damage can cause any of them.
    except Exception as error:
        _log.warning("%s: is damaged (%s); building it again", path, type(error).__name__)
        return None


def verify(engine: OnnxEngine) -> BackboneInfo:
    """Return the description in a graph's metadata, if the graph computes the stored values.

    Raises:
        ValueError: the values differ by more than rounding.
    """
    info = BackboneInfo(**json.loads(engine.metadata["description"]))
    probe = json.loads(engine.metadata["probe"])
    cubes = engine.compute(probe_frames(info.size)).ravel()
    values = np.array(probe["values"], np.float32)
    difference = np.abs(cubes[_probe_indices(cubes.size)] - values).max() / probe["scale"]
    if not difference <= _TOLERANCE:
        raise ValueError(f"it differs from PyTorch by {difference:.1e} of the largest value")
    return info


def save_graph(key: str, graph: bytes) -> None:
    """Save a graph in the cache; log a warning if it cannot be written."""
    try:
        with atomic_write(_graph_path(key)) as part:
            part.write_bytes(graph)
    except GlimpsesError as error:
        _log.warning("%s; the graph will be built again each time", error)


def _graph_path(key: str) -> Path:
    readable = re.sub(r"[^\w.]+", "-", key.partition(" ")[0])
    digest = hashlib.sha256(f"{key} {CUBES} {HALF} {version('torch')}".encode()).hexdigest()[:12]
    return cache_dir() / "graphs" / f"{readable}-{digest}.onnx"


def _probe_indices(size: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, size, _PROBES)
