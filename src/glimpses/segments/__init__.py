"""Segments: actions with start and end in long videos, and the formats of their tables."""

from __future__ import annotations

from glimpses.segments.attention_box import attention_box
from glimpses.segments.decode import Decoder, decode
from glimpses.segments.files import FORMATS, read_segments, segment_format, write_segments
from glimpses.segments.options import DecodeOptions, SegmentOptions
from glimpses.segments.segment import Segment, overlap, sort_segments
from glimpses.segments.smoothing import MovingMean, causal_mean, centred_mean, centred_median
from glimpses.segments.source import MAX_BYTES, MAX_SEGMENTS, FrameRates
from glimpses.segments.viterbi import Viterbi, path_segments, viterbi

__all__ = [
    "FORMATS", "MAX_BYTES", "MAX_SEGMENTS", "DecodeOptions", "Decoder", "FrameRates", "MovingMean",
    "Segment", "SegmentOptions", "Viterbi", "attention_box", "causal_mean", "centred_mean",
    "centred_median", "decode", "overlap", "path_segments", "read_segments", "segment_format",
    "sort_segments", "viterbi", "write_segments",
]  # fmt: skip
