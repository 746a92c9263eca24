"""Trees of empty files under official names."""

from __future__ import annotations

from pathlib import Path


def make(root: Path, *ids: str) -> Path:
    for id in ids:
        (root / id).parent.mkdir(parents=True, exist_ok=True)
        (root / id).write_bytes(b"")
    return root
