"""Reports: self-contained HTML pages of scores, explanations and comparisons."""

from __future__ import annotations

from glimpses.report.comparison import Comparison
from glimpses.report.explain_pages import WrittenExplanation, compare, explain
from glimpses.report.write_report import WrittenReport, choose_clips, report

__all__ = [
    "Comparison", "WrittenExplanation", "WrittenReport", "choose_clips", "compare", "explain",
    "report",
]  # fmt: skip
