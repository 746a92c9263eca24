"""ONNX Runtime is imported without its telemetry."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def test_import_records_nothing(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if "TELEMETRY" not in name}
    environment |= {name: str(tmp_path) for name in ("HOME", "XDG_CACHE_HOME", "TMPDIR")}
    subprocess.run(
        [sys.executable, "-c", "import glimpses.backbones.onnx_engine"],
        env=environment, check=True,
    )  # fmt: skip
    assert not list(tmp_path.iterdir())
