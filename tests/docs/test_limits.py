"""The page of limits names every option and its default."""

from __future__ import annotations

import inspect
import re
from dataclasses import asdict
from pathlib import Path

from glimpses import video
from glimpses.serve import serve

PAGE = Path(__file__).parents[2] / "docs" / "limits.md"


def test_defaults_on_the_page() -> None:
    listed = dict(re.findall(r"^\| `--([\w-]+)` \| ([\d.]+) \|", PAGE.read_text(), re.MULTILINE))
    decoding = asdict(video.DecodeOptions())
    arguments = inspect.signature(serve).parameters
    defaults = decoding | {
        name: arguments[name].default
        for name in ("max_upload_mb", "max_seconds", "job_timeout", "max_queue", "retention")
    }
    assert {name.replace("-", "_"): float(value) for name, value in listed.items()} == defaults
