"""The allocator: freed memory stays with the process, so that it need not be mapped again."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

# Frees and takes a large tensor again and again; prints how many pages the kernel had to give once
# the process had taken the few blocks between which malloc then goes round.
PROGRAM = """
import resource, sys, torch
from glimpses import allocator
if sys.argv[1] == "kept":
    assert allocator.keep_freed_memory()
faults = []
for turn in range(30):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.zeros(10_000_000).add_(1)
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(sum(faults[10:]))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc's malloc is tuned")
def test_freed_memory_is_kept() -> None:
    faults = {
        how: int(subprocess.check_output([sys.executable, "-c", PROGRAM, how], text=True))
        for how in ("default", "kept")
    }
    # By default each of the 20 turns takes 40 MB anew: 9766 pages of 4 kB, or fewer huge ones.
    assert faults["kept"] * 4 < faults["default"]
