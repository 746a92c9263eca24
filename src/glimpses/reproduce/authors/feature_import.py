"""The authors' feature files become a data set that training and evaluation take like clips."""

from __future__ import annotations

import hashlib
import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float16

from glimpses.datasets.groups import read_groups
from glimpses.datasets.layouts import feature_set
from glimpses.datasets.layouts.feature_set import FeatureClip, FeatureSet
from glimpses.features import FRAMES_PER_PART, CubeStore
from glimpses.reproduce.authors.file_formats import (
    CLASSES,
    FPS,
    SIDES,
    SLAB,
    Order,
    Rows,
    Side,
    read_classes,
    read_sides,
    rows_of,
)
from glimpses.utils import progress
from glimpses.utils.errors import GlimpsesError
from glimpses.utils.files import check_free_space, check_writable, format_size

log = logging.getLogger(__name__)

# Side of the frames that the authors gave their CNN, in pixels.
_SIZE = 224


@dataclass(frozen=True)
class ImportedFeatures:
    """A data set made of the authors' files.

    Attributes:
        out: its folder.
        classes: names of the actions.
        clips: how many on each side of the split.
        frames: feature cubes of all clips together.
    """

    out: Path
    classes: tuple[str, ...]
    clips: Mapping[str, int]
    frames: int

    def to_json(self) -> dict[str, Any]:
        """Everything, for programs."""
        return {**vars(self), "out": str(self.out), "clips": dict(self.clips)}

    def __str__(self) -> str:
        sides = ", ".join(f"{count} {side}" for side, count in self.clips.items())
        return (
            f"{self.out}: {sides} clips of {len(self.classes)} classes, {self.frames} feature "
            f"cubes\nnext:\n  glimpses train {self.out} --out RUN --model authors"
        )


def import_features(
    folder: Path,
    /,
    *,
    out: Path,
    classes: Path | None = None,
    network: str = "googlenet",
    grid: int = 7,
    fps: float = FPS,
    order: Order = "column-major",
) -> ImportedFeatures:
    """Make a data set of the authors' feature files; `glimpses train` takes it like clips.

    Interrupted, the same call goes on where it was.

    Args:
        folder: holds `train_features.h5`, `train_framenum.txt`, `train_filename.txt` and
            `train_labels.txt`, or the same with `valid_` or `test_`, or several of these.
        out: folder of the data set; made if it is not there.
        classes: text file with the names of the classes, one a line, in the order of their
            numbers; if not given, `classes.txt` in the folder, else the videos' folders.
        network: what made the features, for the record.
        grid: K, the features have K*K places.
        fps: frames per second to keep of their 30: every int(30 / fps)-th of each clip.
        order: of the numbers in a row: "column-major" as the authors' (Matlab), or "row-major" as
            NumPy writes an array (places, channels).

    Returns:
        What was made.

    Raises:
        GlimpsesError: a file is missing, damaged or contradicts another, or the disk is too small.
    """
    folder, out = Path(folder), Path(out)
    if not 0.1 <= fps <= FPS:
        raise GlimpsesError(f"--fps {fps:g}: must be from 0.1 to {FPS}, the files' own")
    if grid < 1:
        raise GlimpsesError(f"--grid {grid}: must be at least 1")
    _require_place(out)
    sides = read_sides(folder)
    names = _class_names(folder, sides, classes)
    layout = _Layout(grid, order, step=int(FPS / fps))
    with ExitStack() as stack:
        opened = [(side, stack.enter_context(rows_of(side))) for side in sides]
        channels = _channels(opened, grid)
        clips = sorted(
            (clip for side, rows in opened for clip in side.clips(rows)), key=lambda clip: clip.id
        )
        total = sum(layout.count(clip) for clip in clips)
        needed = total * grid**2 * channels * 2
        log.info("%d clips, about %s of features in %s", len(clips), format_size(needed), out)
        store = CubeStore(out / feature_set.CUBES)
        digests = {clip.id: layout.digest(clip) for clip in clips}
        _require_same(out, digests)
        missing = [clip for clip in clips if not store.has(digests[clip.id])]
        if missing:
            store.sweep()
            check_free_space(
                out,
                sum(layout.count(clip) for clip in missing) * needed / total,
                "lower --fps or give --out a folder on a larger disk",
            )
        with progress.bar("importing features", sum(map(layout.count, missing))) as bar:
            for clip in missing:
                _store(clip, layout, store, digests[clip.id])
                bar.advance(layout.count(clip))
    # Without both, what there is has yet to be divided.
    divided = {side.prefix for side in sides} >= {"train", "test"}
    groups, grouped = _groups(folder, clips, divided=divided)
    feature_set.write(
        out,
        FeatureSet(
            classes=names,
            multi_label=sides[0].width is not None,
            grouped=grouped,
            backbone=f"authors:{network}",
            weights="unknown",
            fps=FPS / layout.step,
            size=_SIZE,
            grid=grid,
            channels=channels,
            clips=tuple(
                FeatureClip(
                    id=clip.id,
                    labels=clip.labels,
                    group=groups[clip.id],
                    frames=layout.count(clip),
                    side=clip.side if divided else None,
                    digest=digests[clip.id],
                )
                for clip in clips
            ),
        ),
    )
    counts = {SIDES[side.prefix]: len(side.names) for side in sides}
    return ImportedFeatures(out, names, counts, total)


@dataclass(frozen=True)
class _Layout:
    """How rows become cubes."""

    grid: int
    order: Order
    step: int

    def count(self, clip: Rows) -> int:
        """How many cubes a clip gives."""
        return -(-clip.frames // self.step)

    def cubes(self, clip: Rows, start: int, stop: int) -> Float16[np.ndarray, "N P D"]:
        """Cubes `start` to `stop` of a clip."""
        last = min(stop * self.step, clip.frames)
        rows = clip.read(start * self.step, last, self.step)
        # A NaN fails every comparison.
        if not np.abs(rows).max() <= np.finfo(np.float16).max:
            raise GlimpsesError(
                f"{clip.file}: the features of {clip.id} hold numbers that are none "
                "or too large for half precision; make the file again"
            )
        places = self.grid**2
        if self.order == "column-major":
            cubes = rows.reshape(len(rows), -1, places).transpose(0, 2, 1)
        else:
            cubes = rows.reshape(len(rows), places, -1)
        return cubes.astype(np.float16, order="C")

    def digest(self, clip: Rows) -> str:
        """Name of a clip's cubes: of its own name and size, and its first and last frame."""
        last = clip.frames - 1
        known = hashlib.sha256(repr((clip.id, clip.frames, self)).encode())
        known.update(clip.read(0, 1, 1).tobytes())
        known.update(clip.read(last, last + 1, 1).tobytes())
        return known.hexdigest()


def _store(clip: Rows, layout: _Layout, store: CubeStore, digest: str) -> None:
    """Write what is not there yet of the cubes of one clip."""
    total = layout.count(clip)
    for start in range(store.frames_done(digest), total, FRAMES_PER_PART):
        stop = min(start + FRAMES_PER_PART, total)
        slabs = [
            layout.cubes(clip, first, min(first + SLAB, stop)) for first in range(start, stop, SLAB)
        ]
        store.write_part(digest, start // FRAMES_PER_PART, np.concatenate(slabs))
    store.finish(digest, [frame * layout.step / FPS for frame in range(total)], None)


def _require_place(out: Path) -> None:
    check_writable(out)
    own = (feature_set.INDEX, feature_set.CUBES)
    names = {file.name for file in out.iterdir()} if out.is_dir() else set()
    if any(name not in own and not name.startswith(".part-") for name in names):
        raise GlimpsesError(
            f"{out}: is not empty and holds no imported features; give --out a new folder"
        )


def _require_same(out: Path, digests: Mapping[str, str]) -> None:
    """Refuse to import other features into a finished import."""
    if feature_set.recognise(out):
        known = {clip.id: clip.digest for clip in feature_set.read(out).clips}
        if known != digests:
            raise GlimpsesError(f"{out}: holds other features; give --out a new folder")


def _channels(opened: Sequence[tuple[Side, Any]], grid: int) -> int:
    """How many channels the features have, D."""
    for side, rows in opened:
        if rows.shape[1] % grid**2 or not rows.shape[1]:
            raise GlimpsesError(
                f"{side.features}: {rows.shape[1]} numbers a frame are no {grid} x {grid} places; "
                "give the right --grid"
            )
        if rows.shape[1] != opened[0][1].shape[1]:
            raise GlimpsesError(
                f"{side.features}: has {rows.shape[1]} numbers a frame, but "
                f"{opened[0][0].features.name} has {opened[0][1].shape[1]}; they do not belong "
                "together"
            )
    return int(opened[0][1].shape[1]) // grid**2


def _class_names(folder: Path, sides: Sequence[Side], given: Path | None) -> tuple[str, ...]:
    """Names of the classes: listed, or those of the videos' folders, or plain numbers."""
    listed = folder / CLASSES if given is None else Path(given)
    if given is None and not listed.is_file():
        return _told_by_folders(folder, sides)
    names = read_classes(listed)
    for side in sides:
        for number, labels in enumerate(side.labels, start=1):
            if (side.width or max(labels) + 1) > len(names):
                raise GlimpsesError(
                    f"{side.list('labels')}: line {number} has more classes than the {len(names)} "
                    f"that {listed} names"
                )
    return names


def _told_by_folders(folder: Path, sides: Sequence[Side]) -> tuple[str, ...]:
    """Names by the folders of the videos, where each class has one to itself; else numbers."""
    clips = [pair for side in sides for pair in zip(side.names, side.labels, strict=True)]
    count = sides[0].width or max(label for _, labels in clips for label in labels) + 1
    names = {label: f"class {label}" for label in range(count)}
    pairs = {(label, name.rpartition("/")[0].split("/")[0]) for name, labels in clips
             for label in labels[:1]}  # fmt: skip
    own = dict(pairs)
    telling = len(pairs) == len(own) == len({*own.values()} - {""})
    if sides[0].width is None and telling:
        names |= own
    else:
        log.warning("%s: nothing names the classes; --classes FILE would", folder)
    return tuple(names[label] for label in range(count))


def _groups(folder: Path, clips: Sequence[Rows], *, divided: bool) -> tuple[dict[str, str], bool]:
    """Which recording each clip is from, and whether that is known."""
    known, _ = read_groups(folder, [clip.id for clip in clips])
    groups = {clip.id: known.get(clip.id, clip.id) for clip in clips}
    sides: dict[str, set[str]] = defaultdict(set)
    for clip in clips:
        sides[groups[clip.id]].add(clip.side)
    torn = {group for group, own in sides.items() if divided and len(own) > 1}
    if torn:
        log.warning(
            "%s: %d recordings have clips on several sides (%s, ...); the authors' sides are kept "
            "as they are",
            folder,
            len(torn),
            min(torn),
        )
    for clip in clips:
        if groups[clip.id] in torn:
            groups[clip.id] += f" ({clip.side})"
    return groups, bool(known)
