"""Live recognition: cameras and network streams."""

from __future__ import annotations

from glimpses.live.session import watch
from glimpses.live.watcher import Watched

__all__ = [
    "Watched",
    "watch",
]
