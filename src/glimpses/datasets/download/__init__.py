"""Downloads of UCF-11, HMDB-51, J-HMDB and Hollywood2 from their distributors."""

from __future__ import annotations

from glimpses.datasets.download.dataset import DownloadedSet, download

__all__ = ["DownloadedSet", "download"]
