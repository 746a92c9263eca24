"""Shared helpers: errors, atomic files, downloads, progress bars, templates."""

from __future__ import annotations
