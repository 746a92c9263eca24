"""Web page and HTTP API for trained runs."""

from __future__ import annotations

from glimpses.serve.server import serve

__all__ = ["serve"]
