"""Run the speed benchmarks: Glimpses and alternatives in turn, and the limits of the machine.

    python benchmarks/run.py --out results
    python benchmarks/run.py extraction --clips FOLDER --rounds 9 --out results
    python benchmarks/run.py --quick

Writes tables (`results.md`), the same numbers as JSON (`results.json`) and a figure
(`results.png`). Peers that are not installed are skipped:
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

# A case is a module in this folder with a generator `run(bench)` of comparisons.
CASES = ("extraction", "training", "start", "growth", "gpu")


def main(arguments: Sequence[str]) -> None:
    """Run the cases and print their tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"of {', '.join(CASES)}; all")
    parser.add_argument("--quick", action="store_true", help="the smallest sizes, one round")
    parser.add_argument("--rounds", type=int, help="runs of each way (5)")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="cores for each way")
    parser.add_argument("--clips", type=Path, help="folder of your clips to measure on")
    parser.add_argument("--out", type=Path, help="folder for tables, numbers and figure")
    options = parser.parse_args(arguments)
    if unknown := set(options.cases) - set(CASES):
        parser.error(f"no such case: {', '.join(unknown)}; there are {', '.join(CASES)}")
    rounds = options.rounds or (1 if options.quick else 5)
    measuring.use_threads(options.threads)
    # As the commands do.
    process.keep_freed_memory()
    about = (
        f"{measuring.machine()}. Commit {measuring.commit()}; {options.threads} threads for each "
        f"way, {rounds} rounds."
    )
    print(about, flush=True)
    comparisons: list[Comparison] = []
    for case in options.cases or CASES:
        with tempfile.TemporaryDirectory(prefix="glimpses-benchmark-") as folder:
            bench = Bench(rounds, options.threads, Path(folder), options.quick, options.clips)
            # Graphs and features go there too, not to the user's cache.
            os.environ["GLIMPSES_CACHE"] = folder
            for comparison in importlib.import_module(case).run(bench):
                print(f"\n{measuring.table(comparison)}", flush=True)
                comparisons.append(comparison)
                if options.out:
                    _save(options.out, about, comparisons)


def _save(out: Path, about: str, comparisons: Sequence[Comparison]) -> None:
    """Write the comparisons that are finished."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "results.md").write_text("\n\n".join([about, *map(measuring.table, comparisons)]) + "\n")
    numbers = {"about": about, "comparisons": [asdict(comparison) for comparison in comparisons]}
    (out / "results.json").write_text(json.dumps(numbers, indent=1))
    _draw(out / "results.png", comparisons)


def _draw(path: Path, comparisons: Sequence[Comparison]) -> None:
    """Draw speeds relative to the reference: medians and ranges, by the clock and by CPU time."""
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
