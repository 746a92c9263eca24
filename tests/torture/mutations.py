"""Random damage to the bytes of a file."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import numpy as np

# Four letters: the name of a box, chunk or codec, beside which lengths stand.
_NAME = re.compile(rb"[A-Za-z][A-Za-z0-9 _]{3}")
_EXTREMES = (0, 1, 7, 8, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)
_Mutation = Callable[[bytes, np.random.Generator, Sequence[bytes]], bytes]


def mutate(content: bytes, rng: np.random.Generator, others: Sequence[bytes]) -> bytes:
    """Return a file with one to three kinds of damage; some need another file."""
    for _ in range(rng.integers(1, 4)):
        content = _MUTATIONS[rng.integers(len(_MUTATIONS))](content, rng, others)
    return content


def _flip_bits(content: bytes, rng: np.random.Generator, others: Sequence[bytes]) -> bytes:
    changed = bytearray(content)
    for _ in range(int(2 ** rng.uniform(0, 7))):
        if changed:
            changed[_position(content, rng)] ^= 1 << rng.integers(8)
    return bytes(changed)


def _set_bytes(content: bytes, rng: np.random.Generator, others: Sequence[bytes]) -> bytes:
    start, end = _range(content, rng)
    filler = (bytes(end - start), b"\xff" * (end - start), rng.bytes(end - start))
    return content[:start] + filler[rng.integers(3)] + content[end:]


def _truncate(content: bytes, rng: np.random.Generator, others: Sequence[bytes]) -> bytes:
    return content[: rng.integers(len(content) + 1)]


def _duplicate(content: bytes, rng: np.random.Generator, others: Sequence[bytes]) -> bytes:
    start, end = _range(content, rng)
    return content[:end] * int(rng.integers(1, 3)) + content[start:]


def _remove(content: bytes, rng: np.random.Generator, others: Sequence[bytes]) -> bytes:
    start, end = _range(content, rng)
    return content[:start] + content[end:]


def _swap(content: bytes, rng: np.random.Generator, others: Sequence[bytes]) -> bytes:
    a, b, c, d = sorted(rng.integers(0, len(content) + 1, 4).tolist())
    return content[:a] + content[c:d] + content[b:c] + content[a:b] + content[d:]


def _set_length(content: bytes, rng: np.random.Generator, others: Sequence[bytes]) -> bytes:
    """Set a field of 1 to 8 bytes near a name, or anywhere, to an extreme value."""
    changed, size = bytearray(content), int(2 ** rng.integers(0, 4))
    names = [match.start() for match in _NAME.finditer(content[:100_000])]
    for _ in range(rng.integers(1, 4)):
        at = _position(content, rng)
        if names and rng.random() < 0.7:
            at = names[rng.integers(len(names))] + int(rng.choice((-4, 4, 8, 12, 16, 20, 24, 28)))
        value = int(_EXTREMES[rng.integers(len(_EXTREMES))]) * int(rng.choice((1, 1, 2**32)))
        order = ("big", "little")[rng.integers(2)]
        if 0 <= at <= len(changed) - size:
            changed[at : at + size] = (value % 256**size).to_bytes(size, order)
    return bytes(changed)


def _join(content: bytes, rng: np.random.Generator, others: Sequence[bytes]) -> bytes:
    other = others[rng.integers(len(others))]
    at = rng.integers(len(content) + 1) if rng.random() < 0.5 else len(content)
    return content[:at] + other + content[at:]


def _position(content: bytes, rng: np.random.Generator) -> int:
    """Return a position, often in the first or last bytes, which hold the headers."""
    near = min(len(content), int(2 ** rng.uniform(5, 12)))
    start = rng.choice((0, len(content) - near, -1))
    return int(rng.integers(max(1, len(content))) if start < 0 else start + rng.integers(near or 1))


def _range(content: bytes, rng: np.random.Generator) -> tuple[int, int]:
    start = _position(content, rng)
    return start, min(len(content), start + int(2 ** rng.uniform(0, 11)))


_MUTATIONS: tuple[_Mutation, ...] = (
    _flip_bits, _flip_bits, _set_bytes, _truncate, _duplicate, _remove, _swap, _set_length,
    _set_length, _set_length, _join,
)  # fmt: skip
