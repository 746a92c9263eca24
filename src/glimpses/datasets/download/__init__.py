"""Downloads of the paper's data sets from their distributors."""

from __future__ import annotations

from glimpses.datasets.download.dataset import DownloadedSet, download

__all__ = [
    "DownloadedSet",
    "download",
]
