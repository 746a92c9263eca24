"""Reproduction of the paper's tables and figures."""

from __future__ import annotations

from glimpses.reproduce.cost import CostEstimate
from glimpses.reproduce.experiments import Reproduction, reproduce
from glimpses.reproduce.paper import PENALTIES, TABLE1, TABLE2, CitedSystem, Row
from glimpses.reproduce.presets import Preset, load_preset
from glimpses.reproduce.tables import MeasuredRow, ResultTable

__all__ = [
    "PENALTIES", "TABLE1", "TABLE2", "CitedSystem", "CostEstimate", "MeasuredRow", "Preset",
    "Reproduction", "ResultTable", "Row", "load_preset", "reproduce",
]  # fmt: skip
