"""Generation of a set of synthetic clips with exact masks of the actor."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import cycle
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Literal

from glimpses.datasets.synthetic import background
from glimpses.datasets.synthetic.clips import PRESETS, GroupJob, clip_id, render_group
from glimpses.datasets.synthetic.mocap import assign_takes
from glimpses.datasets.synthetic.motions import ACTIONS
from glimpses.datasets.synthetic.untrimmed import recording_id, render_recording, segments_of
from glimpses.segments import write_segments
from glimpses.utils import progress
from glimpses.utils.errors import GlimpsesError
from glimpses.utils.files import atomic_write, quote_path, read_json

# Increase whenever the same settings give other pixels.
_VERSION = 1
_RECORD = "synthetic.json"
_GROUPS, _RECORDINGS, _QUICK_GROUPS = 120, 40, 10
# Subsets that photographs are assigned to in turn.
_PHOTO_SUBSETS = ("train", "test", "train", "validation", "train", "train")


@dataclass(frozen=True)
class SyntheticSet:
    """Result of `glimpses synthetic`.

    Attributes:
        out: folder of the clips.
        classes: names of the actions.
        groups: number of groups in each subset.
        untrimmed: whether the groups are recordings with several actions.
    """

    out: Path
    classes: tuple[str, ...]
    groups: dict[str, int]
    untrimmed: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return the result as a JSON-compatible dictionary."""
        return {
            "out": str(self.out), "classes": list(self.classes), "groups": self.groups,
            "untrimmed": self.untrimmed,
        }  # fmt: skip

    def __str__(self) -> str:
        clips = len(self.classes) * sum(self.groups.values())
        out = quote_path(self.out)
        groups = ", ".join(f"{count} {subset}" for subset, count in self.groups.items())
        if self.untrimmed:
            return (
                f"{self.out}: recordings of {', '.join(self.classes)}: {groups}\nnext:\n"
                f"  glimpses check {out}\n  glimpses train {out} --out runs/synthetic"
            )
        return (
            f"{self.out}: {clips} clips of {', '.join(self.classes)}; groups: {groups}\nnext:\n"
            f"  glimpses check {out}\n  glimpses train {out} --out runs/synthetic "
            "--recipe synthetic"
        )


def generate(
    out: str | Path,
    /,
    *,
    preset: Literal["easy", "standard", "hard", "cue"] = "standard",
    untrimmed: bool = False,
    quick: bool = False,
    groups: int | None = None,
    seed: int = 0,
    photos: str | Path | None = None,
    motions: str | Path | None = None,
    workers: int | None = None,
) -> SyntheticSet:
    """Generate synthetic clips of a person who performs an action, possibly among others.

    The result is a folder of class folders with `groups.csv`, `splits/` and, in `annotations/`, the
    actor's exact mask in every frame. Everything except the movement (background, camera, light,
    clothes, size, position, bystanders) is sampled once per group, and every group has one clip
    of each action. The same settings give the same bytes. After an interruption, the same command
    continues.

    Args:
        out: folder for the clips.
        preset: difficulty of finding the actor: `easy` is alone, `standard` beside an idle person,
            `hard` small, seen from any direction, among moving people, `cue` in a bright shirt
            among people who perform other actions of the set.
        untrimmed: generate one recording of 24 s for each group, in which the actor performs
            several actions with pauses, and a table of the segments.
        quick: generate only 10 groups, in seconds.
        groups: number of groups, at least 3; by default 120, or 40 untrimmed. Of ten groups, seven
            train, one validates and two test.
        seed: of all random choices.
        photos: folder of pictures, used for up to half of the backgrounds; by default the two
            photographs included in scikit-learn, used for a few.
        motions: folder with one folder of BVH files per action; by default six parametric actions.
        workers: number of processes; by default one per core.

    Raises:
        GlimpsesError: `out` contains something else, `photos` or `motions` cannot be used, or the
            disk is full.
    """
    out = Path(out)
    if not 0 <= seed < 2**32:
        raise GlimpsesError(f"--seed {seed}: must be from 0 to {2**32 - 1}")
    if preset not in PRESETS:
        raise GlimpsesError(f"--preset {preset}: must be one of {', '.join(PRESETS)}")
    default = _QUICK_GROUPS if quick else _RECORDINGS if untrimmed else _GROUPS
    count = default if groups is None else groups
    if count < 3:
        raise GlimpsesError(f"--groups {count}: must be at least 3, to train, validate and test")
    if workers is not None and workers < 1:
        raise GlimpsesError(f"--workers {workers}: must be at least 1")
    pictures = background.find_photos(Path(photos)) if photos else default_photos()
    photos_of: dict[str, list[Path]] = {subset: [] for subset in _PHOTO_SUBSETS}
    for photo, subset in zip(pictures, cycle(_PHOTO_SUBSETS), strict=False):
        photos_of[subset].append(photo)
    takes = assign_takes(Path(motions)) if motions else {action: {} for action in sorted(ACTIONS)}
    subsets = _assign_groups(count)
    settings: dict[str, Any] = {
        "version": _VERSION,
        "preset": preset,
        "groups": count,
        "seed": seed,
        "photos": [file.name for file in pictures],
        "takes": {
            action: sorted(f"{subset}/{file.name}" for subset in files for file in files[subset])
            for action, files in takes.items()
        },
    }
    if untrimmed:
        settings["untrimmed"] = True
    _prepare(out, settings)
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]
    provenance = {"version": _VERSION, "preset": preset, "seed": seed, "settings": digest}
    jobs = [
        GroupJob(out, group, seed, preset, actions, photos_of[subset], provenance)
        for group, subset in enumerate(subsets)
        for actions in [{action: files.get(subset, ()) for action, files in takes.items()}]
    ]
    render = render_recording if untrimmed else render_group
    _render(jobs, render, 1 if untrimmed else len(takes), workers or os.cpu_count() or 1)
    if untrimmed:
        write_segments(out / "segments.csv", [one for job in jobs for one in segments_of(job)])
        _write_splits(out, [(recording_id(job.group), subsets[job.group]) for job in jobs])
    else:
        _write_lists(out, tuple(takes), subsets)
    totals = {subset: subsets.count(subset) for subset in ("train", "validation", "test")}
    return SyntheticSet(out, tuple(takes), totals, untrimmed)


def default_photos() -> list[Path]:
    """Return the two photographs included in scikit-learn."""
    # Importing it takes 0.7 s, which reading annotations need not spend.
    import sklearn.datasets

    return sorted((Path(sklearn.datasets.__file__).parent / "images").glob("*.jpg"))


def _assign_groups(count: int) -> list[str]:
    """Return the subset of each group."""
    test, validation = max(1, round(0.2 * count)), max(1, round(0.1 * count))
    return ["train"] * (count - test - validation) + ["validation"] * validation + ["test"] * test


def _prepare(out: Path, settings: dict[str, Any]) -> None:
    """Create the folder, or check that it contains the same set."""
    record = out / _RECORD
    if out.exists() and not out.is_dir():
        raise GlimpsesError(f"{out}: is a file; give a folder")
    if record.exists():
        try:
            recorded = read_json(record)
        except (OSError, ValueError):
            recorded = None
        if recorded != settings:
            raise GlimpsesError(
                f"{out}: contains clips with other settings; choose another folder or remove it"
            )
    elif out.is_dir() and any(out.iterdir()):
        raise GlimpsesError(
            f"{out}: is not empty and contains no synthetic clips; choose a new folder"
        )
    else:
        with atomic_write(record) as part:
            part.write_text(json.dumps(settings, indent=1, sort_keys=True) + "\n")


def _render(
    jobs: list[GroupJob], render: Callable[[GroupJob], int], clips: int, workers: int
) -> None:
    with progress.bar("generating clips", clips * len(jobs)) as bar:
        if workers == 1:
            for job in jobs:
                bar.advance(render(job))
            return
        # Spawn: a fork of a process with PyTorch's threads may deadlock.
        pool = ProcessPoolExecutor(workers, get_context("spawn"))
        try:
            for future in as_completed([pool.submit(render, job) for job in jobs]):
                bar.advance(future.result())
        except BrokenProcessPool as error:
            raise GlimpsesError(
                "a worker process died; run the same command to continue, with --workers 1 if it "
                "happens again (from a script, call this under if __name__ == '__main__')"
            ) from error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _write_lists(out: Path, actions: tuple[str, ...], subsets: list[str]) -> None:
    rows = sorted(
        (clip_id(action, group), action, f"{group:03}", subset)
        for group, subset in enumerate(subsets)
        for action in actions
    )
    with atomic_write(out / "groups.csv") as part:
        lines = ["clip,label,group", *(",".join(row[:3]) for row in rows)]
        part.write_text("\n".join(lines) + "\n")
    _write_splits(out, [(row[0], row[3]) for row in rows])


def _write_splits(out: Path, clips: list[tuple[str, str]]) -> None:
    for subset in ("train", "validation", "test"):
        with atomic_write(out / "splits" / f"{subset}.txt") as part:
            part.write_text("".join(f"{clip}\n" for clip, side in clips if side == subset))
