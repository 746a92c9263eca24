"""Short form of the torture suite: one small step of every kind of harm."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.torture.__main__ import KINDS


@pytest.mark.skipif(sys.platform != "linux", reason="forks, and reads /proc")
def test_short_form(tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "tests.torture", "--short", "--failures", tmp_path / "failures"],
        cwd=Path(__file__).parents[2], env={**os.environ, "TMPDIR": str(tmp_path)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    rows = re.findall(r"^(\w+) +(\d+) +0 ", result.stdout, re.MULTILINE)
    assert {kind for kind, _ in rows} == set(KINDS)
    assert all(int(tried) for _, tried in rows)
