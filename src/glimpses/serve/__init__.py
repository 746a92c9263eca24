"""Serving: a web page and an HTTP API for trained runs."""

from __future__ import annotations

from glimpses.serve.server import describe, serve

__all__ = [
    "describe",
    "serve",
]
