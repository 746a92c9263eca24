"""How a network is run on a CPU, and the cache of networks that are ready to be.

On a CPU ONNX Runtime needs a quarter of the time of eager PyTorch: it fuses batch normalisation
and activations into the convolutions, and keeps its memory where PyTorch maps and unmaps it at
every layer. The results agree to rounding.

Cores share frames, not layers: each runs the whole network on one frame at a time. So none waits
for another at the end of a layer, and what passes between layers stays in its cache
(docs/benchmarks.md has the figures).

Nothing here loads PyTorch, which takes longer than a hundred frames do: a graph that was made once
says itself what it is.
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

import numpy as np
import onnxruntime
from jaxtyping import Float, Float16, UInt8

from glimpses.utils.errors import GlimpsesError
from glimpses.utils.files import atomic_write, cache_dir

if TYPE_CHECKING:
    from torch import Tensor

EngineName = Literal["auto", "onnxruntime", "torch"]

_log = logging.getLogger(__name__)

#: Names in a graph: of its input, and of its output in single and in half precision. ONNX Runtime
#: rounds in a tenth of the time that NumPy takes.
FRAMES, CUBES, HALF = "frames", "cubes", "half"

#: Frames in one call on a CPU; more take only memory.
CPU_BATCH = 16

# Largest difference between the engines, as a part of the largest value, that is still rounding.
_TOLERANCE = 1e-3

# So many values of the cubes of `noise` go with a graph, for it to be tried against.
_PROBES = 512


@dataclass(frozen=True)
class BackboneInfo:
    """What a network makes of frames; see `Backbone`."""

    name: str
    weights: str
    size: int
    grid: int
    channels: int
    fine_channels: int = 0
    fine_ratio: int = 1


class Engine(Protocol):
    """Something that runs a network; several threads may call it.

    Attributes:
        name: which it is.
        batch: how many frames a call should have, to keep it busy.
        threads: CPU cores that it uses.
    """

    name: str
    batch: int
    threads: int

    def __call__(self, frames: UInt8[np.ndarray, "N S S 3"]) -> Float[Tensor, "N P D"]:
        """Feature cubes of one or more frames, float32, on the engine's device."""

    def half(self, frames: Collection[UInt8[np.ndarray, "S S 3"]]) -> Float16[np.ndarray, "N P D"]:
        """The same in half precision, in the computer's memory: as they are stored."""


class OnnxEngine:
    """ONNX Runtime on the CPU.

    Args:
        graph: an ONNX file, or its bytes; load_graph as the attribute `graph`.
        threads: cores to use.
    """

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
        self._session = onnxruntime.InferenceSession(
            graph, options, providers=["CPUExecutionProvider"]
        )
        self._cores = ThreadPoolExecutor(threads, thread_name_prefix="core")

    def __call__(self, frames: UInt8[np.ndarray, "N S S 3"]) -> Float[Tensor, "N P D"]:
        """Feature cubes of one or more frames, float32."""
        import torch

        return torch.from_numpy(self.cubes(frames))

    def half(self, frames: Collection[UInt8[np.ndarray, "S S 3"]]) -> Float16[np.ndarray, "N P D"]:
        """The same in half precision."""
        return self._each(HALF, frames)

    def cubes(self, frames: Collection[UInt8[np.ndarray, "S S 3"]]) -> Float[np.ndarray, "N P D"]:
        """What `__call__` gives, for those who do without PyTorch."""
        return self._each(CUBES, frames)

    @property
    def metadata(self) -> dict[str, str]:
        """What the graph says of itself."""
        return dict(self._session.get_modelmeta().custom_metadata_map)

    def _each(self, output: str, frames: Collection[np.ndarray]) -> np.ndarray:
        def run(some: Sequence[np.ndarray]) -> list[np.ndarray]:
            return [self._session.run([output], {FRAMES: frame[None]})[0] for frame in some]

        # A core gets its share at once: handing frames over one by one takes time.
        share, every = -(-len(frames) // self.threads), list(frames)
        shares = [every[first : first + share] for first in range(0, len(every), share)]
        return np.concatenate(list(chain.from_iterable(self._cores.map(run, shares))))


def default_threads() -> int:
    """How many cores to use: as many as PyTorch does."""
    if "torch" in sys.modules:
        return int(sys.modules["torch"].get_num_threads())
    given = os.environ.get("OMP_NUM_THREADS", "")
    if given.isdigit() and int(given):
        return int(given)
    # Not every system can tell which of its cores a process may use.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@cache
def has_vnni() -> bool:
    """Whether this processor's sums of 8-bit products are known not to overflow.

    Of x86 it takes the VNNI instructions. Without them ONNX Runtime has to be told to go another
    way, which gives the same numbers in two to three times the time.
    """
    if platform.machine() not in ("x86_64", "AMD64"):
        return True
    try:
        return "vnni" in Path("/proc/cpuinfo").read_text()
    except OSError:
        return False


def probe_frames(size: int) -> UInt8[np.ndarray, "2 S S 3"]:
    """Two frames on which engines are held to each other."""
    return np.random.default_rng(0).integers(0, 256, (2, size, size, 3), np.uint8)


def graph_key(spec: str) -> str:
    """Under what the graph of a network that is defined here is kept.

    It tells a spec, and every line of code that a graph is made by, from all others.
    """
    sources = sorted(Path(__file__).parent.glob("*.py"))
    made_by = hashlib.sha256(b"".join(source.read_bytes() for source in sources))
    return f"{spec} {made_by.hexdigest()}"


def graph_metadata(
    description: BackboneInfo, expected: Float[np.ndarray, "2 P D"]
) -> dict[str, str]:
    """What a graph is to say of itself, so that `kept` need not ask PyTorch.

    Args:
        description: of its network.
        expected: cubes of `noise` by PyTorch.
    """
    probe = expected.ravel()[_probes(expected.size)]
    scale = float(np.abs(expected).max())
    return {
        "description": json.dumps(asdict(description)),
        "probe": json.dumps({"scale": scale, "values": probe.tolist()}),
    }


def load_graph(key: str, threads: int) -> tuple[BackboneInfo, OnnxEngine] | None:
    """The graph that was kept under a key; None if there is none, or it is damaged.

    Args:
        key: see `keep`.
        threads: cores to use.
    """
    path = _path(key)
    if not path.exists():
        return None
    try:
        engine = OnnxEngine(path, threads)
        return verify(engine), engine
    # ONNX Runtime's errors have no common ancestor, and damage may look like anything.
    except Exception as error:
        _log.warning("%s: is damaged (%s); it is made again", path, type(error).__name__)
        return None


def verify(engine: OnnxEngine) -> BackboneInfo:
    """What a graph says that it is, if it computes what it says.

    Raises:
        ValueError: it does not, by more than rounding.
    """
    description = BackboneInfo(**json.loads(engine.metadata["description"]))
    probe = json.loads(engine.metadata["probe"])
    found = engine.cubes(probe_frames(description.size)).ravel()
    values = np.array(probe["values"], np.float32)
    difference = np.abs(found[_probes(found.size)] - values).max() / probe["scale"]
    if not difference <= _TOLERANCE:
        raise ValueError(f"it differs from PyTorch by {difference:.1e} of the largest value")
    return description


def save_graph(key: str, graph: bytes) -> None:
    """Keep a graph for the next time; where that cannot be, a warning says so."""
    try:
        with atomic_write(_path(key)) as part:
            part.write_bytes(graph)
    except GlimpsesError as error:
        _log.warning("%s; it will be made anew each time", error)


def _path(key: str) -> Path:
    readable = re.sub(r"[^\w.]+", "-", key.partition(" ")[0])
    digest = hashlib.sha256(f"{key} {CUBES} {HALF} {version('torch')}".encode()).hexdigest()[:12]
    return cache_dir() / "graphs" / f"{readable}-{digest}.onnx"


def _probes(size: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, size, _PROBES)
