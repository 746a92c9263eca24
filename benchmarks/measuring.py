"""Timing shared by the speed benchmarks: ways of doing the same work, run in turn and compared.

The load and the clock of a machine vary. So the ways run in rounds, each once per round and in
changing order, and the reported speed is the ratio within a round: its median and its spread.
"""

from __future__ import annotations

import os
import platform
import resource
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch


@dataclass(frozen=True)
class Sample:
    """Time and memory of one run of a way.

    Attributes:
        wall: elapsed seconds.
        cpu: CPU seconds, user and system, of all threads and children.
        peak: largest resident memory in MB, if the run was a process of its own; else None.
    """

    wall: float
    cpu: float
    peak: float | None = None


@dataclass(frozen=True)
class Way:
    """One way to do the work.

    Attributes:
        do: does the work once; the call is timed, unless it returns a `Sample` (`Bench.process`).
        work: number of units of work.
    """

    do: Callable[[], object]
    work: float


@dataclass(frozen=True)
class Comparison:
    """Samples of several ways to do the same work.

    Attributes:
        title: what is compared.
        unit: unit of the work.
        reference: way that the others are compared with.
        works: units of work of each way.
        samples: samples of each way, one per round.
        note: remark below the table.
    """

    title: str
    unit: str
    reference: str
    works: Mapping[str, float]
    samples: Mapping[str, Sequence[Sample]]
    note: str = ""

    def seconds(self, way: str, clock: str = "wall") -> list[float]:
        """Return the seconds per unit of work in every round."""
        return [getattr(sample, clock) / self.works[way] for sample in self.samples[way]]

    def speeds(self, way: str, clock: str = "wall") -> list[float]:
        """Return the speed relative to the reference in every round."""
        pairs = zip(self.seconds(way, clock), self.seconds(self.reference, clock), strict=True)
        return [reference / seconds for seconds, reference in pairs]

    def peak(self, way: str) -> float | None:
        """Return the largest memory over the rounds in MB, or None if it was not measured."""
        peaks = [sample.peak for sample in self.samples[way] if sample.peak is not None]
        return max(peaks, default=None)


@dataclass(frozen=True)
class Bench:
    """Settings of a benchmark case, and the methods that run its ways in turn.

    Attributes:
        rounds: number of runs of each way.
        threads: number of cores that each way may use.
        folder: temporary folder for clips, features and runs.
        quick: whether to use the smallest sizes, as a test of the benchmark.
        clips: the user's clips, measured in addition to generated ones.
    """

    rounds: int
    threads: int
    folder: Path
    quick: bool = False
    clips: Path | None = None

    def compare(
        self, title: str, unit: str, reference: str, ways: Mapping[str, Way], note: str = ""
    ) -> Comparison:
        """Run every way once per round, in an order that is rotated from round to round.

        The caller warms the ways up.
        """
        samples: dict[str, list[Sample]] = {name: [] for name in ways}
        for turn in range(self.rounds):
            names = list(ways)
            shift = turn % len(names)
            for name in names[shift:] + names[:shift]:
                samples[name].append(timed(ways[name].do))
        works = {name: way.work for name, way in ways.items()}
        return Comparison(title, unit, reference, works, samples, note)

    def process(self, *command: str | Path) -> Sample:
        """Run a process from start to end.

        Raises:
            RuntimeError: the process fails; contains its last output.
        """
        with tempfile.TemporaryFile("w+") as errors:
            started = time.perf_counter()
            # Settings that this process made for Glimpses must not reach the peers.
            environment = {name: value for name, value in os.environ.items() if name not in OURS}
            child = subprocess.Popen(
                [str(word) for word in command],
                stdout=subprocess.DEVNULL,
                stderr=errors,
                env=environment,
            )
            peak, used = 0.0, None
            while used is None:
                # `ru_maxrss` would include the memory of this process at the fork.
                peak = max(peak, peak_memory(child.pid))
                ended, status, usage = os.wait4(child.pid, os.WNOHANG)
                used = usage if ended else time.sleep(0.01)
            wall = time.perf_counter() - started
            child.returncode = os.waitstatus_to_exitcode(status)
            if child.returncode:
                errors.seek(0)
                last = errors.read().strip()[-500:]
                raise RuntimeError(f"{' '.join(map(str, command))}: {last}")
        return Sample(wall, used.ru_utime + used.ru_stime, peak)


def timed(do: Callable[[], object]) -> Sample:
    """Time a call in this process."""
    wall, cpu = time.perf_counter(), _cpu()
    result = do()
    if isinstance(result, Sample):
        return result
    return Sample(time.perf_counter() - wall, _cpu() - cpu)


def _cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def peak_memory(process: int) -> float:
    """Return the largest resident memory of a process so far in MB; 0 if unknown (not Linux)."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


#: What `glimpses.utils.threads` sets.
OURS = ("GOMP_SPINCOUNT",)
#: Environment variables that limit the threads of libraries.
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def use_threads(threads: int) -> None:
    """Limit the threads of PyTorch in this process, and of all libraries in child processes."""
    for name in THREAD_VARIABLES:
        os.environ[name] = str(threads)
    torch.set_num_threads(threads)


# Side of the matrices for the limit of arithmetic.
SIDE = 2048
_BLOCK = 1 << 28


def matrix_product() -> Way:
    """Return the limit of arithmetic: a large product in float32, with its work in GFLOP."""
    left, right = torch.rand(SIDE, SIDE), torch.rand(SIDE, SIDE)
    out = torch.empty(SIDE, SIDE)
    times = 4

    def do() -> None:
        for _ in range(times):
            torch.mm(left, right, out=out)

    do()
    return Way(do, times * 2 * SIDE**3 / 1e9)


def memory_read() -> Way:
    """Return the limit of memory: reading a large block, with its work in GB."""
    block = torch.rand(_BLOCK // 4)

    def do() -> None:
        for _ in range(4):
            block.sum()

    do()
    return Way(do, 4 * _BLOCK / 1e9)


def machine() -> str:
    """Describe the machine: processor, cores, memory, load and versions of libraries."""
    from importlib.metadata import PackageNotFoundError, version

    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    flags = next((line.split() for line in lines if line.startswith("flags")), [])
    widest = next((name for name in ("amx_tile", "avx512f", "avx2") if name in flags), "")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    versions = [f"Python {platform.python_version()}"]
    for package in ("torch", "onnxruntime", "openvino", "opencv-python-headless", "torchcodec"):
        try:
            versions.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    load = os.getloadavg()[0]
    return (
        f"{names[0] if names else platform.processor()} ({widest}), {os.cpu_count()} cores, "
        f"{memory:.0f} GiB, load {load:.1f} at the start; {', '.join(versions)}"
    )


def commit() -> str:
    """Return the measured commit, and whether files differ from it."""
    folder = Path(__file__).parent

    def git(*arguments: str) -> str:
        process = subprocess.run(
            ["git", *arguments], cwd=folder, capture_output=True, text=True, check=False
        )
        return process.stdout.strip()

    changed = " with changes" if git("status", "--porcelain", "--untracked-files=no") else ""
    return f"{git('rev-parse', '--short=12', 'HEAD') or 'unknown'}{changed}"


def middle(values: Sequence[float]) -> str:
    """Format the median and the range, as in `1.23 (1.10-1.31)`."""
    return f"{statistics.median(values):.3g} ({min(values):.3g}-{max(values):.3g})"


def table(comparison: Comparison) -> str:
    """Format a comparison as a Markdown table."""
    unit = comparison.unit
    memory = any(comparison.peak(way) for way in comparison.samples)
    head = ["way", f"ms per {unit}", f"CPU ms per {unit}", "speed", "speed by CPU time"]
    lines = [head + ["peak MB"] * memory, ["---", *["---:"] * (len(head) - 1 + memory)]]
    for way in comparison.samples:
        wall, cpu = comparison.seconds(way), comparison.seconds(way, "cpu")
        cells = [
            f"**{way}**" if way == comparison.reference else way,
            f"{1000 * statistics.median(wall):.3g}",
            f"{1000 * statistics.median(cpu):.3g}",
            middle(comparison.speeds(way)),
            middle(comparison.speeds(way, "cpu")),
        ]
        peak = comparison.peak(way)
        lines.append(cells + ([f"{peak:.0f}" if peak else ""] if memory else []))
    rows = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
    note = f"\n\n{comparison.note}" if comparison.note else ""
    return f"### {comparison.title}\n\n{rows}{note}"
