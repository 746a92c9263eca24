"""Optional values of a segment in formats that have no place of their own for them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from glimpses.segments.segment import Segment

#: Names of the values, as keys or tiers.
DETAILS = ("peak", "box", "frames")

# Seconds by which a peak may be outside: formats round times to milliseconds or frames.
_ROUNDING = 0.1


def details(one: Segment) -> dict[str, Any]:
    """Return the peak, box and frames of a segment as JSON-compatible values, if present."""
    return {name: value for name, value in one.to_json().items() if name in DETAILS}


def read_details(
    values: Mapping[str, Any], start: float | None, end: float | None
) -> dict[str, Any]:
    """Return the peak, box and frames among the values of a segment.

    Values of another form are left out: other programs may use these names for something else.
    """
    present: dict[str, Any] = {}
    peak = values.get("peak")
    if peak is not None and _are_numbers([peak]) and start is not None and end is not None:
        inside = max(min(float(peak), end), start)
        if abs(inside - peak) <= _ROUNDING:
            present["peak"] = inside
    box = values.get("box")
    if isinstance(box, list) and len(box) == 4 and _are_numbers(box):
        left, top, right, bottom = map(float, box)
        if 0 <= left <= right <= 1 and 0 <= top <= bottom <= 1:
            present["box"] = left, top, right, bottom
    frames = values.get("frames")
    if isinstance(frames, list) and len(frames) == 2 and all(type(one) is int for one in frames):
        first, stop = frames
        if 0 <= first <= stop:
            present["frames"] = first, stop
    return present


def _are_numbers(values: list[Any]) -> bool:
    return all(type(one) in (int, float) and math.isfinite(one) for one in values)
