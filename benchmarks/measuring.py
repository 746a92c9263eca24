"""What all speed benchmarks share: ways of doing the same work, run in turn and set side by side.

A machine is never quite free and its clock never quite steady. So ways are never timed one after
the other but in rounds, each way once a round and in changing order, and what is reported is the
ratio within a round: its median and its spread.
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
    """What one run of a way took.

    Attributes:
        wall: seconds by the clock.
        cpu: seconds of processor time, user and system, of all threads and children.
        peak: largest resident memory in MB, of a process that did nothing else; else None.
    """

    wall: float
    cpu: float
    peak: float | None = None


@dataclass(frozen=True)
class Way:
    """One way to do the work.

    Attributes:
        do: does it once; the call is timed, unless it gives a sample of its own (`Bench.process`).
        work: how many units it does.
    """

    do: Callable[[], object]
    work: float


@dataclass(frozen=True)
class Comparison:
    """Ways beside each other.

    Attributes:
        title: what is compared.
        unit: of the work.
        reference: the way that the others are measured by.
        works: units of work that each way does.
        samples: of each way, one a round.
        note: what must be known to read it.
    """

    title: str
    unit: str
    reference: str
    works: Mapping[str, float]
    samples: Mapping[str, Sequence[Sample]]
    note: str = ""

    def each(self, way: str, clock: str = "wall") -> list[float]:
        """Seconds per unit of work in every round."""
        return [getattr(sample, clock) / self.works[way] for sample in self.samples[way]]

    def speeds(self, way: str, clock: str = "wall") -> list[float]:
        """How many times as fast as the reference, in every round."""
        own, theirs = self.each(way, clock), self.each(self.reference, clock)
        return [b / a for a, b in zip(own, theirs, strict=True)]

    def peak(self, way: str) -> float | None:
        """Largest memory over the rounds, MB."""
        known = [sample.peak for sample in self.samples[way] if sample.peak is not None]
        return max(known, default=None)


@dataclass(frozen=True)
class Bench:
    """How a case is to run, and what runs its ways in turn.

    Attributes:
        rounds: how often each way is run.
        threads: how many cores each may use.
        folder: for clips, features and runs; removed when the case is done.
        quick: the smallest sizes, to see that the benchmark works.
        clips: the user's own clips, beside those that are made.
    """

    rounds: int
    threads: int
    folder: Path
    quick: bool = False
    clips: Path | None = None

    def compare(
        self, title: str, unit: str, reference: str, ways: Mapping[str, Way], note: str = ""
    ) -> Comparison:
        """Run every way once a round, in an order that moves on from round to round.

        Whatever is only slow the first time should have been done before.
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
        """Run a whole process from its start to its end.

        Raises:
            RuntimeError: it fails; with what it said.
        """
        with tempfile.TemporaryFile("w+") as said:
            started = time.perf_counter()
            # What this process has set for itself by importing Glimpses is no peer's advantage.
            own = {name: value for name, value in os.environ.items() if name not in OURS}
            child = subprocess.Popen(
                [str(word) for word in command], stdout=subprocess.DEVNULL, stderr=said, env=own
            )
            peak, used = 0.0, None
            while used is None:
                # `ru_maxrss` would count what this process had when it made the other.
                peak = max(peak, peak_memory(child.pid))
                ended, status, usage = os.wait4(child.pid, os.WNOHANG)
                used = usage if ended else time.sleep(0.01)
            wall = time.perf_counter() - started
            child.returncode = os.waitstatus_to_exitcode(status)
            if child.returncode:
                said.seek(0)
                last = said.read().strip()[-500:]
                raise RuntimeError(f"{' '.join(map(str, command))}: {last}")
        return Sample(wall, used.ru_utime + used.ru_stime, peak)


def timed(do: Callable[[], object]) -> Sample:
    """What a call takes in this process."""
    wall, cpu = time.perf_counter(), _cpu()
    given = do()
    if isinstance(given, Sample):
        return given
    return Sample(time.perf_counter() - wall, _cpu() - cpu)


def _cpu() -> float:
    own = resource.getrusage(resource.RUSAGE_SELF)
    return own.ru_utime + own.ru_stime


def peak_memory(process: int) -> float:
    """Largest resident memory that a process has had so far, MB; 0 where nobody tells."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


#: What `glimpses.utils.threads` sets.
OURS = ("GOMP_SPINCOUNT",)
#: By which libraries are told how many threads they may use.
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def use_threads(threads: int) -> None:
    """Limit PyTorch here, and every library in the processes that are started from here."""
    for name in THREAD_VARIABLES:
        os.environ[name] = str(threads)
    torch.set_num_threads(threads)


# Of the matrices whose product is the limit.
SIDE = 2048
_BLOCK = 1 << 28


def matrix_product() -> Way:
    """The limit of arithmetic: a large product in float32; its work is in GFLOP."""
    left, right = torch.rand(SIDE, SIDE), torch.rand(SIDE, SIDE)
    out = torch.empty(SIDE, SIDE)
    times = 4

    def do() -> None:
        for _ in range(times):
            torch.mm(left, right, out=out)

    do()
    return Way(do, times * 2 * SIDE**3 / 1e9)


def memory_read() -> Way:
    """The limit of memory: a large block read once; its work is in GB."""
    block = torch.rand(_BLOCK // 4)

    def do() -> None:
        for _ in range(4):
            block.sum()

    do()
    return Way(do, 4 * _BLOCK / 1e9)


def machine() -> str:
    """The machine in a line: processor, cores, memory, load, and the libraries' versions."""
    from importlib.metadata import PackageNotFoundError, version

    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    flags = next((line.split() for line in lines if line.startswith("flags")), [])
    widest = next((name for name in ("amx_tile", "avx512f", "avx2") if name in flags), "")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    found = [f"Python {platform.python_version()}"]
    for package in ("torch", "onnxruntime", "openvino", "opencv-python-headless", "torchcodec"):
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    load = os.getloadavg()[0]
    return (
        f"{names[0] if names else platform.processor()} ({widest}), {os.cpu_count()} cores, "
        f"{memory:.0f} GiB, load {load:.1f} at the start; {', '.join(found)}"
    )


def commit() -> str:
    """The commit that is measured, and whether files differ from it."""
    folder = Path(__file__).parent

    def git(*words: str) -> str:
        asked = subprocess.run(
            ["git", *words], cwd=folder, capture_output=True, text=True, check=False
        )
        return asked.stdout.strip()

    changed = " with changes" if git("status", "--porcelain", "--untracked-files=no") else ""
    return f"{git('rev-parse', '--short=12', 'HEAD') or 'unknown'}{changed}"


def middle(values: Sequence[float]) -> str:
    """Median and spread, as `1.23 (1.10-1.31)`."""
    return f"{statistics.median(values):.3g} ({min(values):.3g}-{max(values):.3g})"


def table(comparison: Comparison) -> str:
    """A comparison in Markdown, fastest by the clock first."""
    unit = comparison.unit
    memory = any(comparison.peak(way) for way in comparison.samples)
    head = ["way", f"ms a {unit}", f"CPU ms a {unit}", "speed", "speed by CPU time"]
    lines = [head + ["peak MB"] * memory, ["---", *["---:"] * (len(head) - 1 + memory)]]
    for way in comparison.samples:
        wall, cpu = comparison.each(way), comparison.each(way, "cpu")
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
