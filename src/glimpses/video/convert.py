"""Decoded frames to RGB arrays: upright, with square pixels, of the size asked for."""

from __future__ import annotations

from fractions import Fraction
from typing import NamedTuple

import numpy as np
from av.sidedata.sidedata import SideDataContainer
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter
from jaxtyping import UInt8

#: The resampling, as it stands in the feature store's key: resizers differ by some grey levels.
RESIZER = "swscale-bilinear"
INTERPOLATION = Interpolation.BILINEAR | Interpolation.ACCURATE_RND


class DecodedFrame(NamedTuple):
    """A decoded frame before it is converted, and what else it takes to see it.

    Attributes:
        frame: as the decoder gave it.
        pixel_aspect: width of the source's pixels over their height; None if not known.
    """

    frame: VideoFrame
    pixel_aspect: Fraction | None

    @property
    def size(self) -> tuple[int, int]:
        """Width and height on display, in pixels."""
        return display_size(self.frame, self.pixel_aspect)


class RGBConverter:
    """Converts the frames of one stream.

    Args:
        size: width and height of the arrays in pixels; None for the size on display.
        pixel_aspect: width of the source's pixels over their height; None if not known.
    """

    def __init__(self, size: tuple[int, int] | None, pixel_aspect: Fraction | None) -> None:
        self._size = size
        self._pixel_aspect = pixel_aspect
        # One for the whole stream: building one for each frame costs more than decoding.
        self._reformatter = VideoReformatter()
        self._frame: VideoFrame | None = None
        self._pixels = np.empty((0, 0, 3), np.uint8)

    def __call__(self, frame: VideoFrame) -> UInt8[np.ndarray, "H W 3"]:
        """The frame as an array of its own memory."""
        # Where samples come faster than frames, one frame is asked for several times.
        if frame is not self._frame:
            self._frame, self._pixels = frame, self._converted(frame)
        return self._pixels

    def _converted(self, frame: VideoFrame) -> UInt8[np.ndarray, "H W 3"]:
        turned, mirrored, upended = _orientation(frame)
        width, height = self._size or display_size(frame, self._pixel_aspect)
        if turned:
            width, height = height, width
        rgb = self._reformatter.reformat(
            frame,
            width=width,
            height=height,
            format="rgb24",
            interpolation=INTERPOLATION,
            threads=1,
        )
        pixels = rgb.to_ndarray()
        if turned:
            pixels = pixels.transpose(1, 0, 2)
        return np.ascontiguousarray(pixels[:: -1 if upended else 1, :: -1 if mirrored else 1])


def display_size(frame: VideoFrame, pixel_aspect: Fraction | None) -> tuple[int, int]:
    """Width and height at which a frame is seen: upright, and with square pixels."""
    aspect = float(pixel_aspect or 1)
    # Beyond this a header is damaged rather than a picture that thin.
    width = round(frame.width * aspect) if 0.1 <= aspect <= 10 else frame.width
    return (frame.height, max(1, width)) if _orientation(frame)[0] else (width, frame.height)


def _orientation(frame: VideoFrame) -> tuple[bool, bool, bool]:
    """Whether to swap rows with columns, then mirror left to right, then turn upside down.

    QuickTime's display matrix takes pixel (x, y) to (a x + c y, b x + d y). Quarter turns and
    mirrors are honoured; nothing else is in use.
    """
    try:
        # Not `frame.side_data`: it and the frame would hold each other, and hundreds of frames lie
        # in memory until Python looks for such cycles. PyAV's stub does not know its argument.
        matrix = SideDataContainer(frame)["DISPLAYMATRIX"]  # type: ignore[call-arg]
    except KeyError:
        return False, False, False
    a, b, _, c, d = np.frombuffer(bytes(matrix), np.int32)[:5].tolist()
    return (True, c < 0, b < 0) if abs(a) < abs(b) else (False, a < 0, d < 0)
