"""ONNX export of a run."""

from __future__ import annotations

from glimpses.runs.onnx.export_run import OnnxExport, export

__all__ = ["OnnxExport", "export"]
