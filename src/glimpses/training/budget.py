"""Time that a comparison of models may take."""

from __future__ import annotations

import math

from glimpses.utils.options import InvalidOptionError


def describe_budget(seconds: float) -> str:
    """Return a duration in words."""
    if math.isinf(seconds):
        return "as long as it takes"
    if seconds < 120:
        return f"at most {seconds:.0f} s"
    return f"at most {seconds / 60:.0f} min"


def parse_budget(text: str | float | None) -> float | None:
    """Return seconds from `2m`, `90s`, `1h`, a number of seconds or `none`; None stays None.

    Raises:
        InvalidOptionError: it is something else.
    """
    if text is None:
        return None
    if text == "none":
        return math.inf
    units = {"s": 1, "m": 60, "h": 3600}
    words = str(text).strip().lower()
    unit = units.get(words[-1:])
    try:
        seconds = float(words[:-1]) * unit if unit else float(words)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise InvalidOptionError(f"--budget {text}: write a time like 90s, 2m or 1h, or none")
    return seconds
