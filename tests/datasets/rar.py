"""Writer of RAR archives (version 4, as UCF-11 and HMDB-51 use) with uncompressed entries."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from zlib import crc32

_STORED = 0x30
_UNIX = 3
_DATE = 0x5A210000  # 1 January 2025, in DOS time.


def rar(files: Mapping[str, bytes]) -> bytes:
    """Return an archive of files; a name that ends with a slash is a folder."""
    return b"".join(
        [
            b"Rar!\x1a\x07\x00",
            _block(0x73, 0, b"\0" * 6),
            *(_entry(name, content) for name, content in files.items()),
            _block(0x7B, 0x4000, b""),
        ]
    )


def _entry(name: str, content: bytes) -> bytes:
    folder = name.endswith("/")
    encoded = name.rstrip("/").encode()
    fields = struct.pack(
        "<IIBIIBBHI",
        len(content),
        len(content),
        _UNIX,
        crc32(content),
        _DATE,
        29,
        _STORED,
        len(encoded),
        0o040755 if folder else 0o100644,
    )
    return _block(0x74, 0x8000 | (0xE0 if folder else 0), fields + encoded) + content


def _block(kind: int, flags: int, fields: bytes) -> bytes:
    head = struct.pack("<BHH", kind, flags, 7 + len(fields)) + fields
    return struct.pack("<H", crc32(head) & 0xFFFF) + head
