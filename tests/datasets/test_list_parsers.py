"""Parsers of lists, given arbitrary text: a valid result or one line about the file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from glimpses.datasets.annotations.boxes_json import read_boxes_file
from glimpses.datasets.groups import read_groups
from glimpses.datasets.layouts.list_files import read_marks
from glimpses.datasets.layouts.table_rows import read_table
from glimpses.segments import FORMATS, Segment, read_segments, write_segments
from glimpses.utils.errors import GlimpsesError

SETTINGS = settings(
    max_examples=60, derandomize=True, deadline=None, database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip

CELLS = st.sampled_from(
    ["clip", "label", "group", "path", "file", "start", "end", "jump/a.mp4", "a.mp4", "jump", "1",
     "-1", "0.5", "nan", "1e999", "", " ", '"', "|", ";", "\u202e", "00:00:01.000 --> 00:00:02.000",
     "WEBVTT", "é"]
)  # fmt: skip
ROWS = st.lists(st.lists(CELLS, max_size=6), max_size=6)
TABLES = st.builds(
    lambda rows, delimiter, end: end.join(delimiter.join(row) for row in rows).encode(),
    ROWS, st.sampled_from([",", "\t", ";", " "]), st.sampled_from(["\n", "\r\n", "\n\n"]),
)  # fmt: skip
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | CELLS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(CELLS, inner, max_size=3),
    max_leaves=8,
)
CONTENTS = st.one_of(st.binary(max_size=80), TABLES, VALUES.map(lambda v: json.dumps(v).encode()))

PARSERS: dict[str, tuple[str, Callable[[Path], Any]]] = {
    "groups": ("groups.csv", lambda file: read_groups(file.parent, {"jump/a.mp4": "jump"})),
    "split": ("train.txt", lambda file: read_marks(file, {"1", "2"}, files=True)),
    "labels, CSV": ("labels.csv", lambda file: read_table(file, lambda name: name == "a.mp4")),
    "labels, JSON": ("labels.json", lambda file: read_table(file, lambda name: name == "a.mp4")),
    "labels, JSON Lines": ("l.jsonl", lambda file: read_table(file, lambda name: name == "a.mp4")),
    "boxes": ("boxes.json", read_boxes_file),
    **{
        f"segments, {name}": (
            "segments.txt", lambda file, name=name: read_segments(file, format=name, fps=10)
        )
        for name in FORMATS
    },
}  # fmt: skip


@pytest.mark.parametrize("parser", PARSERS)
@SETTINGS
@given(content=CONTENTS)
def test_any_text_is_read_or_refused_in_one_line(
    parser: str, content: bytes, tmp_path: Path
) -> None:
    name, parse = PARSERS[parser]
    file = tmp_path / name
    file.write_bytes(content)
    try:
        parse(file)
    except GlimpsesError as error:
        assert str(file) in str(error)
        assert len(str(error).splitlines()) == 1


TIMES = st.integers(0, 10_000).map(lambda tenths: tenths / 10)
LABELS = st.text(
    st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=8
)
SEGMENTS = st.lists(
    st.builds(
        lambda first, length, label: Segment(
            file="a.mp4", start=first, end=first + length, label=label
        ),
        TIMES, st.integers(1, 100).map(lambda tenths: tenths / 10), LABELS,
    ),
    max_size=4, unique_by=lambda segment: segment.start,
)  # fmt: skip


@pytest.mark.parametrize("name", FORMATS)
@SETTINGS
@given(segments=SEGMENTS)
def test_what_is_written_is_read_back(name: str, segments: list[Segment], tmp_path: Path) -> None:
    file = tmp_path / "segments.txt"
    write_segments(file, segments, format=name, fps=10)
    read = read_segments(file, format=name, fps=10, video="a.mp4")
    got = [(one.label, pytest.approx(one.start), pytest.approx(one.end)) for one in read]
    expected = sorted((one.start, one.end, one.label) for one in segments)
    assert [(label, start, end) for start, end, label in expected] == got
