"""Files of cubes: safetensors with a checksum, verified before their first use.

Extraction writes cubes that nothing reads for months. A flipped bit in them would show as a
slightly worse score at most, so every file has the XXH3-128 of its cubes in its header.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
import safetensors.numpy
import xxhash
from jaxtyping import Float16

from glimpses.utils.errors import GlimpsesError, describe_error
from glimpses.utils.files import atomic_write

_CHECKSUM = "xxh3_128"
# Bytes of a header; ours have about 150.
_MAX_HEADER = 4096


class DamagedFeaturesError(GlimpsesError):
    """A file of stored features cannot be used.

    Attributes:
        path: the file.
        problem: file and reason, without what to do.
    """

    def __init__(self, path: Path, error: Exception | str, remedy: str) -> None:
        reason = error if isinstance(error, str) else describe_error(error)
        self.path = path
        self.problem = f"{path}: is damaged ({reason})"
        super().__init__(f"{self.problem}; {remedy}")


class PartHeader(NamedTuple):
    """Byte offset of the cubes in a file, their shape (N, P, D) and their checksum."""

    offset: int
    shape: tuple[int, int, int]
    checksum: str


#: Errors of `read_header` and `verify` for a damaged file.
DAMAGE = (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError)


def write(path: Path, cubes: Float16[np.ndarray, "N P D"]) -> None:
    """Store cubes atomically, with their checksum."""
    cubes = np.ascontiguousarray(cubes, dtype=np.float16)
    checksum = checksum_of(cubes.view(np.uint8).reshape(-1).data)
    content = safetensors.numpy.save({"cubes": cubes}, {_CHECKSUM: checksum})
    with atomic_write(path) as part:
        # `save_file` would put another file in place of the locked one.
        part.write_bytes(content)


def checksum_of(content: bytes | memoryview) -> str:
    """Return the XXH3-128 of bytes in hexadecimal."""
    return xxhash.xxh3_128_hexdigest(content)


def read_header(path: Path) -> PartHeader:
    """Return the header of a file, after comparing it with the size of the file.

    The file is read and not mapped: a bad sector below a mapping would end the process.

    Raises:
        OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError: see `DAMAGE`.
    """
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > _MAX_HEADER:
            raise ValueError("its header is broken")
        header = json.loads(file.read(length))
        size = os.fstat(file.fileno()).st_size
    cubes, checksum = header["cubes"], header.get("__metadata__", {}).get(_CHECKSUM)
    if checksum is None:
        raise ValueError("it has no checksum, as files of earlier versions")
    frames, places, channels = map(int, cubes["shape"])
    values = 2 * math.prod((frames, places, channels))
    if cubes["dtype"] != "F16" or cubes["data_offsets"] != [0, values]:
        raise ValueError("its header is broken")
    if size != 8 + length + values:
        raise ValueError(f"it has {size} bytes instead of {8 + length + values}")
    return PartHeader(8 + length, (frames, places, channels), str(checksum))


def verify(path: Path) -> PartHeader:
    """Read a whole file, compare its cubes with their checksum, and return its header.

    Raises:
        OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError: see `DAMAGE`.
    """
    header = read_header(path)
    with path.open("rb") as file:
        file.seek(header.offset)
        if hashlib.file_digest(file, xxhash.xxh3_128).hexdigest() != header.checksum:
            raise ValueError("its checksum is wrong")
    return header
