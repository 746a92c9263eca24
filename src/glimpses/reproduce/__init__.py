"""Reproduction of the paper's tables and figures."""

from __future__ import annotations

from glimpses.reproduce.experiments import Reproduction, reproduce

__all__ = [
    "Reproduction",
    "reproduce",
]
