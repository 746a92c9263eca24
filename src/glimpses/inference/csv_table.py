"""CSV files of predictions that survive an interruption at any byte.

Each row is appended in a single write and waits for the disk. If the last row is incomplete, it is
removed when the file is opened again. A row identifies its video by path, size and modification
time, and its model.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TextIO

from filelock import FileLock, Timeout

from glimpses.utils.errors import GlimpsesError
from glimpses.utils.files import atomic_write, make_folder, sync_folder

_FIRST_COLUMNS = ("video", "label", "probability", "decision")
_LAST_COLUMNS = ("steps", "seconds", "problem", "error", "model", "size", "modified")
# First characters of a formula in spreadsheets.
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")


@dataclass(frozen=True)
class PredictionRow:
    """Row for one video.

    Attributes:
        video: path of the video in the table.
        version: size in bytes and modification time in nanoseconds since 1970; a file with another
            version is read again.
        probabilities: class probabilities; empty if the video could not be read.
        decision: the most probable class, "no action" or "unsure".
        steps: number of sampled frames.
        seconds: time of the last of them.
        problem: short description of the damage if the file has fewer frames than it declares.
        error: reason why the video could not be read; otherwise empty.
    """

    video: str
    version: tuple[int, int]
    probabilities: tuple[float, ...] = ()
    decision: str = ""
    steps: int = 0
    seconds: float = 0.0
    problem: str = ""
    error: str = ""


class PredictionTable:
    """CSV file of predictions, opened for appending.

    Args:
        path: the file; created if it does not exist.
        classes: names of the classes, a column each.
        model: identifier of the model.

    Attributes:
        rows: the rows by video. Their probabilities are left out, which saves memory.

    Raises:
        GlimpsesError: the file is no such table, belongs to another model, is damaged, cannot be
            written, or is being written by another process.
    """

    def __init__(self, path: Path, classes: Sequence[str], model: str) -> None:
        self.path = path
        self._classes = tuple(classes)
        self._model = model
        self._header = (*_FIRST_COLUMNS, *(f"p_{name}" for name in classes), *_LAST_COLUMNS)
        if path.exists() and not path.is_file():
            raise GlimpsesError(f"{path}: is not a regular file; give --csv another name")
        # The lock is a file of its own, because removing rows replaces the table.
        self._lock = FileLock(path.with_name(f".{path.name}.lock"), blocking=False)
        try:
            make_folder(path.parent)
            self._lock.acquire()
        except Timeout as error:
            raise GlimpsesError(
                f"{path}: another glimpses predict is writing to it; wait for it to end, or give "
                "--csv another name"
            ) from error
        except OSError as error:
            raise self._write_error(error) from error
        try:
            self._file = path.open("ab", buffering=0)
            sync_folder(path.parent)
        except OSError as error:
            self._unlock()
            raise self._write_error(error) from error
        try:
            self.rows = self._load()
        except BaseException:
            self._close()
            raise

    def __enter__(self) -> PredictionTable:
        return self

    def __exit__(self, *exception: object) -> None:
        self._close()

    def _close(self) -> None:
        self._file.close()
        self._unlock()

    def _unlock(self) -> None:
        # Removed before it is released, so that it cannot be the lock of another process.
        with suppress(OSError):
            Path(self._lock.lock_file).unlink()
        self._lock.release()

    def add(self, row: PredictionRow) -> None:
        """Append a row; after this returns, neither a kill nor a power cut loses it.

        Raises:
            GlimpsesError: the disk is full, or the file has been removed.
        """
        best = max(range(len(row.probabilities)), key=row.probabilities.__getitem__, default=None)
        values = row.probabilities or ("",) * len(self._classes)
        self._write(
            row.video,
            "" if best is None else _escape_formula(self._classes[best], "'"),
            "" if best is None else f"{row.probabilities[best]:.6f}",
            _escape_formula(row.decision, "'"),
            *(value if isinstance(value, str) else f"{value:.6f}" for value in values),
            str(row.steps),
            f"{row.seconds:.3f}",
            row.problem,
            row.error,
            self._model,
            *map(str, row.version),
        )
        self.rows[row.video] = PredictionRow(row.video, row.version, error=row.error)

    def remove(self, videos: Collection[str]) -> None:
        """Remove the rows of some videos.

        Raises:
            GlimpsesError: the file cannot be written.
        """
        if not videos:
            return
        with (
            atomic_write(self.path) as part,
            _open_text(self.path, "r") as old,
            _open_text(part, "w") as new,
        ):
            records = (cells for cells, _ in _records(old) if cells)
            writer = csv.writer(new)
            writer.writerow(next(records))
            writer.writerows(cells for cells in records if cells[0] not in videos)
        self._file.close()
        self._file = self.path.open("ab", buffering=0)
        for video in videos:
            self.rows.pop(video, None)

    def _load(self) -> dict[str, PredictionRow]:
        """Return the rows in the file after removing an incomplete end."""
        header = _encode_line(self._header)
        try:
            with self.path.open("rb") as raw:
                start = raw.read(len(header) + 1)
            # After a power cut there may be zeros instead of the end of the first line.
            written = start.rstrip(b"\0")
            if len(start) > len(header) or not header.startswith(written) or written == header:
                return self._read()
            self._file.truncate(0)
        except csv.Error as error:
            raise GlimpsesError(
                f"{self.path}: is not a table of predictions ({error}); give --csv another name"
            ) from error
        except OSError as error:
            raise self._write_error(error) from error
        self._write(*self._header)
        return {}

    def _read(self) -> dict[str, PredictionRow]:
        rows: dict[str, PredictionRow] = {}
        complete_bytes, is_incomplete = 0, False
        with _open_text(self.path, "r") as file:
            for number, (cells, end) in enumerate(_records(file), start=1):
                if is_incomplete:
                    raise GlimpsesError(
                        f"{self.path}: row {number - 1} is damaged; repair it, remove it, or give "
                        "--csv another name"
                    )
                if number == 1:
                    self._check_header(cells)
                elif not cells:
                    continue
                elif len(cells) != len(self._header) or end is None:
                    is_incomplete = True
                    continue
                else:
                    row = self._parse_row(number, cells)
                    rows[row.video] = row
                complete_bytes = end or 0
        if is_incomplete:
            self._file.truncate(complete_bytes)
        return rows

    def _parse_row(self, number: int, cells: list[str]) -> PredictionRow:
        fields = dict(zip(_LAST_COLUMNS, cells[-len(_LAST_COLUMNS) :], strict=True))
        if fields["model"] != self._model:
            raise GlimpsesError(
                f"{self.path}: has predictions of another model ({fields['model']} instead of "
                f"{self._model}); give --csv another name"
            )
        try:
            version = int(fields["size"]), int(fields["modified"])
        except ValueError as error:
            raise GlimpsesError(
                f"{self.path}: row {number} is damaged ({error}); remove it, or give --csv another "
                "name"
            ) from error
        return PredictionRow(cells[0], version, error=fields["error"])

    def _check_header(self, cells: list[str]) -> None:
        if tuple(cells) == self._header:
            return
        ends = (*cells[: len(_FIRST_COLUMNS)], *cells[-len(_LAST_COLUMNS) :])
        if ends == _FIRST_COLUMNS + _LAST_COLUMNS:
            raise GlimpsesError(
                f"{self.path}: has predictions for other classes; give --csv another name"
            )
        raise GlimpsesError(f"{self.path}: is not a table of predictions; give --csv another name")

    def _write(self, *cells: str) -> None:
        line = memoryview(_encode_line(cells))
        try:
            # On a full disk the first write may be partial and raise no error.
            while line:
                line = line[self._file.write(line) :]
            os.fsync(self._file.fileno())
        except OSError as error:
            raise self._write_error(error) from error

    def _write_error(self, error: OSError) -> GlimpsesError:
        reason = error.strerror or str(error)
        return GlimpsesError(
            f"{self.path}: cannot be written ({reason}); its rows are kept: free some space or fix "
            "its permissions and run the same command again, or give --csv another name"
        )


def escape_path(path: str) -> str:
    """Return a path in a form that no spreadsheet takes for a formula."""
    return _escape_formula(path, f".{os.sep}")


def _escape_formula(text: str, prefix: str) -> str:
    return f"{prefix}{text}" if text.startswith(_FORMULA_STARTS) else text


def _open_text(path: Path, mode: Literal["r", "w"]) -> TextIO:
    # File names are bytes; those that are not valid text are preserved.
    return path.open(mode, encoding="utf-8", errors="surrogateescape", newline="")


def _encode_line(cells: Iterable[str]) -> bytes:
    text = io.StringIO(newline="")
    # Lines end with CRLF as in RFC 4180; with "\n" alone, Python would not quote a lone "\r".
    csv.writer(text).writerow(cells)
    return text.getvalue().encode("utf-8", "surrogateescape")


def _records(file: TextIO) -> Iterator[tuple[list[str], int | None]]:
    """Yield the records of a CSV file with the offset of their end, None for an unfinished one."""
    offset, is_complete = 0, True

    def lines() -> Iterator[str]:
        nonlocal offset, is_complete
        for line in file:
            offset += len(line.encode("utf-8", "surrogateescape"))
            is_complete = line.endswith("\n")
            yield line

    for record in csv.reader(lines()):
        yield record, offset if is_complete else None
