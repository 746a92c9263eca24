"""Limits on the decoding of one clip, the same for every command and for the Python interface."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path

from glimpses.utils.errors import GlimpsesError


@dataclass(frozen=True)
class DecodeOptions:
    """Limits on the decoding of one clip.

    A clip that exceeds one is reported and left out, and the others are read. Memory is limited on
    Linux only.

    Attributes:
        clip_timeout: seconds without a frame until a clip is given up.
        clip_memory: gigabytes that the decoder of a clip may take.
        max_megapixels: largest picture to decode, in millions of pixels.
        max_samples: most frames to sample from a clip.
    """

    clip_timeout: float = 30.0
    clip_memory: float = 4.0
    max_megapixels: float = 100.0
    max_samples: int = 1_000_000

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not 0 < value < math.inf:
                name = field.name.replace("_", "-")
                raise GlimpsesError(f"--{name} {value:g}: give a number above 0")


_options, _isolated = DecodeOptions(), True
_on_frame: Callable[[], None] | None = None


def decode_options() -> DecodeOptions:
    """Return the limits on decoding in this process."""
    return _options


def is_isolated() -> bool:
    """Return whether this process has its videos decoded by worker processes."""
    return _isolated


def set_decode_options(options: DecodeOptions, *, isolated: bool = True) -> None:
    """Set the limits on decoding for this process, from the next clip on.

    Args:
        options: the limits.
        isolated: decode in worker processes, so that a file which crashes or blocks the decoder
            costs no other clip. Without them, only the sizes are limited.
    """
    global _options, _isolated
    _options, _isolated = options, isolated


def check_picture_size(path: str | Path, width: int, height: int) -> None:
    """Check the size of a video's pictures before any is decoded.

    Raises:
        GlimpsesError: they are larger than the limit.
    """
    limit = _options.max_megapixels
    if width * height > 1e6 * limit:
        raise GlimpsesError(
            f"{path}: has pictures of {width}x{height} pixels, more than {limit:g} million; make "
            "it smaller or raise --max-megapixels"
        )


def count_frame() -> None:
    """Note that the decoder has returned a frame, sampled or not."""
    if _on_frame is not None:
        _on_frame()


def on_each_frame(callback: Callable[[], None]) -> None:
    """Have a function called at each decoded frame."""
    global _on_frame
    _on_frame = callback
