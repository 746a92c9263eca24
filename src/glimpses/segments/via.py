"""Segments as the CSV of the VGG Image Annotator 3 (VIA)."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from typing import Any

from glimpses.segments.details import details, read_details
from glimpses.segments.segment import Segment
from glimpses.segments.source import MAX_SEGMENTS, Source

_HEADER = (
    "metadata_id", "file_list", "flags", "temporal_coordinates", "spatial_coordinates", "metadata",
)  # fmt: skip
# VIA's number of the attribute that has the label.
_ATTRIBUTE = "1"


def is_via(text: str) -> bool:
    """Return whether a CSV is one of VIA's."""
    return "temporal_coordinates" in text[:4000]


def read_via(source: Source, text: str) -> list[Segment]:
    """Return the temporal segments of VIA's CSV; regions of single frames are skipped.

    Raises:
        GlimpsesError: a row is impossible.
    """
    rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    segments: list[Segment] = []
    while True:
        line = rows.line_num + 1
        try:
            row = next(rows, None)
        except csv.Error as error:
            raise source.error(f"is not a table ({error})", line) from error
        if row is None:
            return segments
        if not row or row[0].startswith("#") or row[0] == _HEADER[0]:
            continue
        if len(row) != len(_HEADER):
            raise source.error(f"must have {len(_HEADER)} columns, not {len(row)}", line)
        files, times, place, metadata = (_value(source, row[index], line) for index in (1, 3, 4, 5))
        if place or not isinstance(times, list) or len(times) != 2:
            continue
        if not isinstance(metadata, dict) or not isinstance(files, list) or not files:
            raise source.error("has a segment without file or label", line)
        start, end = _float(times[0]), _float(times[1])
        segments.append(
            source.segment(
                line, file=str(files[0]), start=start, end=end,
                label=metadata.get(_ATTRIBUTE) or next(iter(metadata.values()), None),
                score=_float(metadata.get("score")), **read_details(metadata, start, end),
            )
        )  # fmt: skip
        if len(segments) > MAX_SEGMENTS:
            raise source.error(f"has more than {MAX_SEGMENTS} segments; divide it", line)


def write_via(_source: Source, segments: Sequence[Segment]) -> str:
    """Return VIA's CSV; score, peak, box and frames are further attributes."""
    text = io.StringIO(newline="")
    text.write(f"# CSV_HEADER = {','.join(_HEADER)}\n")
    rows = csv.writer(text, lineterminator="\n")
    for number, one in enumerate(segments, start=1):
        metadata: dict[str, Any] = {_ATTRIBUTE: one.label}
        if one.score is not None:
            metadata["score"] = one.score
        metadata |= details(one)
        rows.writerow(
            [
                f"1_{number}", json.dumps([one.file], ensure_ascii=False), 0,
                json.dumps([one.start, one.end]), "[]", json.dumps(metadata, ensure_ascii=False),
            ]
        )  # fmt: skip
    return text.getvalue()


def _value(source: Source, cell: str, line: int) -> Any:
    try:
        return json.loads(cell)
    except (ValueError, RecursionError) as error:
        raise source.error(f"has a cell that is not JSON: {cell[:40]!r}", line) from error


def _float(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) else None
