"""Import of the authors' feature files into a data set."""

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
    FRAME_SIZE,
    SLAB,
    SUBSETS,
    ClipRows,
    Order,
    SubsetLists,
    open_rows,
    read_classes,
    read_lists,
)
from glimpses.utils import progress
from glimpses.utils.errors import GlimpsesError
from glimpses.utils.files import check_free_space, check_writable, format_size, quote_path

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ImportedFeatures:
    """Data set made from the authors' feature files.

    Attributes:
        out: folder of the data set.
        classes: names of the actions.
        clips: number of clips in each subset of the split.
        frames: number of feature cubes of all clips.
    """

    out: Path
    classes: tuple[str, ...]
    clips: Mapping[str, int]
    frames: int

    def to_json(self) -> dict[str, Any]:
        """Return the fields in a form that JSON can hold."""
        return {**vars(self), "out": str(self.out), "clips": dict(self.clips)}

    def __str__(self) -> str:
        counts = ", ".join(f"{count} {subset}" for subset, count in self.clips.items())
        return (
            f"{self.out}: {counts} clips of {len(self.classes)} classes, {self.frames} feature "
            f"cubes\nnext:\n  glimpses train {quote_path(self.out)} --out RUN "
            "--recipe authors-code"
        )


def import_features(
    folder: str | Path,
    /,
    *,
    out: str | Path,
    classes: str | Path | None = None,
    network: str = "googlenet",
    grid: int = 7,
    fps: float = FPS,
    order: Order = "column-major",
) -> ImportedFeatures:
    """Import the authors' feature files into a data set for `glimpses train`.

    If you interrupt it, the same call continues where it stopped.

    Args:
        folder: folder with `train_features.h5`, `train_framenum.txt`, `train_filename.txt` and
            `train_labels.txt`, or the same files with `valid_` or `test_`, or several of these.
        out: folder of the data set; created if it does not exist.
        classes: text file with the class names, one per line, in the order of the labels. By
            default `classes.txt` in the folder, else the folders of the videos.
        network: name of the network that computed the features; it is recorded in the data set.
        grid: side length K of the grid; the features have K*K places.
        fps: frames per second to keep of the authors' 30: every int(30 / fps)-th frame.
        order: order of the numbers in a row: "column-major" in the authors' files (Matlab), or
            "row-major" for NumPy arrays of shape (places, channels).

    Raises:
        GlimpsesError: a file is missing, damaged or contradicts another, or the disk is too small.
    """
    folder, out = Path(folder), Path(out)
    if not 0.1 <= fps <= FPS:
        raise GlimpsesError(f"--fps {fps:g}: must be from 0.1 to {FPS}, the rate of the files")
    if grid < 1:
        raise GlimpsesError(f"--grid {grid}: must be at least 1")
    _require_import_folder(out)
    subsets = read_lists(folder)
    names = _class_names(folder, subsets, None if classes is None else Path(classes))
    reader = _CubeReader(grid, order, step=int(FPS / fps))
    with ExitStack() as stack:
        opened = [(subset, stack.enter_context(open_rows(subset))) for subset in subsets]
        channels = _num_channels(opened, grid)
        clips = [clip for subset, rows in opened for clip in subset.clips(rows)]
        clips.sort(key=lambda clip: clip.id)
        total = sum(reader.count(clip) for clip in clips)
        needed = total * grid**2 * channels * 2
        log.info("%d clips, about %s of features in %s", len(clips), format_size(needed), out)
        store = CubeStore(out / feature_set.CUBES)
        digests = {clip.id: reader.digest(clip) for clip in clips}
        _require_same_features(out, digests)
        missing = [clip for clip in clips if not store.is_intact(digests[clip.id])]
        if missing:
            check_free_space(
                out,
                sum(reader.count(clip) for clip in missing) * needed / total,
                "lower --fps or give --out a folder on a larger disk",
            )
        with progress.bar("importing features", sum(map(reader.count, missing))) as bar:
            for clip in missing:
                _store_cubes(clip, reader, store, digests[clip.id])
                bar.advance(reader.count(clip))
    # Without a training and a test part, the split is made later.
    has_split = {subset.prefix for subset in subsets} >= {"train", "test"}
    groups, grouped = _groups(folder, clips, has_split=has_split)
    feature_set.write(
        out,
        FeatureSet(
            classes=names,
            multi_label=subsets[0].num_flags is not None,
            grouped=grouped,
            backbone=f"authors:{network}",
            weights="unknown",
            fps=FPS / reader.step,
            size=FRAME_SIZE,
            grid=grid,
            channels=channels,
            clips=tuple(
                FeatureClip(
                    id=clip.id, labels=clip.labels, group=groups[clip.id],
                    frames=reader.count(clip), subset=clip.subset if has_split else None,
                    digest=digests[clip.id],
                )
                for clip in clips
            ),
        ),
    )  # fmt: skip
    counts = {SUBSETS[subset.prefix]: len(subset.names) for subset in subsets}
    return ImportedFeatures(out, names, counts, total)


@dataclass(frozen=True)
class _CubeReader:
    """Converter from rows of the authors' files to feature cubes."""

    grid: int
    order: Order
    step: int

    def count(self, clip: ClipRows) -> int:
        """Return the number of cubes of a clip."""
        return -(-clip.frames // self.step)

    def cubes(self, clip: ClipRows, start: int, stop: int) -> Float16[np.ndarray, "N P D"]:
        """Read cubes `start` to `stop` of a clip."""
        last = min(stop * self.step, clip.frames)
        rows = clip.read(start * self.step, last, self.step)
        # Written with `not` because every comparison with a NaN is false.
        if not np.abs(rows).max() <= np.finfo(np.float16).max:
            raise GlimpsesError(
                f"{clip.file}: the features of {clip.id} contain NaN or numbers too large for "
                "half precision; create the file again"
            )
        places = self.grid**2
        if self.order == "column-major":
            cubes = rows.reshape(len(rows), -1, places).transpose(0, 2, 1)
        else:
            cubes = rows.reshape(len(rows), places, -1)
        return cubes.astype(np.float16, order="C")

    def digest(self, clip: ClipRows) -> str:
        """Return a digest of a clip's name, length, first and last frame, and the settings."""
        last = clip.frames - 1
        settings = (clip.id, clip.frames, self.grid, self.order, self.step)
        digest = hashlib.sha256(repr(settings).encode())
        digest.update(clip.read(0, 1, 1).tobytes())
        digest.update(clip.read(last, last + 1, 1).tobytes())
        return digest.hexdigest()


def _store_cubes(clip: ClipRows, reader: _CubeReader, store: CubeStore, digest: str) -> None:
    """Write the cubes of one clip that are not stored yet."""
    total = reader.count(clip)
    for start in range(store.frames_done(digest), total, FRAMES_PER_PART):
        stop = min(start + FRAMES_PER_PART, total)
        slabs = [
            reader.cubes(clip, first, min(first + SLAB, stop)) for first in range(start, stop, SLAB)
        ]
        store.write_part(digest, start // FRAMES_PER_PART, np.concatenate(slabs))
    store.finish(digest, [frame * reader.step / FPS for frame in range(total)], None)


def _require_import_folder(out: Path) -> None:
    """Refuse a folder with files that no import writes."""
    check_writable(out)
    allowed = (feature_set.INDEX, feature_set.CUBES)
    names = {file.name for file in out.iterdir()} if out.is_dir() else set()
    if any(name not in allowed and not name.startswith(".part-") for name in names):
        raise GlimpsesError(
            f"{out}: is not empty and has no imported features; give --out a new folder"
        )


def _require_same_features(out: Path, digests: Mapping[str, str]) -> None:
    """Refuse to import other features into a finished import."""
    if feature_set.matches(out):
        imported = {clip.id: clip.digest for clip in feature_set.read(out).clips}
        if imported != digests:
            raise GlimpsesError(f"{out}: holds other features; give --out a new folder")


def _num_channels(opened: Sequence[tuple[SubsetLists, Any]], grid: int) -> int:
    """Return the number of channels D, which must be the same in all files."""
    for subset, rows in opened:
        if rows.shape[1] % grid**2 or not rows.shape[1]:
            raise GlimpsesError(
                f"{subset.features_file}: {rows.shape[1]} numbers per frame do not fit a grid of "
                f"{grid} x {grid} places; set --grid"
            )
        if rows.shape[1] != opened[0][1].shape[1]:
            raise GlimpsesError(
                f"{subset.features_file}: has {rows.shape[1]} numbers per frame, but "
                f"{opened[0][0].features_file.name} has {opened[0][1].shape[1]}; the files do not "
                "belong together"
            )
    return int(opened[0][1].shape[1]) // grid**2


def _class_names(
    folder: Path, subsets: Sequence[SubsetLists], classes: Path | None
) -> tuple[str, ...]:
    """Return class names from a list, from the folders of the videos, or as numbers."""
    file = folder / CLASSES if classes is None else classes
    if classes is None and not file.is_file():
        return _class_names_from_folders(folder, subsets)
    names = read_classes(file)
    for subset in subsets:
        for number, labels in enumerate(subset.labels, start=1):
            if (subset.num_flags or max(labels) + 1) > len(names):
                raise GlimpsesError(
                    f"{subset.text_file('labels')}: line {number} has more classes than {file}, "
                    f"which lists {len(names)}"
                )
    return names


def _class_names_from_folders(folder: Path, subsets: Sequence[SubsetLists]) -> tuple[str, ...]:
    """Name classes after the videos' folders if each class has a folder of its own."""
    clips = [clip for subset in subsets for clip in zip(subset.names, subset.labels, strict=True)]
    count = subsets[0].num_flags or max(label for _, labels in clips for label in labels) + 1
    names = {label: f"class {label}" for label in range(count)}
    pairs = {
        (label, name.rpartition("/")[0].split("/")[0])
        for name, labels in clips
        for label in labels[:1]
    }
    folder_of_label = dict(pairs)
    one_to_one = len(pairs) == len(folder_of_label) == len({*folder_of_label.values()} - {""})
    if subsets[0].num_flags is None and one_to_one:
        names |= folder_of_label
    else:
        log.warning("%s: the classes have no names; give them with --classes FILE", folder)
    return tuple(names[label] for label in range(count))


def _groups(
    folder: Path, clips: Sequence[ClipRows], *, has_split: bool
) -> tuple[dict[str, str], bool]:
    """Return the recording of every clip, and whether recordings are known at all."""
    recordings, _ = read_groups(folder, {clip.id: clip.id.split("/")[0] for clip in clips})
    groups = {clip.id: recordings.get(clip.id, clip.id) for clip in clips}
    subsets: dict[str, set[str]] = defaultdict(set)
    for clip in clips:
        subsets[groups[clip.id]].add(clip.subset)
    divided = {group for group, names in subsets.items() if has_split and len(names) > 1}
    if divided:
        log.warning(
            "%s: %d recordings have clips in several subsets of the split (%s, ...); the authors' "
            "split is kept", folder, len(divided), min(divided),
        )  # fmt: skip
    for clip in clips:
        if groups[clip.id] in divided:
            groups[clip.id] += f" ({clip.subset})"
    return groups, bool(recordings)
