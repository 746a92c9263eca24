"""Rows of tables that label clips: CSV, lists without a header, JSON and JSON Lines."""

from __future__ import annotations

import csv
import io
import itertools
import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from glimpses.datasets.layouts.subset_names import named_subset
from glimpses.utils.errors import GlimpsesError
from glimpses.utils.files import check_regular, format_size, read_bytes
from glimpses.video import SUFFIXES

#: Suffixes of the files that may be tables.
TABLE_SUFFIXES = frozenset({".csv", ".tsv", ".txt", ".json", ".jsonl", ".list"})

# Names of columns in lower case, the preferred ones first.
_PATHS = (
    "file_name", "filename", "file_path", "filepath", "video_path", "video_file", "clip_path",
    "path", "file", "video", "clip", "video_name", "clip_name",
)  # fmt: skip
_IDS = ("youtube_id", "video_id", "clip_id", "id", "uid", "name")
_LABELS = (
    "template", "label_name", "class_name", "action_name", "labels", "label", "class", "classes",
    "action", "actions", "category", "activity", "target",
)  # fmt: skip
_SUBSETS = ("split", "subset", "set", "partition")
_GROUPS = (
    "group", "group_id", "groups", "recording", "recording_id", "source", "source_video",
    "subject", "subject_id", "participant", "session", "youtube_id",
)  # fmt: skip
_STARTS, _ENDS = ("time_start", "start", "start_time"), ("time_end", "end", "end_time")

# A larger table is a mistake: Kinetics-700 has 650,000 rows in 30 MB.
_MAX_BYTES = 300_000_000
_MAX_LENGTH = 200
# Lines of a list without a header in which a known clip is searched.
_LOOKAHEAD = 1000

_VIDEO = "|".join(re.escape(suffix) for suffix in sorted(SUFFIXES))
# A line without a header: a path that ends like a video, perhaps in quotes, and what follows.
_LISTED = re.compile(rf'\s*"?[^"]*?({_VIDEO})"?\s*(?P<delimiter>[\t,; ]|$)', re.IGNORECASE)


@dataclass(frozen=True)
class Row:
    """Statement of one row of a table about a clip.

    Attributes:
        table: the table.
        line: number of the line, or of the entry of a JSON file, from 1.
        name: path or id of the clip, as written.
        labels: names of its classes; empty if the row states none.
        subset: its subset, if stated.
        group: its group, if stated.
        span: start and end of the clip in its source video, in seconds, if stated.
    """

    table: Path
    line: int
    name: str
    labels: tuple[str, ...] = ()
    subset: str | None = None
    group: str | None = None
    span: tuple[float, float] | None = None

    @property
    def place(self) -> str:
        """Text that names the row in a message."""
        kind = "entry" if self.table.suffix.lower() == ".json" else "line"
        return f"{self.table}: {kind} {self.line}"


@dataclass(frozen=True)
class Table:
    """Content of a table.

    Attributes:
        file: the table.
        rows: its rows.
        columns: names of its columns.
        by_id: whether clips are named by an id and not by a path.
    """

    file: Path
    rows: tuple[Row, ...]
    columns: tuple[str, ...]
    by_id: bool

    @property
    def has_labels(self) -> bool:
        """True if at least one row states a label."""
        return any(row.labels for row in self.rows)


def read_table(file: Path, is_clip: Callable[[str], bool]) -> Table:
    """Read a table.

    Args:
        file: a `.json` or `.jsonl` file; everything else is read as CSV, delimited by commas,
            semicolons or tabs with a header, or as a list `path label` without one.
        is_clip: function that returns whether a name without the suffix of a video names a clip,
            by which a list without a header is recognised.

    Raises:
        GlimpsesError: the file is too large, is not text in UTF-8, is malformed, or has no column
            that names the clips.
    """
    text = read_text(file)
    suffix = file.suffix.lower()
    if suffix == ".json":
        records = _from_json(file, parse_json(file, text), is_clip)
    elif suffix == ".jsonl":
        records = _from_jsonl(file, text)
    else:
        records = _from_csv(file, text, is_clip)
    return _table(file, records)


def read_text(file: Path) -> str:
    """Return the text of a file in UTF-8.

    Raises:
        GlimpsesError: the file is too large or is not text in UTF-8.
    """
    try:
        check_regular(file, sys.maxsize)
        if (size := file.stat().st_size) > _MAX_BYTES:
            raise GlimpsesError(
                f"{file}: has {format_size(size)}, more than a table of clips can have; give the "
                "table"
            )
        data = read_bytes(file, _MAX_BYTES)
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise GlimpsesError(
            f"{file}: line {line} is not text in UTF-8; save it as UTF-8 (Excel: CSV UTF-8)"
        ) from error
    except OSError as error:
        raise GlimpsesError(f"{file}: cannot be read ({error.strerror}); restore it") from error
    if "\0" in text:
        raise GlimpsesError(f"{file}: is not text; give a table as CSV or JSON in UTF-8")
    return text


def parse_json(file: Path, text: str) -> Any:
    """Return the content of a JSON file.

    Raises:
        GlimpsesError: it is malformed.
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else error
        raise GlimpsesError(f"{file}: is not valid JSON ({reason}); fix it") from error


def parse_lines(file: Path, text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the number and the cells of every row of a CSV file that is not empty.

    Raises:
        GlimpsesError: the file is malformed.
    """
    source = io.StringIO(text, newline="")
    reader = csv.reader(source, delimiter=delimiter, skipinitialspace=True, strict=True)
    try:
        for cells in reader:
            stripped = [cell.strip() for cell in cells]
            if any(stripped):
                yield reader.line_num, stripped
    except csv.Error as error:
        raise GlimpsesError(
            f"{file}: line {reader.line_num} is not valid CSV ({error}); fix it"
        ) from error


_Record = tuple[int, Mapping[str, Any]]


def _from_csv(file: Path, text: str, is_clip: Callable[[str], bool]) -> list[_Record]:
    first = next((line for line in text.splitlines() if line.strip()), "")
    if not first:
        raise GlimpsesError(f"{file}: is empty; write a header path,label and a row for each clip")
    best: list[str] = []
    for delimiter in "\t,;":
        header = [_key(cell) for cell in next(csv.reader([first], delimiter=delimiter))]
        if len(header) >= len(best) and set(header) & {*_PATHS, *_IDS}:
            best, chosen = header, delimiter
    if best:
        return list(_with_header(file, text, best, chosen))
    listed = _LISTED.match(first)
    delimiter = (listed["delimiter"] if listed else _guess_delimiter(file, text, is_clip)) or " "
    if delimiter == " ":
        return [
            (number, _split_line(line.strip()))
            for number, line in enumerate(text.splitlines(), start=1)
            if line.strip()
        ]
    return [
        (number, _without_header(file, number, cells))
        for number, cells in parse_lines(file, text, delimiter)
    ]


def _with_header(file: Path, text: str, header: Sequence[str], delimiter: str) -> Iterator[_Record]:
    rows = parse_lines(file, text, delimiter)
    next(rows)
    if repeated := sorted({name for name in header if name and header.count(name) > 1}):
        raise GlimpsesError(f"{file}: has two columns '{repeated[0]}'; remove or rename one")
    for number, cells in rows:
        if any(cells[len(header) :]):
            raise GlimpsesError(
                f"{file}: line {number} has {len(cells)} cells, but the header has {len(header)}; "
                f"put a cell that contains {delimiter!r} into quotes"
            )
        yield number, dict(zip(header, cells, strict=False))


def _guess_delimiter(file: Path, text: str, is_clip: Callable[[str], bool]) -> str:
    """Return the delimiter of a list of ids; refuse a header without a column of clips."""
    lines = list(itertools.islice(filter(str.strip, text.splitlines()), _LOOKAHEAD))
    for delimiter in "\t,; ":
        rows = list(csv.reader(map(str.strip, lines), delimiter=delimiter))
        # The first line is a header if no other line has its last cell as a label.
        labels = {cells[-1].strip() for cells in rows[1:]}
        first = rows[0][-1].strip()
        if is_clip(rows[0][0].strip()) or (
            (first.isdecimal() or first in labels) and any(is_clip(cells[0]) for cells in rows)
        ):
            return delimiter
    delimiter = next((delimiter for delimiter in "\t,;" if delimiter in lines[0]), ",")
    raise _no_clips(file, next(csv.reader([lines[0]], delimiter=delimiter)))


def _without_header(file: Path, number: int, cells: Sequence[str]) -> dict[str, Any]:
    name, *others = [cell for cell in cells if cell]
    subset = next((cell for cell in others if named_subset(cell)), "")
    labels = [cell for cell in others if cell != subset]
    if len(labels) > 1:
        raise GlimpsesError(
            f"{file}: line {number} has {len(cells)} cells, and there is no header with names such "
            "as path,label,group; add one"
        )
    return {"path": name, "label": "".join(labels), "split": subset}


def _split_line(line: str) -> dict[str, Any]:
    """Return path and labels of a line `path label`, or `path 3 17` for several labels."""
    listed = _LISTED.match(line)
    name, rest = (
        (line[: listed.end()], line[listed.end() :]) if listed else line.rpartition(" ")[::2]
    )
    if not listed and not name:
        name, rest = rest, ""
    words = rest.split()
    labels = words if words and all(map(str.isdecimal, words)) else " ".join(words)
    return {"path": name.strip().strip('"'), "label": labels}


def _from_jsonl(file: Path, text: str) -> list[_Record]:
    records: list[_Record] = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise GlimpsesError(f"{file}: line {number} is not valid JSON; fix it") from error
        if not isinstance(record, dict):
            raise GlimpsesError(
                f"{file}: line {number} is not an object such as "
                '{"file_name": "a.mp4", "label": "run"}; fix it'
            )
        records.append((number, _flat(record)))
    return records


def _from_json(file: Path, content: Any, is_clip: Callable[[str], bool]) -> list[_Record]:
    """Return the entries of a list of objects, or of an object with an entry for each clip."""
    if isinstance(content, dict):
        for key in ("database", "videos", "annotations", "clips", "data", "samples"):
            if isinstance(content.get(key), dict | list):
                return _from_json(file, content[key], is_clip)
        # There is JSON of other kinds, such as a description of the data set.
        if not any(is_clip(PurePosixPath(name).name) or _LISTED.match(name) for name in content):
            raise _no_clips(file, list(content))
        content = [
            {"id" if isinstance(value, dict) else "path": name}
            | (value if isinstance(value, dict) else {"label": value})
            for name, value in content.items()
        ]
    if not isinstance(content, list) or not all(isinstance(entry, dict) for entry in content):
        raise GlimpsesError(
            f'{file}: is not a list of objects such as {{"file_name": "a.mp4", "label": "run"}}; '
            "write it as one"
        )
    return [(number, _flat(entry)) for number, entry in enumerate(content, start=1)]


def _flat(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return an entry with the fields in its `annotations`, as Kinetics' JSON files have them."""
    inner = record.get("annotations")
    merged = {_key(str(name)): value for name, value in record.items()}
    for annotation in inner if isinstance(inner, list) else [inner]:
        if isinstance(annotation, dict):
            merged |= {_key(str(name)): value for name, value in annotation.items()}
    if isinstance(inner, list):
        merged["label"] = [entry["label"] for entry in inner if _has_label(entry)]
    if isinstance(segment := merged.get("segment"), list) and len(segment) == 2:
        merged["start"], merged["end"] = segment
    return merged


def _has_label(entry: Any) -> bool:
    return isinstance(entry, dict) and "label" in entry


def _table(file: Path, records: Sequence[_Record]) -> Table:
    if not records:
        raise GlimpsesError(f"{file}: has no rows; write one for each clip")
    columns = tuple(dict.fromkeys(name for _, record in records for name in record))
    name_column = _first(columns, (*_PATHS, *_IDS))
    if name_column is None:
        raise _no_clips(file, columns)
    label_column = _first([name for name in columns if name != name_column], _LABELS)
    if label_column is None and "name" in columns and name_column != "name":
        label_column = "name"
    group_column, subset_column = _first(columns, _GROUPS), _first(columns, _SUBSETS)
    if group_column == name_column and name_column != "youtube_id":
        group_column = None
    start, end = _first(columns, _STARTS), _first(columns, _ENDS)
    rows = []
    for number, record in records:
        row = Row(file, number, _text(record.get(name_column)))
        if not row.name:
            raise GlimpsesError(f"{row.place} has no {name_column}; complete or remove it")
        subset = _text(record.get(subset_column)) if subset_column else ""
        if subset and named_subset(subset) is None:
            raise GlimpsesError(
                f"{row.place} has the {subset_column} '{subset}'; write train, validation or test"
            )
        rows.append(
            Row(
                file, number, row.name,
                labels=_labels(record.get(label_column)) if label_column else (),
                subset=named_subset(subset),
                group=(_text(record.get(group_column)) or None) if group_column else None,
                span=_span(record.get(start), record.get(end)) if start and end else None,
            )
        )  # fmt: skip
    return Table(file, tuple(rows), columns, name_column in _IDS)


def _no_clips(file: Path, columns: Sequence[str]) -> GlimpsesError:
    names = ", ".join(name.strip()[:40] for name in columns[:8]) or "none"
    return GlimpsesError(
        f"{file}: no column names the clips (columns: {names}); call that column path, and the "
        "column of the classes label"
    )


def _first(columns: Sequence[str], names: Sequence[str]) -> str | None:
    return next((name for name in names if name in columns), None)


def _key(name: str) -> str:
    return re.sub(r"[\s-]+", "_", name.strip().lstrip("#").strip().strip('"').lower())


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value.strip()
    if value is None or isinstance(value, bool | dict | list):
        return ""
    return str(value)


def _labels(value: Any) -> tuple[str, ...]:
    """Return the class names in a cell, without repetitions."""
    values = value if isinstance(value, list) else re.split(r"[|;]", _text(value))
    return tuple(dict.fromkeys(name for cell in values if (name := class_name(_text(cell)))))


def class_name(text: str) -> str:
    """Return the name of a class on one line, without control characters.

    The placeholders of Something-Something, as in `Pushing [something]`, lose their brackets.
    Numbers that a spreadsheet has turned into `3.0` become `3`.
    """
    text = re.sub(r"\[(some\w*[^\]]*)\]", r"\1", text)
    text = "".join(c for c in " ".join(text.split()) if c.isprintable())[:_MAX_LENGTH]
    return text[:-2] if re.fullmatch(r"\d+\.0", text) else text


def _span(start: Any, end: Any) -> tuple[float, float] | None:
    try:
        return float(_text(start)), float(_text(end))
    except ValueError:
        return None
