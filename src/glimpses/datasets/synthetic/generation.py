"""A generated clip set in which it is known, pixel by pixel, where the action is."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Literal

from glimpses.datasets.annotations.masks import FigureMasks, load_masks
from glimpses.datasets.synthetic import background
from glimpses.datasets.synthetic.clips import PRESETS, GroupJob, clip_id, make_group
from glimpses.datasets.synthetic.mocap import takes_in
from glimpses.datasets.synthetic.motions import ACTIONS
from glimpses.utils import progress
from glimpses.utils.errors import GlimpsesError
from glimpses.utils.files import atomic_write

__all__ = ["FigureMasks", "SyntheticSet", "generate", "load_masks"]

# Raised whenever the same settings give other pixels.
_VERSION = 1
_RECORD = "synthetic.json"
_GROUPS, _QUICK_GROUPS = 120, 10
# To whom photographs are dealt in turn.
_DEAL = ("train", "test", "train", "validation", "train", "train")


@dataclass(frozen=True)
class SyntheticSet:
    """A clip set that was made.

    Attributes:
        out: its folder.
        classes: the actions.
        groups: number of groups on each side of the split.
    """

    out: Path
    classes: tuple[str, ...]
    groups: dict[str, int]

    def to_json(self) -> dict[str, Any]:
        """Everything, for programs."""
        return {"out": str(self.out), "classes": list(self.classes), "groups": self.groups}

    def __str__(self) -> str:
        clips = len(self.classes) * sum(self.groups.values())
        sides = ", ".join(f"{count} {side}" for side, count in self.groups.items())
        return (
            f"{self.out}: {clips} clips of {', '.join(self.classes)}; groups: {sides}\n"
            f"next:\n"
            f"  glimpses check {self.out}\n"
            f"  glimpses train {self.out} --out runs/synthetic"
        )


def generate(
    out: Path,
    /,
    *,
    preset: Literal["easy", "standard", "hard", "cue"] = "standard",
    quick: bool = False,
    groups: int | None = None,
    seed: int = 0,
    photos: Path | None = None,
    motions: Path | None = None,
    workers: int | None = None,
) -> SyntheticSet:
    """Make a clip set: a person performs an action somewhere among others, on a moving background.

    On disk it is a folder of class folders, with `groups.csv` and `splits/`, and with the actor's
    exact mask in every frame in `annotations/`. All that could give an action away but the
    movement itself (background, camera, light, clothes, size, place, bystanders) is drawn once
    for a group, which has one clip of every action. The same settings give the same bytes.
    Interrupted, the same call goes on where it was.

    Args:
        out: folder for the set.
        preset: how hard the actor is to find: `easy` alone, `standard` beside someone idle,
            `hard` small, from any side, among people who move, `cue` in a bright shirt among
            people who perform other actions of the set.
        quick: a miniature with few groups, made in seconds.
        groups: how many groups, at least 3; 120 if not given. Of every ten, seven train, one
            validates and two test.
        seed: of everything that is drawn.
        photos: folder of pictures, for up to half of the backgrounds; if not given, the two
            photographs that scikit-learn brings, for a few.
        motions: folder of BVH files in one folder per action; if not given, six actions performed
            by formula.
        workers: processes that work at once; one per core if not given.

    Returns:
        What was made.

    Raises:
        GlimpsesError: `out` holds something else, a given folder is of no use, or the disk is
            full.
    """
    out = Path(out)
    if not 0 <= seed < 2**32:
        raise GlimpsesError(f"--seed {seed}: must be from 0 to {2**32 - 1}")
    if preset not in PRESETS:
        raise GlimpsesError(f"--preset {preset}: there are {', '.join(PRESETS)}")
    count = groups if groups is not None else _QUICK_GROUPS if quick else _GROUPS
    if count < 3:
        raise GlimpsesError(f"--groups {count}: must be at least 3, to train, validate and test")
    if workers is not None and workers < 1:
        raise GlimpsesError(f"--workers {workers}: must be at least 1")
    pictures = background.pictures_in(photos) if photos else photographs()
    dealt = _deal(pictures)
    takes = takes_in(motions) if motions else {action: {} for action in sorted(ACTIONS)}
    sides = _sides(count)
    settings = {
        "version": _VERSION,
        "preset": preset,
        "groups": count,
        "seed": seed,
        "photos": [file.name for file in pictures],
        "takes": {
            action: sorted(f"{side}/{file.name}" for side in own for file in own[side])
            for action, own in takes.items()
        },
    }
    _prepare(out, settings)
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]
    made = {"version": _VERSION, "preset": preset, "seed": seed, "settings": digest}
    jobs = [
        GroupJob(
            out=out,
            group=group,
            seed=seed,
            preset=preset,
            actions={name: own.get(side, ()) for name, own in takes.items()},
            photos=dealt[side],
            made=made,
        )
        for group, side in enumerate(sides)
    ]
    _make(jobs, len(takes), workers or os.cpu_count() or 1)
    _write_lists(out, tuple(takes), sides)
    totals = {side: sides.count(side) for side in ("train", "validation", "test")}
    return SyntheticSet(out, tuple(takes), totals)


def photographs() -> list[Path]:
    # Imported here: it takes 0.7 s, and reading annotations does not need it.
    import sklearn.datasets

    folder = Path(sklearn.datasets.__file__).parent / "images"
    return sorted(folder.glob("*.jpg"))


def _sides(count: int) -> list[str]:
    """On which side of the split each group is."""
    test = max(1, round(0.2 * count))
    validation = max(1, round(0.1 * count))
    return ["train"] * (count - test - validation) + ["validation"] * validation + ["test"] * test


def _deal(files: Sequence[Path]) -> dict[str, tuple[Path, ...]]:
    """Photographs for each side of the split."""
    return {
        side: tuple(file for number, file in enumerate(files) if _DEAL[number % len(_DEAL)] == side)
        for side in _DEAL
    }


def _prepare(out: Path, settings: dict[str, Any]) -> None:
    """Make the folder, or make sure that what is in it is the same set."""
    record = out / _RECORD
    if out.exists() and not out.is_dir():
        raise GlimpsesError(f"{out}: is a file; give a folder")
    if record.exists():
        try:
            before = json.loads(record.read_text())
        except (OSError, ValueError):
            before = None
        if before != settings:
            raise GlimpsesError(
                f"{out}: holds a clip set with other settings; give another folder or remove it"
            )
    elif out.is_dir() and any(out.iterdir()):
        raise GlimpsesError(f"{out}: is not empty and holds no generated set; give a new folder")
    else:
        with atomic_write(record) as part:
            part.write_text(json.dumps(settings, indent=1, sort_keys=True) + "\n")


def _make(jobs: list[GroupJob], actions: int, workers: int) -> None:
    total = actions * len(jobs)
    with progress.bar("making clips", total) as bar:
        if workers == 1:
            for job in jobs:
                bar.advance(make_group(job))
            return
        # Not forked: a fork of a process with PyTorch's threads may never wake up.
        pool = ProcessPoolExecutor(workers, get_context("spawn"))
        try:
            for done in as_completed([pool.submit(make_group, job) for job in jobs]):
                bar.advance(done.result())
        except BrokenProcessPool as error:
            raise GlimpsesError(
                "a worker process died; run the same again to go on, with --workers 1 if it "
                "happens again (from a script, call this under if __name__ == '__main__')"
            ) from error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _write_lists(out: Path, actions: tuple[str, ...], sides: list[str]) -> None:
    rows = sorted(
        (clip_id(action, group), action, f"{group:03}", side)
        for group, side in enumerate(sides)
        for action in actions
    )
    with atomic_write(out / "groups.csv") as part:
        lines = ["clip,label,group", *(",".join(row[:3]) for row in rows)]
        part.write_text("\n".join(lines) + "\n")
    for side in ("train", "validation", "test"):
        with atomic_write(out / "splits" / f"{side}.txt") as part:
            part.write_text("".join(f"{row[0]}\n" for row in rows if row[3] == side))
