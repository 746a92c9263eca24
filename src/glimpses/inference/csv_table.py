"""Predictions as a CSV file that grows by a row at a time, and may be cut off at any byte.

A row is written whole, in one go; where a kill has torn the last one, it is taken off when the file
is opened again. A row knows its video by path, size and time of change, and the model that spoke.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal, TextIO

from filelock import FileLock, Timeout

from glimpses.utils.errors import GlimpsesError
from glimpses.utils.files import atomic_write

_FIRST = ("video", "label", "probability")
_LAST = ("steps", "seconds", "problem", "error", "model", "size", "modified")
# What spreadsheets take for the beginning of a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


@dataclass(frozen=True)
class Row:
    """What is known of one video.

    Attributes:
        video: its path, as the table has it.
        version: size of the file in bytes, and when it was changed in nanoseconds since 1970; with
            another it is another file.
        probabilities: of the classes; empty where it could not be read.
        steps: how many frames were read.
        seconds: time of the last of them.
        problem: what was wrong with the file, if it gave fewer frames than it promised.
        error: why it could not be read; empty if it could.
    """

    video: str
    version: tuple[int, int]
    probabilities: tuple[float, ...] = ()
    steps: int = 0
    seconds: float = 0.0
    problem: str = ""
    error: str = ""


class PredictionTable:
    """The file, opened to add rows; what stands in it already is in `known`.

    Args:
        path: the CSV file; made if it is not there.
        classes: names of the actions, a column each.
        model: what tells the model from all others.

    Attributes:
        known: every row by its video, without probabilities: there may be many.

    Raises:
        GlimpsesError: the file is something else or of another model, damaged, cannot be written,
            or is being written by another process.
    """

    def __init__(self, path: Path, classes: Sequence[str], model: str) -> None:
        self.path = path
        self._classes = tuple(classes)
        self._model = model
        self._header = (*_FIRST, *(f"p_{name}" for name in classes), *_LAST)
        if path.exists() and not path.is_file():
            raise GlimpsesError(f"{path}: is no regular file; give --csv another name")
        # Beside the table, which is replaced by a new file when rows are taken out.
        self._lock = FileLock(path.with_name(f".{path.name}.lock"), blocking=False)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._lock.acquire()
        except Timeout as error:
            raise GlimpsesError(
                f"{path}: another glimpses predict is writing it; wait for that, or give --csv "
                "another name"
            ) from error
        except OSError as error:
            raise self._unwritable(error) from error
        try:
            self._file = path.open("ab", buffering=0)
        except OSError as error:
            self._unlock()
            raise self._unwritable(error) from error
        try:
            self.known = self._opened()
        except BaseException:
            self._close()
            raise

    def __enter__(self) -> PredictionTable:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._close()

    def _close(self) -> None:
        self._file.close()
        self._unlock()

    def _unlock(self) -> None:
        # Gone while it is still ours, so that nobody's lock is taken away.
        with suppress(OSError):
            Path(self._lock.lock_file).unlink()
        self._lock.release()

    def add(self, row: Row) -> None:
        """Write a row; once this returns, no kill of this process can undo it.

        Raises:
            GlimpsesError: the disk is full or the file gone.
        """
        best = max(range(len(row.probabilities)), key=row.probabilities.__getitem__, default=None)
        values = row.probabilities or ("",) * len(self._classes)
        self._write(
            row.video,
            "" if best is None else _harmless(self._classes[best], "'"),
            "" if best is None else f"{row.probabilities[best]:.6f}",
            *(value if isinstance(value, str) else f"{value:.6f}" for value in values),
            str(row.steps),
            f"{row.seconds:.3f}",
            row.problem,
            row.error,
            self._model,
            *map(str, row.version),
        )
        self.known[row.video] = Row(row.video, row.version, error=row.error)

    def drop(self, videos: Collection[str]) -> None:
        """Take rows out, for their videos are to be read anew.

        Raises:
            GlimpsesError: the file cannot be written.
        """
        if not videos:
            return
        with atomic_write(self.path) as part, _text(self.path, "r") as old, _text(part, "w") as new:
            records = (row for row, _ in _records(old) if row)
            writer = csv.writer(new)
            writer.writerow(next(records))
            writer.writerows(row for row in records if row[0] not in videos)
        self._file.close()
        self._file = self.path.open("ab", buffering=0)
        for video in videos:
            self.known.pop(video, None)

    def _opened(self) -> dict[str, Row]:
        """Read what there is and take off a torn end."""
        header = _line(self._header)
        try:
            with self.path.open("rb") as raw:
                begun = raw.read(len(header))
            if begun != header[: len(begun)] or len(begun) == len(header):
                return self._read()
            self._file.truncate(0)
        except csv.Error as error:
            raise GlimpsesError(
                f"{self.path}: is no table of predictions ({error}); give --csv another name"
            ) from error
        except OSError as error:
            raise self._unwritable(error) from error
        self._write(*self._header)
        return {}

    def _read(self) -> dict[str, Row]:
        known: dict[str, Row] = {}
        whole = 0
        with _text(self.path, "r") as file:
            torn = False
            for number, (row, end) in enumerate(_records(file), start=1):
                if torn:
                    raise GlimpsesError(
                        f"{self.path}: row {number - 1} is damaged; repair it, remove it, or give "
                        "--csv another name"
                    )
                if number == 1:
                    self._require_header(row)
                elif not row:
                    continue
                elif len(row) != len(self._header) or end is None:
                    torn = True
                    continue
                else:
                    found = self._row(number, row)
                    known[found.video] = found
                whole = end or 0
        if torn:
            self._file.truncate(whole)
        return known

    def _row(self, number: int, row: list[str]) -> Row:
        field = dict(zip(_LAST, row[-len(_LAST) :], strict=True))
        if field["model"] != self._model:
            raise GlimpsesError(
                f"{self.path}: has predictions of another model ({field['model']}, this run's is "
                f"{self._model}); give --csv another name"
            )
        try:
            version = int(field["size"]), int(field["modified"])
        except ValueError as error:
            raise GlimpsesError(
                f"{self.path}: row {number} is damaged ({error}); remove it, or give --csv another "
                "name"
            ) from error
        return Row(row[0], version, error=field["error"])

    def _require_header(self, row: list[str]) -> None:
        if tuple(row) == self._header:
            return
        if tuple(row[: len(_FIRST)]) == _FIRST and tuple(row[-len(_LAST) :]) == _LAST:
            raise GlimpsesError(
                f"{self.path}: has predictions of other classes than this run's; give --csv "
                "another name"
            )
        raise GlimpsesError(f"{self.path}: is no table of predictions; give --csv another name")

    def _write(self, *cells: str) -> None:
        line = memoryview(_line(cells))
        try:
            # On a full disk only part of it may be taken, without an error at first.
            while line:
                line = line[self._file.write(line) :]
        except OSError as error:
            raise self._unwritable(error) from error

    def _unwritable(self, error: OSError) -> GlimpsesError:
        reason = error.strerror or str(error)
        return GlimpsesError(
            f"{self.path}: cannot be written ({reason}); what is in it is kept: free some space or "
            "see to its permissions, and the same command goes on, or give --csv another name"
        )


def name_of(path: str) -> str:
    """How a table writes a path: so that no spreadsheet takes it for a formula."""
    return _harmless(path, f".{os.sep}")


def _harmless(text: str, before: str) -> str:
    return f"{before}{text}" if text.startswith(_FORMULA) else text


def _text(path: Path, mode: Literal["r", "w"]) -> TextIO:
    # File names are bytes; those that are no text come through as they are.
    return path.open(mode, encoding="utf-8", errors="surrogateescape", newline="")


def _line(cells: Iterable[str]) -> bytes:
    text = io.StringIO(newline="")
    # Lines end as RFC 4180 has it; with a mere "\n", Python would not put a lone "\r" into quotes.
    csv.writer(text).writerow(cells)
    return text.getvalue().encode("utf-8", "surrogateescape")


def _records(file: TextIO) -> Iterator[tuple[list[str], int | None]]:
    """The records of a CSV file, and the byte each ends at; None where the file ends within it."""
    read, whole = 0, True

    def lines() -> Iterator[str]:
        nonlocal read, whole
        for line in file:
            read += len(line.encode("utf-8", "surrogateescape"))
            whole = line.endswith("\n")
            yield line

    for row in csv.reader(lines()):
        yield row, read if whole else None
