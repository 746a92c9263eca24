"""The form of the authors' feature files: four of them for each side of the split.

train_features.h5    HDF5, data set `features`, float32 (frames of all clips, K*K*D)
train_framenum.txt   how many frames each clip has, one number a line
train_filename.txt   each clip's video, relative to the folder of all videos
train_labels.txt     each clip's class from 0; with several actions a clip a row like `0,1,0`

and the same with `valid_` and `test_`.

**The order of a row.** Their loader (`util/data_handler.py`) reshapes a row to (49, 1024) in
column-major order: place p of channel d is number `p + 49 d`. Which place p is in the picture their
files do not say, but their notebook draws attention with p row-major from the top left, as ours;
and so it comes out where Matlab's Caffe interface made them, whose arrays are width first. A file
made by other code from arrays (row, column, channel) in Matlab would have rows and columns
exchanged; nothing in it would tell. Their notes advise those who write features from Python to drop
the column-major order: place p of channel d is then number `1024 p + d`.
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
from glimpses.utils.files import atomic_write

#: How the numbers of a row follow one another: places first, or channels first.
Order = Literal["column-major", "row-major"]

#: Their names for the sides of a split, and ours.
SIDES = {"train": "train", "valid": "validation", "test": "test"}
#: The one array of an HDF5 file.
ARRAY = "features"
#: Names of the classes, one a line: a file of ours beside theirs.
CLASSES = "classes.txt"
#: Frames per second of their files.
FPS = 30
#: Frames read or written at a time; 49 x 1024 numbers each make 25 MB.
SLAB = 128
# Beyond these a number is a slip, and not to be believed before memory is spent on it.
_MOST_CLASSES, _MOST_FRAMES = 10_000, 10**9


@dataclass(frozen=True)
class Rows:
    """One clip's rows in a features file.

    Attributes:
        id: its video.
        labels: its classes.
        side: "train", "validation" or "test".
        array: all rows of its side.
        start: its first row.
        frames: how many there are.
    """

    id: str
    labels: tuple[int, ...]
    side: str
    array: Any
    start: int
    frames: int

    @property
    def file(self) -> str:
        """Name of the HDF5 file."""
        return str(self.array.file.filename)

    def read(self, start: int, stop: int, step: int) -> Float32[np.ndarray, "N PD"]:
        """Rows of some of its frames.

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
class Side:
    """The text files of one side of the split.

    Attributes:
        folder: where the files are.
        prefix: "train", "valid" or "test".
        names: videos of the clips.
        frames: how many rows each clip has.
        labels: classes of each clip.
        width: length of the rows of labels, C; None where a clip has one label.
    """

    folder: Path
    prefix: str
    names: tuple[str, ...]
    frames: tuple[int, ...]
    labels: tuple[tuple[int, ...], ...]
    width: int | None

    @property
    def features(self) -> Path:
        """The HDF5 file."""
        return self.folder / f"{self.prefix}_features.h5"

    def list(self, what: str) -> Path:
        """One of the text files: "filename", "framenum" or "labels"."""
        return self.folder / f"{self.prefix}_{what}.txt"

    def clips(self, array: Any) -> Iterator[Rows]:
        """The clips with their rows in `array`, one after the other."""
        start = 0
        for name, labels, frames in zip(self.names, self.labels, self.frames, strict=True):
            yield Rows(name, labels, SIDES[self.prefix], array, start, frames)
            start += frames


def read_sides(folder: Path) -> tuple[Side, ...]:
    """Read the text files of every side there is, and compare them with each other.

    Raises:
        GlimpsesError: there is none, or a file is missing, damaged or contradicts another.
    """
    sides = tuple(_read_side(folder, prefix) for prefix in SIDES if any(folder.glob(f"{prefix}_*")))
    if not sides:
        raise GlimpsesError(
            f"{folder}: holds no features of the authors' form; give the folder with "
            "train_features.h5, train_framenum.txt, train_filename.txt and train_labels.txt"
        )
    if len({side.width for side in sides}) > 1:
        raise GlimpsesError(
            f"{folder}: the labels of its sides are not of one form: one number a clip, or rows of "
            "one length"
        )
    side_of: dict[str, Side] = {}
    for side in sides:
        for name in side.names:
            if other := side_of.get(name):
                both = "twice" if other is side else f"here and in {other.list('filename').name}"
                raise GlimpsesError(
                    f"{side.list('filename')}: {name} is listed {both}; a clip can be on one side "
                    "and there once"
                )
            side_of[name] = side
    return sides


def read_classes(file: Path) -> tuple[str, ...]:
    """Names of classes, one a line.

    Raises:
        GlimpsesError: the file is missing or no text, or names a class twice.
    """
    names = tuple(_read_lines(file))
    if len(set(names)) < len(names):
        raise GlimpsesError(f"{file}: names a class twice")
    return names


@contextmanager
def rows_of(side: Side) -> Iterator[Any]:
    """Open the features of a side.

    Yields:
        Their array, one row a frame, read where it is indexed.

    Raises:
        GlimpsesError: the file is none of the authors' form, or does not belong to the text files.
    """
    h5py = load_h5py()
    try:
        opened = h5py.File(side.features, "r")
    except OSError as error:
        raise GlimpsesError(
            f"{side.features}: is no HDF5 file, or cut short ({error}); copy it again"
        ) from error
    with opened:
        array = opened.get(ARRAY)
        if not isinstance(array, h5py.Dataset) or array.ndim != 2 or array.dtype.kind != "f":
            raise GlimpsesError(
                f"{side.features}: holds no array '{ARRAY}' of numbers, one row a frame; it is "
                "none of the authors' form"
            )
        if len(array) != sum(side.frames):
            raise GlimpsesError(
                f"{side.features}: has {len(array)} frames, but {side.list('framenum').name} "
                f"counts {sum(side.frames)}; they do not belong together"
            )
        yield array


def write_lines(file: Path, lines: Sequence[str]) -> None:
    """Write a text file, whole or not at all."""
    with atomic_write(file) as part:
        part.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def load_h5py() -> Any:
    """The module h5py.

    Raises:
        GlimpsesError: it is not installed.
    """
    try:
        import h5py
    except ImportError as error:
        raise GlimpsesError(
            f"h5py: is not installed ({error}); run: pip install 'glimpses[hdf5]'"
        ) from error
    return h5py


def _read_side(folder: Path, prefix: str) -> Side:
    """Read the three text files of a side and compare them with each other."""
    files = {what: folder / f"{prefix}_{what}.txt" for what in ("filename", "framenum", "labels")}
    lists = {what: _read_lines(file) for what, file in files.items()}
    for what, lines in lists.items():
        if len(lines) != len(lists["filename"]):
            raise GlimpsesError(
                f"{files[what]}: has {len(lines)} lines, but {files['filename'].name} has "
                f"{len(lists['filename'])}; every clip needs one line in each"
            )
    several = "," in lists["labels"][0]
    return Side(
        folder=folder,
        prefix=prefix,
        names=tuple(
            PurePosixPath(name.replace("\\", "/")).as_posix() for name in lists["filename"]
        ),
        frames=tuple(
            _number(files["framenum"], number, line, 1, _MOST_FRAMES)
            for number, line in enumerate(lists["framenum"], start=1)
        ),
        labels=_rows_of_labels(files["labels"], lists["labels"])
        if several
        else tuple(
            (_number(files["labels"], number, line, 0, _MOST_CLASSES - 1),)
            for number, line in enumerate(lists["labels"], start=1)
        ),
        width=len(lists["labels"][0].split(",")) if several else None,
    )


def _read_lines(file: Path) -> list[str]:
    """Lines of a text file, without empty ones at its end."""
    try:
        lines = [line.strip() for line in file.read_text(encoding="utf-8-sig").splitlines()]
    except OSError as error:
        raise GlimpsesError(
            f"{file}: cannot be read ({error.strerror}); see that the file is there"
        ) from error
    except UnicodeDecodeError as error:
        raise GlimpsesError(f"{file}: is no text in UTF-8; save it again as such") from error
    while lines and not lines[-1]:
        lines.pop()
    if "" in lines or not lines:
        empty = lines.index("") + 1 if lines else 1
        raise GlimpsesError(f"{file}: line {empty} is empty; take it out or complete the file")
    return lines


def _number(file: Path, number: int, line: str, least: int, most: int) -> int:
    # Neither int() nor str.isdigit() keeps to plain digits.
    plain = line.isascii() and line.isdigit() and len(line) < 20
    if not plain or not least <= int(line) <= most:
        raise GlimpsesError(
            f"{file}: line {number} is '{line[:40]}', must be a whole number from {least} to {most}"
        )
    return int(line)


def _rows_of_labels(file: Path, lines: Sequence[str]) -> tuple[tuple[int, ...], ...]:
    labels, width = [], len(lines[0].split(","))
    for number, line in enumerate(lines, start=1):
        flags = [flag.strip() for flag in line.split(",")]
        if len(flags) != width or set(flags) - {"0", "1"}:
            raise GlimpsesError(
                f"{file}: line {number} is '{line[:40]}', must be a row of {width} times 0 or 1, "
                "with a 1 for each action that the clip shows"
            )
        labels.append(tuple(index for index, flag in enumerate(flags) if flag == "1"))
    return tuple(labels)
