"""Live recognition: cameras and network streams."""

from __future__ import annotations

from glimpses.live.session import watch
from glimpses.live.watcher import LiveStats

__all__ = [
    "LiveStats",
    "watch",
]
