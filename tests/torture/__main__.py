"""Command of the torture suite; see `python -m tests.torture --help`."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.torture.disks import full_disks
from tests.torture.folders import hostile_folders
from tests.torture.fuzz import damaged_files
from tests.torture.kills import kills
from tests.torture.lab import Lab, Result
from tests.torture.uploads import many_uploads

KINDS: dict[str, Callable[[Lab], Iterator[Result]]] = {
    "damaged": damaged_files,
    "kills": kills,
    "disks": full_disks,
    "folders": hostile_folders,
    "uploads": many_uploads,
}


def main() -> int:
    """Run the kinds of harm in turn, print a table, and return 1 if anything failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10, help="time for all kinds together")
    parser.add_argument("--seed", type=int, default=0, help="seed of all random choices")
    parser.add_argument("--only", choices=KINDS, nargs="+", default=list(KINDS), help="kinds")
    parser.add_argument("--short", action="store_true", help="one small step of each kind")
    parser.add_argument(
        "--failures", type=Path, default=Path("torture-failures"),
        help="folder for the inputs of failures",
    )  # fmt: skip
    options = parser.parse_args()
    _import_everything()
    # A TemporaryDirectory would be removed by the first fork that ends.
    folder = Path(tempfile.mkdtemp(prefix="torture-"))
    totals: dict[str, _Total] = {}
    try:
        lab = Lab(folder, options.failures, options.seed, short=options.short)
        totals = {kind: _Total(KINDS[kind](lab)) for kind in options.only}
        end = time.monotonic() + 60 * options.minutes
        # The kind that has had the least time comes next.
        while waiting := [total for total in totals.values() if not total.ended]:
            if not options.short and time.monotonic() > end:
                break
            min(waiting, key=lambda total: total.seconds).step()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(f"{'kind':10} {'tried':>7} {'failed':>7} {'minutes':>8}   (seed {options.seed})")
    for kind, total in totals.items():
        print(f"{kind:10} {total.tried:7} {total.failed:7} {total.seconds / 60:8.1f}")
    return int(any(total.failed for total in totals.values()))


class _Total:
    """Sums of the results of a kind."""

    def __init__(self, results: Iterator[Result]) -> None:
        self._results = results
        self.tried, self.failed, self.seconds, self.ended = 0, 0, 0.0, False

    def step(self) -> None:
        """Take one step, unless there is none left."""
        start = time.monotonic()
        result = next(self._results, None)
        self.seconds += time.monotonic() - start
        if result is None:
            self.ended = True
        else:
            self.tried += result.tried
            self.failed += result.failed


def _import_everything() -> None:
    """Import what commands import, so that their processes start at once."""
    import importlib

    from glimpses.cli import COMMANDS

    for target, _ in COMMANDS.values():
        importlib.import_module(target.partition(":")[0])
    for name in ("torch", "onnxruntime", "cv2", "av", "scipy.stats", "sklearn.linear_model"):
        importlib.import_module(name)


if __name__ == "__main__":
    sys.exit(main())
