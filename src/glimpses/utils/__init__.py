"""Shared helpers: errors, files, downloads, progress bars, templates, process settings."""
