"""Tests of the process-wide settings: they take effect, and only the command line applies them."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys

import pytest

# Allocates and frees a large tensor repeatedly, and prints the page faults after the first turns,
# once malloc cycles through the same few blocks.
ALLOCATE = """
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

SPIN = "from glimpses.utils.process import *; shorten_thread_spin(); import torch"


def clean_environment() -> dict[str, str]:
    # Glimpses and tensorboardX may have set these in this process already.
    return {
        name: value
        for name, value in os.environ.items()
        if name not in ("GOMP_SPINCOUNT", "CRC32C_SW_MODE")
    }


def openmp_spin_count(**environment: str) -> str:
    """Return the spin count that GNU's OpenMP reports once Glimpses and PyTorch are loaded."""
    report = subprocess.run(
        [sys.executable, "-c", SPIN],
        env={**clean_environment(), "OMP_DISPLAY_ENV": "VERBOSE", **environment},
        stderr=subprocess.PIPE, text=True, check=True,
    ).stderr  # fmt: skip
    counts = re.findall(r"GOMP_SPINCOUNT = '(\w+)'", report)
    if not counts:
        pytest.skip("PyTorch does not use GNU's OpenMP here")
    assert len(set(counts)) == 1
    return str(counts[0])


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc's malloc is tuned")
def test_freed_memory_is_kept() -> None:
    faults = {
        mode: int(subprocess.check_output([sys.executable, "-c", ALLOCATE, mode], text=True))
        for mode in ("default", "kept")
    }
    # By default each of the 20 turns maps 40 MB again: 9766 pages of 4 kB.
    assert faults["kept"] * 4 < faults["default"]


def test_threads_spin_briefly_unless_the_environment_says_otherwise() -> None:
    assert openmp_spin_count() == "4000"
    assert openmp_spin_count(GOMP_SPINCOUNT="77") == "77"
    assert openmp_spin_count(OMP_WAIT_POLICY="PASSIVE") == "0"


def test_importing_the_package_leaves_the_environment_unchanged() -> None:
    program = (
        "import os; before = dict(os.environ); import glimpses, glimpses.training, glimpses.viz;"
        "print(before == dict(os.environ))"
    )
    output = subprocess.check_output(
        [sys.executable, "-c", program], env=clean_environment(), text=True
    )
    assert output == "True\n"
