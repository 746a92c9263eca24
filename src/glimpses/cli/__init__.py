"""Command line: parse, call one function, print its result."""

from __future__ import annotations

from glimpses.cli.commands import COMMANDS, main, run

__all__ = ["COMMANDS", "main", "run"]
