"""Live recognition: cameras, network streams and files at playback speed."""

from __future__ import annotations

from glimpses.live.live_recogniser import LiveStats
from glimpses.live.session import watch

__all__ = ["LiveStats", "watch"]
