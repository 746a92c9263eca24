"""Process-wide settings of PyTorch: speed on a CPU, and use after a fork.

Only the command line applies those that change the speed.
"""

from __future__ import annotations

import os
import sys
from functools import cache

# How often a thread of GNU's OpenMP polls before it gives up its core. The default of 300,000 takes
# milliseconds. On two cores shared with another program, that makes a training step ten times as
# slow.
_SPIN_COUNT = "4000"

# Parameters of mallopt(3), from glibc's malloc.h.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4
_LARGEST, _PAD = 2**31 - 1, 1 << 28


def shorten_thread_spin() -> None:
    """Shorten the time that idle OpenMP threads spin; call this before PyTorch is imported.

    An environment that sets `GOMP_SPINCOUNT` or `OMP_WAIT_POLICY` takes precedence.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", _SPIN_COUNT)


def keep_freed_memory() -> bool:
    """Keep large freed blocks in this process instead of returning them to the system.

    By default glibc maps every large tensor again and unmaps it when it is freed, and the kernel
    fills its pages with zeros each time. The process then holds its peak memory until it ends.
    Return False if the C library is not glibc and does not support the settings.
    """
    import ctypes

    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return False
    settings = ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, _LARGEST), (_TOP_PAD, _PAD))
    return all(mallopt(name, value) == 1 for name, value in settings)


@cache
def allow_forks() -> None:
    """Let a forked child of this process run the models that are loaded here.

    GNU's OpenMP waits forever for the threads that a child does not have, unless it uses one only.
    """
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_use_one_thread)


def _use_one_thread() -> None:
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
