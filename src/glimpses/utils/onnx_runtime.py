"""ONNX Runtime without telemetry.

Its wheels for Linux (seen in 1.32) record sessions in the user's cache and send the records to
Microsoft, unless a variable is set before the import.
"""

from __future__ import annotations

import os

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import onnxruntime

__all__ = ["onnxruntime"]
