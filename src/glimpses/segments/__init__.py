"""Segments: actions with start and end in long videos, and the formats of their tables."""

from __future__ import annotations

from glimpses.segments.files import FORMATS, read_segments, write_segments
from glimpses.segments.segment import Segment, overlap, sort_segments
from glimpses.segments.source import MAX_BYTES, MAX_SEGMENTS, FrameRates

__all__ = [
    "FORMATS", "MAX_BYTES", "MAX_SEGMENTS", "FrameRates", "Segment", "overlap", "read_segments",
    "sort_segments", "write_segments",
]  # fmt: skip
