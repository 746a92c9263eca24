"""Folders that the kinds of harm share: good clips, seeds, a trained run, a cache of graphs."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tests.torture.commands import LIMITS, Outcome, in_child, run
from tests.torture.media import make_clips, make_seeds

BACKBONE = "efficientnet_lite0:16:7"
#: Options of a training that takes a second or two.
TRAINING = (
    "--recipe", "standard", "--backbone", BACKBONE, "--fps", "5", "--hidden-size", "8",
    "--num-layers", "1", "--block-length", "3", "--batch-size", "4",
)  # fmt: skip
# Time of the first training on an idle machine with two cores.
_TRAINING_SECONDS = 10.0


@dataclass(frozen=True)
class Result:
    """Number of trials in one step of a kind of harm, and of failed ones."""

    tried: int
    failed: int = 0


class Lab:
    """Everything that is made once, and the place where failures are kept.

    Args:
        folder: folder for everything that is written; emptied.
        failures: folder that gets the input of each failure, with a `failure.txt`.
        seed: seed of all random choices.
        short: whether each step is to be as small as possible.

    Attributes:
        clips: folder with good clips in two class folders, each with a group of its own.
        seeds: content of the good videos that are damaged, by file name.
        trained: folder of a run that was trained on the clips.
        store: folder of the clips' features.
        cache: cache with the graph of the backbone.
        patience: factor of all limits of time, above 1 on a machine that is slow or busy.
    """

    def __init__(self, folder: Path, failures: Path, seed: int, *, short: bool) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        self.folder, self.failures, self.short = folder.resolve(), failures.resolve(), short
        self.rng = np.random.default_rng(seed)
        self._numbers = itertools.count(1)
        home = self.folder / "home"
        self.clips, self.trained, self.store = home / "clips", home / "run", home / "store"
        self.cache = home / "cache"
        home.mkdir(parents=True)
        in_child(self._make_videos, home / "videos.txt")
        files = sorted((home / "seeds").iterdir())
        self.seeds = {file.name: file.read_bytes() for file in files}
        training = ("train", "clips", "--out", "run", "--feature-dir", "store", "--epochs", "2")
        self.patience = 1.0
        outcome = self.run((*training, *TRAINING), home, 3600, cache=self.cache)
        if outcome.code != 0:
            raise RuntimeError(outcome.error)
        self.patience = max(1.0, outcome.seconds / _TRAINING_SECONDS)

    def _make_videos(self) -> None:
        home = self.folder / "home"
        clips = make_clips(self.clips, 5)
        rows = [f"{clip.parent.name}/{clip.name},{clip.stem}\n" for clip in clips]
        (self.clips / "groups.csv").write_text("".join(["clip,group\n", *rows]))
        make_seeds(home / "seeds")

    def environment(self, cache: Path) -> dict[str, str]:
        """Return the variables of a command whose cache and temporary files are beside `cache`."""
        temporary = cache.parent / "tmp"
        temporary.mkdir(exist_ok=True)
        return {
            "GLIMPSES_CACHE": str(cache), "TMPDIR": str(temporary), "OMP_NUM_THREADS": "1",
            "PYTHONWARNINGS": "ignore",
        }  # fmt: skip

    def run(
        self, arguments: Sequence[str], folder: Path, timeout: float, *, cache: Path | None = None
    ) -> Outcome:
        """Run a command in a folder, with the limits of `LIMITS` on every clip."""
        environment = self.environment(cache or self.cache)
        seconds = timeout * self.patience
        return run((*arguments, *LIMITS), folder, timeout=seconds, environment=environment)

    def new_folder(self, name: str) -> Path:
        """Return a new, empty folder; the one that had this name is removed."""
        folder = self.folder / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return folder

    def copy_cache(self, folder: Path) -> Path:
        """Return a cache in a folder that has the graph of the backbone."""
        shutil.copytree(self.cache / "graphs", folder / "cache" / "graphs")
        return folder / "cache"

    def fail(
        self, kind: str, reasons: Sequence[str], inputs: Path, outcome: Outcome | None = None
    ) -> None:
        """Keep the input of a failure and print the reasons."""
        while (place := self.failures / f"{kind}-{next(self._numbers):03}").exists():
            pass
        place.mkdir(parents=True)
        target = place / inputs.name
        if inputs.is_dir():
            # Copying would read pipes and devices.
            ignored = shutil.ignore_patterns("*.pipe")
            shutil.copytree(inputs, target, symlinks=True, ignore=ignored, copy_function=_copy)
        else:
            shutil.copy2(inputs, target)
        lines = [*reasons]
        if outcome is not None:
            lines += [
                "", "glimpses " + " ".join(outcome.arguments), f"code {outcome.code}",
                f"{outcome.seconds:.1f} s, {outcome.megabytes:.0f} MB", "",
                outcome.error[-20_000:], "", outcome.output[-20_000:],
            ]  # fmt: skip
        (place / "failure.txt").write_text("\n".join(lines))
        print(f"FAILED {place}: {'; '.join(reasons)[:600]}", flush=True)


def _copy(source: str, target: str) -> None:
    if Path(source).is_file() and Path(source).stat().st_size < 50_000_000:
        shutil.copy2(source, target, follow_symlinks=False)


def steps(short: bool, *sizes: int) -> Iterator[int]:
    """Yield the first size once if `short`, else the last one indefinitely."""
    return iter(sizes[:1]) if short else itertools.repeat(sizes[-1])
