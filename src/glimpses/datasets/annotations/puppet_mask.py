"""Masks of J-HMDB: the array `part_mask` in a MATLAB file, nonzero where the actor is.

The format is that of MATLAB 5 to 7 (MathWorks, "MAT-File Format", 2019). SciPy's reader unpacks
whatever size a compressed file claims; this one reads a single array of numbers and stops at a
limit.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
from jaxtyping import Bool

from glimpses import video
from glimpses.datasets.annotations.masks import MaskAnnotation
from glimpses.datasets.base import Clip
from glimpses.utils.errors import GlimpsesError

_VARIABLE = b"part_mask"
# Limits in bytes; the masks of a clip have 3 MB unpacked.
_MAX_FILE, _MAX_UNPACKED = 1 << 25, 1 << 28
_HEADER = 128
_MATRIX, _COMPRESSED = 14, 15
# Numeric arrays among MATLAB's classes, and NumPy's names of the types that values are stored in.
_NUMERIC = range(6, 16)
_TYPES = {
    1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8",
}  # fmt: skip


def read_puppet_mask(file: Path, clip: Clip) -> MaskAnnotation:
    """Read the masks of a clip of J-HMDB.

    Mask t belongs to the t-th decoded frame. Frames after the last mask are not annotated; masks
    after the last frame are ignored.
    """
    masks = load_part_mask(file)
    if not clip.path.exists():
        raise GlimpsesError(f"{file}: there is no video to count frames in; add {clip.path.name}")
    edges = video.frame_edges(clip.path)
    masks = masks[: len(edges) - 1]
    return MaskAnnotation(
        edges[: len(masks) + 1], np.packbits(masks, axis=-1), width=masks.shape[-1]
    )


def load_part_mask(file: Path) -> Bool[np.ndarray, "T H W"]:
    """Read the array `part_mask`, (H, W, T) in the file, of any numeric class.

    Raises:
        GlimpsesError: the file cannot be read, is damaged, too large, or has no such array.
    """
    try:
        return _parse(_read(file))
    except OSError as error:
        raise GlimpsesError(f"{file}: cannot be read ({error.strerror}); restore it") from error
    except (ValueError, KeyError, struct.error, zlib.error) as error:
        raise GlimpsesError(
            f"{file}: cannot be read as masks of J-HMDB ({error}); restore the distributor's file, "
            "or remove it to go without"
        ) from error


def encode_part_mask(masks: Bool[np.ndarray, "T H W"]) -> bytes:
    """Return a file that `load_part_mask` and MATLAB read; equal masks give equal bytes."""

    def element(kind: int, data: bytes) -> bytes:
        return struct.pack("<II", kind, len(data)) + data + bytes(-len(data) % 8)

    # Flags: the class uint8. Types: 6 is uint32, 5 int32, 1 int8 and 2 uint8.
    shape = (masks.shape[1], masks.shape[2], masks.shape[0])
    parts = element(6, struct.pack("<II", 9, 0)) + element(5, struct.pack("<iii", *shape))
    parts += element(1, _VARIABLE)
    parts += element(2, masks.transpose(0, 2, 1).astype(np.uint8).tobytes())
    packed = zlib.compress(element(_MATRIX, parts))
    header = b"MATLAB 5.0 MAT-file".ljust(_HEADER - 4) + b"\x00\x01IM"
    return header + struct.pack("<II", _COMPRESSED, len(packed)) + packed


def _read(file: Path) -> bytes:
    if file.exists() and not file.is_file():
        raise ValueError("it is not a regular file")
    if file.stat().st_size > _MAX_FILE:
        raise ValueError(f"it is larger than {_MAX_FILE >> 20} MB")
    return file.read_bytes()


def _parse(content: bytes) -> Bool[np.ndarray, "T H W"]:
    if content.startswith(b"MATLAB 7.3"):
        raise ValueError("MATLAB wrote it as version 7.3; save it with -v7")
    order = {b"IM": "<", b"MI": ">"}.get(content[126:_HEADER])
    if order is None:
        raise ValueError("it is not a MATLAB file")
    budget = _MAX_UNPACKED
    for kind, data in _elements(content[_HEADER:], order, aligned=False):
        inner = [(kind, data)]
        if kind == _COMPRESSED:
            unpacker = zlib.decompressobj()
            unpacked = unpacker.decompress(data, budget)
            budget -= len(unpacked)
            if unpacker.unconsumed_tail or not budget:
                raise ValueError(f"it unpacks to more than {_MAX_UNPACKED >> 20} MB")
            inner = list(islice(_elements(unpacked, order), 1))
        for matrix_kind, matrix in inner:
            if matrix_kind == _MATRIX and (masks := _read_matrix(matrix, order)) is not None:
                return masks
    raise ValueError("it has no array part_mask")


def _read_matrix(matrix: bytes, order: str) -> Bool[np.ndarray, "T H W"] | None:
    """Return the masks in a matrix; None if the matrix has another name."""
    parts = list(islice(_elements(matrix, order), 4))
    if len(parts) < 4 or parts[2][1] != _VARIABLE:
        return None
    (_, flags), (_, shape), _, (kind, values) = parts
    height, width, *rest = np.frombuffer(shape, f"{order}i4").tolist()
    # MATLAB drops the last axis of a clip with a single frame.
    count = math.prod(rest)
    is_numeric = struct.unpack_from(f"{order}I", flags)[0] & 0xFF in _NUMERIC
    if not is_numeric or len(rest) > 1 or min(height, width, count) < 1:
        raise ValueError("part_mask is not an array of numbers with three dimensions")
    pixels = np.frombuffer(values, f"{order}{_TYPES[kind]}")
    if len(pixels) != height * width * count:
        raise ValueError(f"part_mask has {len(pixels)} of {height * width * count} values")
    # MATLAB stores arrays column by column.
    return np.asarray(pixels != 0).reshape(count, width, height).transpose(0, 2, 1)


def _elements(data: bytes, order: str, *, aligned: bool = True) -> Iterator[tuple[int, bytes]]:
    """Yield type and content of each data element.

    Args:
        data: the elements.
        order: byte order, "<" or ">".
        aligned: whether elements are padded to multiples of eight bytes; compressed ones are not.
    """
    position = 0
    while position < len(data):
        kind, size = struct.unpack_from(f"{order}II", data, position)
        start = position + 8
        if kind >> 16:
            # A small element has its size and up to four bytes in place of the tag.
            kind, size, start = kind & 0xFFFF, kind >> 16, position + 4
        if size > len(data) - start:
            raise ValueError("it is truncated")
        yield kind, data[start : start + size]
        position = start + size
        if aligned or kind != _COMPRESSED:
            position += -position % 8
