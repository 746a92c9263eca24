"""Segments as CSV: `file,start,end,label,score` and optional columns."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from glimpses.segments.segment import Segment
from glimpses.segments.source import MAX_SEGMENTS, Source

# Names of the columns that others use, in lower case without spaces.
_COLUMNS = {
    "file": ("file", "filename", "video", "videoid", "videoname", "path", "clip", "recording"),
    "start": ("start", "begin", "onset", "starttime", "begintime", "tstart", "startseconds"),
    "end": ("end", "offset", "stop", "endtime", "stoptime", "tend", "endseconds"),
    "label": ("label", "class", "action", "activity", "category", "event", "behavior", "behaviour"),
    "score": ("score", "confidence", "probability"),
    "peak": ("peak",),
    "left": ("left",), "top": ("top",), "right": ("right",), "bottom": ("bottom",),
    "first_frame": ("firstframe",),
    "stop_frame": ("stopframe",),
}  # fmt: skip
_NAMES = {name: column for column, names in _COLUMNS.items() for name in names}
_BOX = ("left", "top", "right", "bottom")
_FRAMES = ("first_frame", "stop_frame")


def read_table(source: Source, text: str) -> list[Segment]:
    """Return the segments of a CSV, separated by commas, semicolons or tabs.

    Raises:
        GlimpsesError: a column is missing or a row is impossible.
    """
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text), strict=True)
    segments: list[Segment] = []
    columns: dict[str, int] | None = None
    while True:
        line = rows.line_num + 1
        try:
            row = next(rows, None)
        except csv.Error as error:
            raise source.error(f"is not a table ({error})", line) from error
        if row is None:
            break
        if not any(cell.strip() for cell in row):
            continue
        if columns is None:
            columns = _header(source, row, line)
            continue
        if len(segments) >= MAX_SEGMENTS:
            raise source.error(f"has more than {MAX_SEGMENTS} segments; divide it", line)
        segments.append(_segment(source, row, columns, line, rows.dialect.delimiter))
    if columns is None:
        raise source.error("is empty; the first line must be file,start,end,label")
    return segments


def write_table(_source: Source, segments: Sequence[Segment]) -> str:
    """Return the segments as CSV; optional columns are written if a segment has their value."""
    header = ["file", "start", "end", "label", "score"]
    header += ["peak"] * any(one.peak is not None for one in segments)
    header += _BOX * any(one.box is not None for one in segments)
    header += _FRAMES * any(one.frames is not None for one in segments)
    text = io.StringIO(newline="")
    rows = csv.DictWriter(text, header, restval="", lineterminator="\n", extrasaction="ignore")
    rows.writeheader()
    for one in segments:
        row: dict[str, object] = {
            "file": one.file, "start": one.start, "end": one.end, "label": one.label,
            "score": one.score, "peak": one.peak,
        }  # fmt: skip
        row.update(zip(_BOX, one.box or (), strict=False))
        row.update(zip(_FRAMES, one.frames or (), strict=False))
        rows.writerow(row)
    return text.getvalue()


def _delimiter(text: str) -> str:
    first = next((line for line in text.splitlines() if line.strip()), "")
    return max(",;\t", key=first.count)


def _header(source: Source, row: Sequence[str], line: int) -> dict[str, int]:
    columns: dict[str, int] = {}
    for index, cell in enumerate(row):
        column = _NAMES.get("".join(letter for letter in cell.lower() if letter.isalnum()))
        if column is None:
            continue
        if column in columns:
            raise source.error(f"has two columns for {column}; remove one", line)
        columns[column] = index
    required = ["start", "end", "label"] + ["file"] * (source.video is None)
    missing = [column for column in required if column not in columns]
    if missing:
        raise source.error(
            f"has no column {' or '.join(missing)}; the first line must be file,start,end,label",
            line,
        )
    return columns


def _segment(
    source: Source, row: Sequence[str], columns: dict[str, int], line: int, delimiter: str
) -> Segment:
    cells = {
        column: row[index] for column, index in columns.items() if index < len(row) and row[index]
    }

    def number(column: str) -> float | None:
        cell = cells.get(column, "").strip()
        if not cell:
            return None
        try:
            # Spreadsheets that separate by semicolons write decimal commas.
            return float(cell.replace(",", ".") if delimiter != "," else cell)
        except ValueError:
            raise source.error(f"{column} must be a number, not {cell[:40]!r}", line) from None

    start, end = number("start"), number("end")
    name = cells.get("file") or source.video
    for column, value in (("file", name), ("start", start), ("end", end)):
        if value is None:
            raise source.error(f"{column} is missing", line)
    box = tuple(number(column) for column in _BOX)
    frames = tuple(number(column) for column in _FRAMES)
    return source.segment(
        line, file=name, start=start, end=end, label=cells.get("label", ""), score=number("score"),
        peak=number("peak"), box=None if None in box else box,
        frames=None if None in frames else tuple(int(value or 0) for value in frames),
    )  # fmt: skip
