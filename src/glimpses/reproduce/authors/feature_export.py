"""The features of a data set, written as the authors' code reads them."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glimpses import datasets
from glimpses.datasets import ActionDataset, Clip
from glimpses.features import Features, open_features
from glimpses.reproduce.authors.file_formats import (
    ARRAY,
    CLASSES,
    FPS,
    SIDES,
    SLAB,
    load_h5py,
    write_lines,
)
from glimpses.utils import progress
from glimpses.utils.errors import GlimpsesError, pluralise
from glimpses.utils.files import atomic_write, check_free_space, format_size
from glimpses.video import FrameRate

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ExportedFeatures:
    """The authors' files made of a data set.

    Attributes:
        out: their folder.
        clips: how many on each side of the split.
        failures: why the others could not be read, by clip id; one line each.
    """

    out: Path
    clips: Mapping[str, int]
    failures: Mapping[str, str]

    @property
    def ok(self) -> bool:
        """Whether every clip could be read."""
        return not self.failures

    @property
    def complaints(self) -> tuple[str, ...]:
        """One line if clips could not be read."""
        if self.ok:
            return ()
        return (f"{pluralise(len(self.failures), 'clip')} could not be read; see above",)

    def to_json(self) -> dict[str, Any]:
        """Everything, for programs."""
        return {"out": str(self.out), "clips": dict(self.clips), "failures": dict(self.failures)}

    def __str__(self) -> str:
        sides = ", ".join(f"{count} {side}" for side, count in self.clips.items())
        return f"{self.out}: features of {sides} clips, in the form of the authors' files"


def export_features(
    data: Path,
    /,
    *,
    out: Path,
    backbone: str = "efficientnet_lite0",
    fps: FrameRate = float(FPS),
    store: Path | None = None,
    device: str = "cpu",
    split: str | None = None,
    folds: int = 5,
    fold: int = 0,
    seed: int = 0,
) -> ExportedFeatures:
    """Write the features of a folder of clips as the authors' code reads them.

    Args:
        data: folder with one folder of clips per action, or of imported features.
        out: folder of the files; they are replaced if they are there.
        backbone: CNN and stage, with 7x7 places as their code expects; the features of
            `googlenet` have the shape of theirs in all.
        fps: frames per second to sample; their code takes the features for 30 a second.
        store: where features are kept; by default in the user's cache folder.
        device: "cpu" or "cuda".
        split: name of one of the data set's own splits, or "folds" to deal sources anew; by default
            its first one, if it has any.
        folds: into how many parts the source videos are dealt; one of them is the test set.
        fold: which of them, from 0.
        seed: of the split.

    Returns:
        What was written.

    Raises:
        GlimpsesError: the data cannot be used, or the disk is too small.
    """
    load_h5py()
    data, out = Path(data), Path(out)
    dataset = datasets.load(data)
    for clip in dataset.clips:
        if len(clip.id.splitlines()) > 1 or clip.id != clip.id.strip():
            raise GlimpsesError(
                f"{clip.path}: a name with a line break, or a space at an end, cannot be listed in "
                "the authors' files; rename it"
            )
    divided = datasets.split(dataset, split, folds=folds, fold=fold, seed=seed)
    used = [clip for name in SIDES.values() for clip in getattr(divided, name)]
    features = open_features(
        dataset, backbone, clips=used, fps=fps, feature_dir=store, device=device
    )
    sides = {
        prefix: [clip for clip in getattr(divided, name) if clip.id in features.clips]
        for prefix, name in SIDES.items()
    }
    frames = sum(len(features.clips[clip.id]) for clips in sides.values() for clip in clips)
    needed = frames * features.grid**2 * features.channels * 4
    log.info("%d frames, %s in %s", frames, format_size(needed), out)
    check_free_space(out, needed, "lower --fps or give --out a folder on a larger disk")
    with progress.bar("exporting features", frames) as bar:
        for prefix, clips in sides.items():
            _write_rows(out / f"{prefix}_features.h5", clips, features, bar)
            _write_lists(out, prefix, clips, features, dataset)
    write_lines(out / CLASSES, dataset.classes)
    counts = {SIDES[prefix]: len(clips) for prefix, clips in sides.items()}
    return ExportedFeatures(out, counts, dict(features.failures))


def _write_rows(file: Path, clips: Sequence[Clip], features: Features, bar: progress.Bar) -> None:
    """Write the HDF5 file of a side: frame after frame, places before channels."""
    frames = sum(len(features.clips[clip.id]) for clip in clips)
    width = features.grid**2 * features.channels
    with atomic_write(file) as part, load_h5py().File(part, "w") as opened:
        rows = opened.create_dataset(
            ARRAY, (frames, width), "<f4", maxshape=(None, None), chunks=(1, width)
        )
        done = 0
        for clip in clips:
            own = features.clips[clip.id]
            for start in range(0, len(own), SLAB):
                cubes = own.block(start, SLAB).float().numpy()
                rows[done : done + len(cubes)] = cubes.transpose(0, 2, 1).reshape(len(cubes), -1)
                done += len(cubes)
                bar.advance(len(cubes))


def _write_lists(
    out: Path, prefix: str, clips: Sequence[Clip], features: Features, dataset: ActionDataset
) -> None:
    """Write the three text files of a side."""

    def label(clip: Clip) -> str:
        if not dataset.multi_label:
            return str(clip.labels[0])
        classes = range(len(dataset.classes))
        return ",".join("1" if label in clip.labels else "0" for label in classes)

    frames = [str(len(features.clips[clip.id])) for clip in clips]
    write_lines(out / f"{prefix}_framenum.txt", frames)
    write_lines(out / f"{prefix}_filename.txt", [clip.id for clip in clips])
    write_lines(out / f"{prefix}_labels.txt", [label(clip) for clip in clips])
