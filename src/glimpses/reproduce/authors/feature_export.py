"""Export of a data set's features to the authors' file format."""

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
    SLAB,
    SUBSETS,
    load_h5py,
    write_lines,
)
from glimpses.utils import progress
from glimpses.utils.errors import GlimpsesError, describe_unreadable
from glimpses.utils.files import atomic_write, check_free_space, format_size
from glimpses.video import FrameRate

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ExportedFeatures:
    """Files in the authors' format, written from a data set.

    Attributes:
        out: folder of the files.
        clips: number of clips in each subset of the split.
        failures: reason for each clip that could not be read, by clip id; one line each.
    """

    out: Path
    clips: Mapping[str, int]
    failures: Mapping[str, str]

    @property
    def ok(self) -> bool:
        """True if every clip could be read."""
        return not self.failures

    @property
    def complaints(self) -> tuple[str, ...]:
        """Error lines: one line if clips could not be read."""
        return describe_unreadable(self.failures, sum(self.clips.values()) + len(self.failures))

    def to_json(self) -> dict[str, Any]:
        """Return the fields in a form that JSON can hold."""
        return {"out": str(self.out), "clips": dict(self.clips), "failures": dict(self.failures)}

    def __str__(self) -> str:
        counts = ", ".join(f"{count} {subset}" for subset, count in self.clips.items())
        return f"{self.out}: features of {counts} clips in the authors' format"


def export_features(
    data: str | Path,
    /,
    *,
    out: str | Path,
    backbone: str = "efficientnet_lite0",
    fps: FrameRate = float(FPS),
    feature_dir: str | Path | None = None,
    device: str = "cpu",
    split: str | None = None,
    folds: int = 5,
    fold: int = 0,
    seed: int = 0,
) -> ExportedFeatures:
    """Write the features of a data set in the file format of the authors' code.

    Args:
        data: folder of clips with one folder per action, or of imported features.
        out: folder of the files; existing files are replaced.
        backbone: CNN and stage. The authors' code expects 7x7 places. `googlenet_bvlc` is the CNN
            of their features.
        fps: frames per second to sample; the authors' code assumes 30.
        feature_dir: folder of stored features; by default in the user's cache folder.
        device: "cpu" or "cuda".
        split: name of one of the data set's own splits, or "folds" to make a new one by source
            video; by default the data set's first split, if it has any.
        folds: number of folds of a new split; one of them is the test set.
        fold: index of the test fold, from 0.
        seed: seed of a new split.

    Raises:
        GlimpsesError: the data cannot be used, or the disk is too small.
    """
    load_h5py()
    data, out = Path(data), Path(out)
    dataset = datasets.load(data)
    for clip in dataset.clips:
        if len(clip.id.splitlines()) > 1 or clip.id != clip.id.strip():
            raise GlimpsesError(
                f"{clip.path}: the authors' format cannot list a name with a line break or with a "
                "space at either end; rename the file"
            )
    subsets = datasets.split(dataset, split, folds=folds, fold=fold, seed=seed)
    used = [clip for name in SUBSETS.values() for clip in getattr(subsets, name)]
    features = open_features(
        dataset, backbone, clips=used, fps=fps, device=device,
        feature_dir=None if feature_dir is None else Path(feature_dir),
    )  # fmt: skip
    clips_of = {
        prefix: [clip for clip in getattr(subsets, name) if clip.id in features.clips]
        for prefix, name in SUBSETS.items()
    }
    frames = sum(len(features.clips[clip.id]) for clips in clips_of.values() for clip in clips)
    needed = frames * features.grid**2 * features.channels * 4
    log.info("%d frames, %s in %s", frames, format_size(needed), out)
    check_free_space(out, needed, "lower --fps or give --out a folder on a larger disk")
    with progress.bar("exporting features", frames) as bar:
        for prefix, clips in clips_of.items():
            _write_rows(out / f"{prefix}_features.h5", clips, features, bar)
            _write_lists(out, prefix, clips, features, dataset)
    write_lines(out / CLASSES, dataset.classes)
    counts = {SUBSETS[prefix]: len(clips) for prefix, clips in clips_of.items()}
    return ExportedFeatures(out, counts, dict(features.failures))


def _write_rows(file: Path, clips: Sequence[Clip], features: Features, bar: progress.Bar) -> None:
    """Write the HDF5 file of a subset: one row per frame, in column-major order."""
    frames = sum(len(features.clips[clip.id]) for clip in clips)
    width = features.grid**2 * features.channels
    with atomic_write(file) as part, load_h5py().File(part, "w", locking=False) as opened:
        rows = opened.create_dataset(
            ARRAY, (frames, width), "<f4", maxshape=(None, None), chunks=(1, width)
        )
        done = 0
        for clip in clips:
            stored = features.clips[clip.id]
            for start in range(0, len(stored), SLAB):
                cubes = stored.block(start, SLAB).float().numpy()
                rows[done : done + len(cubes)] = cubes.transpose(0, 2, 1).reshape(len(cubes), -1)
                done += len(cubes)
                bar.advance(len(cubes))


def _write_lists(
    out: Path, prefix: str, clips: Sequence[Clip], features: Features, dataset: ActionDataset
) -> None:
    """Write the three text files of a subset."""

    def label_text(clip: Clip) -> str:
        if not dataset.multi_label:
            return str(clip.labels[0])
        classes = range(len(dataset.classes))
        return ",".join("1" if label in clip.labels else "0" for label in classes)

    frames = [str(len(features.clips[clip.id])) for clip in clips]
    write_lines(out / f"{prefix}_framenum.txt", frames)
    write_lines(out / f"{prefix}_filename.txt", [clip.id for clip in clips])
    write_lines(out / f"{prefix}_labels.txt", [label_text(clip) for clip in clips])
