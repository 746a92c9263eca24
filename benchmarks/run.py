"""Every speed benchmark by one command: our way and others', in turn, beside the machine's limits.

    python benchmarks/run.py --out results
    python benchmarks/run.py extraction --clips FOLDER --rounds 9 --out results
    python benchmarks/run.py --quick

The folder gets the tables (`results.md`), the same numbers for programs (`results.json`) and a
picture (`results.png`). Peers that are not installed are left out; they are
`pip install openvino opencv-python-headless`.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median

import matplotlib
import measuring
from measuring import Bench, Comparison

from glimpses.utils import process

# A case is a module beside this one with `run(bench)`, which gives one comparison after the other.
CASES = ("extraction", "training", "start", "growth", "gpu")


def main(arguments: Sequence[str]) -> None:
    """Run the cases and print their tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"of {', '.join(CASES)}; all")
    parser.add_argument("--quick", action="store_true", help="the smallest sizes, one round")
    parser.add_argument("--rounds", type=int, help="how often each way is run (5)")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="cores for each way")
    parser.add_argument("--clips", type=Path, help="folder of clips of your own to measure on")
    parser.add_argument("--out", type=Path, help="folder for tables, numbers and picture")
    given = parser.parse_args(arguments)
    if unknown := set(given.cases) - set(CASES):
        parser.error(f"no such case: {', '.join(unknown)}; there are {', '.join(CASES)}")
    rounds = given.rounds or (1 if given.quick else 5)
    measuring.use_threads(given.threads)
    # As the commands that compute with PyTorch do, so that it is not slower here than it must be.
    process.keep_freed_memory()
    about = (
        f"{measuring.machine()}. Commit {measuring.commit()}; {given.threads} threads for each "
        f"way, {rounds} rounds."
    )
    print(about, flush=True)
    found: list[Comparison] = []
    for case in given.cases or CASES:
        with tempfile.TemporaryDirectory(prefix="glimpses-benchmark-") as folder:
            bench = Bench(rounds, given.threads, Path(folder), given.quick, given.clips)
            # Our commands keep their graphs and features there too, apart from the user's.
            os.environ["GLIMPSES_CACHE"] = folder
            for comparison in importlib.import_module(case).run(bench):
                print(f"\n{measuring.table(comparison)}", flush=True)
                found.append(comparison)
                if given.out:
                    _keep(given.out, about, found)


def _keep(out: Path, about: str, found: Sequence[Comparison]) -> None:
    """Write what is known so far."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "results.md").write_text("\n\n".join([about, *map(measuring.table, found)]) + "\n")
    numbers = {"about": about, "comparisons": [asdict(one) for one in found]}
    (out / "results.json").write_text(json.dumps(numbers, indent=1))
    _draw(out / "results.png", found)


def _draw(path: Path, comparisons: Sequence[Comparison]) -> None:
    """Speeds beside the reference's: medians and spreads, by the clock and by CPU time."""
    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    heights = [1.2 + 0.3 * len(one.samples) for one in comparisons]
    figure, axes = plt.subplots(
        len(comparisons), figsize=(8, sum(heights)), height_ratios=heights, squeeze=False,
        layout="constrained",
    )  # fmt: skip
    for axis, one in zip(axes[:, 0], comparisons, strict=True):
        for row, way in enumerate(one.samples):
            for clock, shift, colour in (("wall", -0.12, "#30638e"), ("cpu", 0.12, "#d1495b")):
                speeds = sorted(one.speeds(way, clock))
                ends, place = [speeds[0], speeds[-1]], row + shift
                axis.plot(ends, [place, place], color=colour, alpha=0.4, linewidth=4)
                axis.plot(median(speeds), place, "o", color=colour, markersize=4)
        axis.axvline(1, color="grey", linewidth=0.5)
        axis.set_yticks(range(len(one.samples)), list(one.samples))
        axis.set_ylim(len(one.samples) - 0.5, -0.5)
        axis.set_xscale("log")
        axis.xaxis.set_major_formatter("{x:g}")
        axis.xaxis.set_minor_formatter("{x:g}")
        axis.tick_params(axis="x", which="both", labelsize="small")
        axis.set_title(one.title, loc="right", fontsize="small")
        axis.set_xlabel(
            f"speed by the clock (blue) and by CPU time (red), {one.reference} = 1",
            fontsize="small",
        )
    figure.savefig(path, dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    main(sys.argv[1:])
