"""Layouts of data sets on disk: class folders, UCF-11, HMDB-51, Hollywood2 and features."""

from __future__ import annotations
