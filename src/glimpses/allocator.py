"""Cures for the time PyTorch's CPU kernels lose to memory: page faults, and pages of 4 kB."""

from __future__ import annotations

import ctypes
import os

# PyTorch then asks the kernel for huge pages for large tensors, and products of large matrices are
# up to a tenth faster. It looks once, at its first tensor; so this stands here, in no function.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")

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
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return False
    settings = ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, _LARGEST), (_TOP_PAD, _PAD))
    return all(mallopt(name, value) == 1 for name, value in settings)
