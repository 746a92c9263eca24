"""Reports: self-contained HTML pages of scores, explanations and comparisons."""

from __future__ import annotations

from glimpses.report.comparison import Comparison
from glimpses.report.explain_pages import Explained, compare, explain
from glimpses.report.write_report import (
    Written,
    aim_of,
    choose_clips,
    prediction_of,
    report,
    truths_of,
)

__all__ = [
    "Comparison",
    "Explained",
    "Written",
    "aim_of",
    "choose_clips",
    "compare",
    "explain",
    "prediction_of",
    "report",
    "truths_of",
]
