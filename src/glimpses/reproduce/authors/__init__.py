"""File formats of the paper's authors: feature files and trained models."""

from __future__ import annotations
