"""Import and export of the authors' feature files and trained models."""

from __future__ import annotations

from glimpses.reproduce.authors.feature_export import ExportedFeatures, export_features
from glimpses.reproduce.authors.feature_import import ImportedFeatures, import_features
from glimpses.reproduce.authors.model_npz import (
    ExportedModel,
    ImportedModel,
    export_model,
    import_model,
)

__all__ = [
    "ExportedFeatures", "ExportedModel", "ImportedFeatures", "ImportedModel", "export_features",
    "export_model", "import_features", "import_model",
]  # fmt: skip
