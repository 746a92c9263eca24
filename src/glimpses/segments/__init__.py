"""Segments: actions with start and end in long videos, and the formats of their tables."""

from __future__ import annotations

from glimpses.segments.decode import (
    DecodeOptions,
    Decoder,
    Viterbi,
    causal_mean,
    centred_mean,
    centred_median,
    decode,
    path_segments,
    viterbi,
)
from glimpses.segments.files import FORMATS, read_segments, write_segments
from glimpses.segments.segment import Segment, overlap, sort_segments
from glimpses.segments.source import MAX_BYTES, MAX_SEGMENTS, FrameRates

__all__ = [
    "FORMATS", "MAX_BYTES", "MAX_SEGMENTS", "DecodeOptions", "Decoder", "FrameRates", "Segment",
    "Viterbi", "causal_mean", "centred_mean", "centred_median", "decode", "overlap",
    "path_segments", "read_segments", "sort_segments", "viterbi", "write_segments",
]  # fmt: skip
