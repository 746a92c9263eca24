"""Text and HDF5 files in which the authors' code stores features.

Each subset of the split (`train`, `valid`, `test`) has four files:

train_features.h5    HDF5 data set `features`, float32, (frames of all clips, K*K*D)
train_framenum.txt   number of frames of each clip, one per line
train_filename.txt   video of each clip, relative to the folder of all videos
train_labels.txt     class of each clip, from 0; for several actions a row like `0,1,0`

**Order of the numbers in a row.** The authors' loader (`util/data_handler.py`) reshapes a row to
(49, 1024) in column-major order: place p of channel d is number `p + 49 d`. The files do not record
which place of the picture p is. The authors' notebook draws attention row by row from the top left,
which is also our order, and Matlab's Caffe interface (width first) produces it. Files
made from Matlab arrays of shape (row, column, channel) would have rows and columns exchanged, and
nothing in the file would show it. For features written from Python the authors' notes recommend
row-major order: place p of channel d is then number `1024 p + d`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import numpy as np
from jaxtyping import Float32

from glimpses.utils.errors import GlimpsesError
from glimpses.utils.files import MAX_BYTES, atomic_write, read_text

#: Order of the numbers in a row: places vary fastest (column-major) or channels (row-major).
Order = Literal["column-major", "row-major"]

#: Our name of each subset of the split, by the authors' file prefix.
SUBSETS = {"train": "train", "valid": "validation", "test": "test"}
#: Name of the only array of an HDF5 file.
ARRAY = "features"
#: Name of the file with class names, one per line. Glimpses adds it to the authors' files.
CLASSES = "classes.txt"
#: Frames per second of the authors' features.
FPS = 30
#: Width and height of the frames that the authors' CNN read, in pixels.
FRAME_SIZE = 224
#: Number of frames read or written at a time; 49 x 1024 numbers each take 25 MB.
SLAB = 128
# Larger numbers are errors; reject them before they cost memory.
_MAX_CLASSES, _MAX_FRAMES = 10_000, 10**9


@dataclass(frozen=True)
class ClipRows:
    """Rows of one clip in a features file.

    Attributes:
        id: path of the clip's video.
        labels: class indices.
        subset: "train", "validation" or "test".
        array: rows of all clips of the subset.
        start: index of the clip's first row.
        frames: number of rows.
    """

    id: str
    labels: tuple[int, ...]
    subset: str
    array: Any
    start: int
    frames: int

    @property
    def file(self) -> str:
        """Name of the HDF5 file."""
        return str(self.array.file.filename)

    def read(self, start: int, stop: int, step: int) -> Float32[np.ndarray, "N PD"]:
        """Read every `step`-th of the clip's rows from `start` to `stop`.

        Raises:
            GlimpsesError: the file is damaged there.
        """
        try:
            rows = self.array[self.start + start : self.start + stop : step]
        except OSError as error:
            raise GlimpsesError(
                f"{self.file}: the features of {self.id} cannot be read ({error}); the file is "
                "damaged, copy it again"
            ) from error
        return np.asarray(rows, np.float32)


@dataclass(frozen=True)
class SubsetLists:
    """Contents of the text files of one subset.

    Attributes:
        folder: folder of the files.
        prefix: "train", "valid" or "test".
        names: video of each clip.
        frames: number of rows of each clip.
        labels: class indices of each clip.
        num_flags: length of a row of labels (C), or None if every clip has one label.
    """

    folder: Path
    prefix: str
    names: tuple[str, ...]
    frames: tuple[int, ...]
    labels: tuple[tuple[int, ...], ...]
    num_flags: int | None

    @property
    def features_file(self) -> Path:
        """The HDF5 file."""
        return self.folder / f"{self.prefix}_features.h5"

    def text_file(self, kind: str) -> Path:
        """Return the path of the "filename", "framenum" or "labels" file."""
        return self.folder / f"{self.prefix}_{kind}.txt"

    def clips(self, array: Any) -> Iterator[ClipRows]:
        """Yield each clip with the position of its rows in `array`."""
        start = 0
        for name, labels, frames in zip(self.names, self.labels, self.frames, strict=True):
            yield ClipRows(name, labels, SUBSETS[self.prefix], array, start, frames)
            start += frames


def read_lists(folder: Path) -> tuple[SubsetLists, ...]:
    """Read the text files of every subset in a folder and check that they agree.

    Raises:
        GlimpsesError: there are none, or a file is missing, damaged or contradicts another.
    """
    subsets = tuple(
        _read_subset(folder, prefix) for prefix in SUBSETS if any(folder.glob(f"{prefix}_*"))
    )
    if not subsets:
        raise GlimpsesError(
            f"{folder}: has no feature files in the authors' format; give the folder with "
            "train_features.h5, train_framenum.txt, train_filename.txt and train_labels.txt"
        )
    if len({subset.num_flags for subset in subsets}) > 1:
        raise GlimpsesError(
            f"{folder}: the label files have different formats; use one number per clip in all of "
            "them, or rows of the same length"
        )
    subset_of: dict[str, SubsetLists] = {}
    for subset in subsets:
        for name in subset.names:
            if other := subset_of.get(name):
                second = f"here and in {other.text_file('filename').name}"
                where = "twice" if other is subset else second
                raise GlimpsesError(
                    f"{subset.text_file('filename')}: {name} is listed {where}; list each clip "
                    "once, in one subset"
                )
            subset_of[name] = subset
    return subsets


def read_classes(file: Path) -> tuple[str, ...]:
    """Read class names, one per line.

    Raises:
        GlimpsesError: the file is missing, is not text, or contains a name twice.
    """
    names = tuple(_read_lines(file))
    if len(set(names)) < len(names):
        raise GlimpsesError(f"{file}: contains a class name twice; remove one of them")
    return names


@contextmanager
def open_rows(subset: SubsetLists) -> Iterator[Any]:
    """Open the features of a subset.

    Yields:
        The array of rows, one per frame. Rows are read from the file when they are indexed.

    Raises:
        GlimpsesError: the file has another format or does not match the text files.
    """
    h5py = load_h5py()
    try:
        opened = h5py.File(subset.features_file, "r")
    except OSError as error:
        raise GlimpsesError(
            f"{subset.features_file}: is not an HDF5 file, or is truncated ({error}); copy it again"
        ) from error
    with opened:
        array = opened.get(ARRAY)
        if not isinstance(array, h5py.Dataset) or array.ndim != 2 or array.dtype.kind != "f":
            raise GlimpsesError(
                f"{subset.features_file}: has no two-dimensional float array '{ARRAY}' with one "
                "row per frame; it is not in the authors' format"
            )
        if len(array) != sum(subset.frames):
            raise GlimpsesError(
                f"{subset.features_file}: has {len(array)} frames, but "
                f"{subset.text_file('framenum').name} lists {sum(subset.frames)}; the files do not "
                "belong together"
            )
        yield array


def write_lines(file: Path, lines: Sequence[str]) -> None:
    """Write a text file atomically."""
    with atomic_write(file) as part:
        part.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def load_h5py() -> Any:
    """Import and return the h5py module.

    Raises:
        GlimpsesError: h5py is not installed.
    """
    try:
        import h5py
    except ImportError as error:
        raise GlimpsesError(
            f"h5py is not installed ({error}); run: pip install 'glimpses[hdf5]'"
        ) from error
    return h5py


def _read_subset(folder: Path, prefix: str) -> SubsetLists:
    """Read the three text files of a subset and check that they agree."""
    files = {kind: folder / f"{prefix}_{kind}.txt" for kind in ("filename", "framenum", "labels")}
    lists = {kind: _read_lines(file) for kind, file in files.items()}
    for kind, lines in lists.items():
        if len(lines) != len(lists["filename"]):
            raise GlimpsesError(
                f"{files[kind]}: has {len(lines)} lines, but {files['filename'].name} has "
                f"{len(lists['filename'])}; every clip needs one line in each"
            )
    multi_label = "," in lists["labels"][0]
    return SubsetLists(
        folder=folder,
        prefix=prefix,
        names=tuple(PurePosixPath(n.replace("\\", "/")).as_posix() for n in lists["filename"]),
        frames=tuple(
            _parse_number(files["framenum"], number, line, 1, _MAX_FRAMES)
            for number, line in enumerate(lists["framenum"], start=1)
        ),
        labels=_parse_flags(files["labels"], lists["labels"])
        if multi_label
        else tuple(
            (_parse_number(files["labels"], number, line, 0, _MAX_CLASSES - 1),)
            for number, line in enumerate(lists["labels"], start=1)
        ),
        num_flags=len(lists["labels"][0].split(",")) if multi_label else None,
    )


def _read_lines(file: Path) -> list[str]:
    """Return the lines of a text file without empty ones at its end."""
    try:
        lines = [line.strip() for line in read_text(file, 8 * MAX_BYTES).splitlines()]
    except OSError as error:
        raise GlimpsesError(
            f"{file}: cannot be read ({error.strerror}); check that the file exists"
        ) from error
    except UnicodeDecodeError as error:
        raise GlimpsesError(f"{file}: is not UTF-8 text; save it as UTF-8") from error
    while lines and not lines[-1]:
        lines.pop()
    if "" in lines or not lines:
        empty = lines.index("") + 1 if lines else 1
        raise GlimpsesError(f"{file}: line {empty} is empty; remove it or complete the file")
    return lines


def _parse_number(file: Path, number: int, line: str, low: int, high: int) -> int:
    # int() and str.isdigit() both accept more than ASCII digits.
    digits = line.isascii() and line.isdigit() and len(line) < 20
    if not digits or not low <= int(line) <= high:
        raise GlimpsesError(
            f"{file}: line {number} is '{line[:40]}', must be a whole number from {low} to {high}"
        )
    return int(line)


def _parse_flags(file: Path, lines: Sequence[str]) -> tuple[tuple[int, ...], ...]:
    """Return the class indices of every row like `0,1,0`."""
    labels, count = [], len(lines[0].split(","))
    for number, line in enumerate(lines, start=1):
        flags = [flag.strip() for flag in line.split(",")]
        if len(flags) != count or set(flags) - {"0", "1"}:
            raise GlimpsesError(
                f"{file}: line {number} is '{line[:40]}', must be a row of {count} flags, 0 or 1, "
                "with a 1 for each action in the clip"
            )
        labels.append(tuple(index for index, flag in enumerate(flags) if flag == "1"))
    return tuple(labels)
