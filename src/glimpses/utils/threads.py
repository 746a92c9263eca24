"""Cures for the time PyTorch loses on a CPU: page faults, and threads that wait.

What stands in no function must be there before PyTorch is loaded; so the package imports this first
of all.
"""

from __future__ import annotations

import os

# How often a thread of GNU's OpenMP looks whether others are ready before it lets go of its core.
# By default, 300 000 times: milliseconds, in which none of the others gets that core where another
# program has one too. A training step on two shared cores then takes ten times as long.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "4000")

# Parameters of mallopt(3), from glibc's malloc.h.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4
_LARGEST, _PAD = 2**31 - 1, 1 << 28


def keep_freed_memory() -> bool:
    """Let this process keep big blocks of memory that it frees, instead of giving them back.

    By default glibc maps every large tensor anew and unmaps it when it is freed; each time the
    kernel fills its pages with zeros. What this process once had at the same time it will hold to
    its end.

    Returns:
        Whether the C library took the settings; False where it is not glibc.
    """
    import ctypes

    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return False
    settings = ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, _LARGEST), (_TOP_PAD, _PAD))
    return all(mallopt(name, value) == 1 for name, value in settings)
