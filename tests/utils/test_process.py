"""Freed memory stays with the process, and threads wait briefly."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys

import pytest

# Frees and takes a large tensor again and again; prints how many pages the kernel had to give once
# the process had taken the few blocks between which malloc then goes round.
PROGRAM = """
import resource, sys, torch
from glimpses.utils import process
if sys.argv[1] == "kept":
    assert process.keep_freed_memory()
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
    # By default each of the 20 turns takes 40 MB anew: 9766 pages of 4 kB.
    assert faults["kept"] * 4 < faults["default"]


SPIN = "from glimpses.utils.process import *; shorten_thread_spin(); import torch"


def waiting(**environment: str) -> str:
    """How GNU's OpenMP says that its threads wait, once Glimpses and then PyTorch are loaded."""
    # This process has set it already.
    clean = {name: value for name, value in os.environ.items() if name != "GOMP_SPINCOUNT"}
    told = subprocess.run(
        [sys.executable, "-c", SPIN],
        env={**clean, "OMP_DISPLAY_ENV": "VERBOSE", **environment},
        stderr=subprocess.PIPE, text=True, check=True,
    ).stderr  # fmt: skip
    found = re.findall(r"GOMP_SPINCOUNT = '(\w+)'", told)
    if not found:
        pytest.skip("PyTorch's threads are not those of GNU's OpenMP")
    assert len(set(found)) == 1
    return str(found[0])


def test_threads_wait_briefly_unless_told_otherwise() -> None:
    assert waiting() == "4000"
    assert waiting(GOMP_SPINCOUNT="77") == "77"
    assert waiting(OMP_WAIT_POLICY="PASSIVE") == "0"


def test_importing_the_package_changes_nothing() -> None:
    program = (
        "import os; before = dict(os.environ); import glimpses, glimpses.training, glimpses.viz;"
        "print(before == dict(os.environ))"
    )
    clean = {name: value for name, value in os.environ.items() if name != "GOMP_SPINCOUNT"}
    assert subprocess.check_output([sys.executable, "-c", program], env=clean, text=True) == (
        "True\n"
    )
