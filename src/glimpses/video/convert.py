"""Conversion of decoded frames to RGB arrays: upright, with square pixels, resized."""

from __future__ import annotations

from fractions import Fraction
from typing import NamedTuple

import numpy as np
from av.sidedata.sidedata import SideDataContainer
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter
from jaxtyping import UInt8

#: Name of the resampling in the key of the feature store: resizers differ by some grey levels.
RESIZER = "swscale-bilinear"
INTERPOLATION = Interpolation.BILINEAR | Interpolation.ACCURATE_RND


class DecodedFrame(NamedTuple):
    """Decoded frame before conversion.

    Attributes:
        frame: as the decoder returned it.
        pixel_aspect: width of the source's pixels over their height; None if unknown.
        number: number of the frame in its file, from 0.
    """

    frame: VideoFrame
    pixel_aspect: Fraction | None
    number: int = 0

    @property
    def size(self) -> tuple[int, int]:
        """Width and height on display, in pixels."""
        return display_size(self.frame, self.pixel_aspect)


class RGBConverter:
    """Converter for the frames of one stream.

    Args:
        size: width and height of the arrays in pixels; None for the size on display.
        pixel_aspect: width of the source's pixels over their height; None if unknown.
    """

    def __init__(self, size: tuple[int, int] | None, pixel_aspect: Fraction | None) -> None:
        self._size = size
        self._pixel_aspect = pixel_aspect
        # One for the whole stream: creating one for each frame costs more than decoding.
        self._reformatter = VideoReformatter()
        self._frame: VideoFrame | None = None
        self._pixels = np.empty((0, 0, 3), np.uint8)

    def __call__(self, frame: VideoFrame) -> UInt8[np.ndarray, "H W 3"]:
        """Convert a frame to an array that owns its memory."""
        # At a sampling rate above the video's, the same frame comes several times.
        if frame is not self._frame:
            self._frame, self._pixels = frame, self._convert(frame)
        return self._pixels

    def _convert(self, frame: VideoFrame) -> UInt8[np.ndarray, "H W 3"]:
        transposed, mirrored, flipped = _orientation(frame)
        width, height = self._size or display_size(frame, self._pixel_aspect)
        if transposed:
            width, height = height, width
        rgb = self._reformatter.reformat(
            frame, width, height, "rgb24", interpolation=INTERPOLATION, threads=1
        )
        pixels = rgb.to_ndarray()
        if transposed:
            pixels = pixels.transpose(1, 0, 2)
        return np.ascontiguousarray(pixels[:: -1 if flipped else 1, :: -1 if mirrored else 1])


def display_size(frame: VideoFrame, pixel_aspect: Fraction | None) -> tuple[int, int]:
    """Return the width and height of a frame on display: upright, and with square pixels."""
    aspect = float(pixel_aspect or 1)
    # Outside this range the header is damaged.
    width = round(frame.width * aspect) if 0.1 <= aspect <= 10 else frame.width
    return (frame.height, max(1, width)) if _orientation(frame)[0] else (width, frame.height)


def _orientation(frame: VideoFrame) -> tuple[bool, bool, bool]:
    """Return whether to transpose, then mirror left to right, then flip upside down.

    QuickTime's display matrix maps pixel (x, y) to (a x + c y, b x + d y). Quarter turns and
    mirrors are supported; nothing else is in use.
    """
    try:
        # Not `frame.side_data`: it and the frame would reference each other, and hundreds of
        # frames would stay in memory until Python collects such cycles. PyAV's stub lacks the
        # argument.
        matrix = SideDataContainer(frame)["DISPLAYMATRIX"]  # type: ignore[call-arg]
    except KeyError:
        return False, False, False
    a, b, _, c, d = np.frombuffer(bytes(matrix), np.int32)[:5].tolist()
    return (True, c < 0, b < 0) if abs(a) < abs(b) else (False, a < 0, d < 0)
