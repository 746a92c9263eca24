"""The allocator: freed memory stays with the process, so that it need not be mapped again."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

# Frees and takes a large tensor again and again; prints how often the kernel had to give pages.
PROGRAM = """
import resource, sys, torch
from glimpses import allocator
if sys.argv[1] == "kept":
    assert allocator.keep_freed_memory()
faults = []
for turn in range(6):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.zeros(10_000_000).add_(1)
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(min(faults[1:]))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc's malloc is tuned")
def test_freed_memory_is_kept() -> None:
    faults = {
        how: int(subprocess.check_output([sys.executable, "-c", PROGRAM, how], text=True))
        for how in ("default", "kept")
    }
    # 40 MB are 9766 pages of 4 kB; transparent huge pages make them fewer.
    assert faults["kept"] * 4 < faults["default"]
