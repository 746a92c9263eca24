"""Shared helpers: errors, files, downloads, progress bars, templates, process settings."""

from __future__ import annotations
