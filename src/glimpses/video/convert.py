"""Conversion of decoded frames to RGB arrays: upright, with square pixels, resized."""

from __future__ import annotations

from fractions import Fraction
from typing import NamedTuple

import numpy as np
from av.sidedata.sidedata import SideDataContainer
from av.video.frame import VideoFrame
from av.video.reformatter import Colorspace, Interpolation, VideoReformatter
from av.video.stream import VideoStream
from jaxtyping import UInt8

from glimpses.video.hdr import is_hdr, tone_map

#: Name of the resampling in the key of the feature store: resizers differ by some grey levels.
RESIZER = "swscale-bilinear"
INTERPOLATION = Interpolation.BILINEAR | Interpolation.ACCURATE_RND

# Value of a frame's colour space that is not declared.
_UNSPECIFIED = 2
# Largest picture of standard definition, in pixels. Players take larger ones for BT.709.
_SD_WIDTH, _SD_HEIGHT = 1279, 576


class Orientation(NamedTuple):
    """Steps that turn a picture upright: transpose, mirror left to right, flip upside down."""

    transposed: bool = False
    mirrored: bool = False
    flipped: bool = False


class DecodedFrame(NamedTuple):
    """Decoded frame before conversion.

    Attributes:
        frame: as the decoder returned it.
        pixel_aspect: width of the source's pixels over their height; None if unknown.
        number: number of the frame in its file, from 0.
        orientation: what turns the frame upright.
    """

    frame: VideoFrame
    pixel_aspect: Fraction | None = None
    number: int = 0
    orientation: Orientation = Orientation()

    @property
    def size(self) -> tuple[int, int]:
        """Width and height on display, in pixels: upright, and with square pixels."""
        aspect, width, height = float(self.pixel_aspect or 1), self.frame.width, self.frame.height
        # Outside this range the header is damaged.
        width = max(1, round(width * aspect)) if 0.1 <= aspect <= 10 else width
        return (height, width) if self.orientation.transposed else (width, height)


class FrameCounter:
    """Wrapper of the frames of one stream, in their order, as instances of `DecodedFrame`.

    Attributes:
        count: number of frames so far.
    """

    def __init__(self, stream: VideoStream) -> None:
        self._stream = stream
        self._orientation = Orientation()
        self.count = 0

    def __call__(self, frame: VideoFrame) -> DecodedFrame:
        """Return the next frame with its number and orientation."""
        # Some files give the orientation with their first frame only: it holds until the next one.
        self._orientation = _orientation(frame) or self._orientation
        self.count += 1
        aspect = self._stream.sample_aspect_ratio
        return DecodedFrame(frame, aspect, self.count - 1, self._orientation)


class RGBConverter:
    """Converter for the frames of one stream.

    Args:
        size: width and height of the arrays in pixels; None for the size of the first frame on
            display, also where the size changes later.
    """

    def __init__(self, size: tuple[int, int] | None) -> None:
        self._size = size
        # One for the whole stream: creating one for each frame costs more than decoding.
        self._reformatter = VideoReformatter()
        self._frame: VideoFrame | None = None
        self._pixels = np.empty((0, 0, 3), np.uint8)

    def __call__(self, decoded: DecodedFrame) -> UInt8[np.ndarray, "H W 3"]:
        """Convert a frame to an array that owns its memory."""
        # At a sampling rate above the video's, the same frame comes several times.
        if decoded.frame is not self._frame:
            self._frame, self._pixels = decoded.frame, self._convert(decoded)
        return self._pixels

    def _convert(self, decoded: DecodedFrame) -> UInt8[np.ndarray, "H W 3"]:
        frame, (transposed, mirrored, flipped) = decoded.frame, decoded.orientation
        self._size = self._size or decoded.size
        width, height = self._size[::-1] if transposed else self._size
        high_range = is_hdr(frame)
        rgb = self._reformatter.reformat(
            frame, width, height, "rgb48le" if high_range else "rgb24", threads=1,
            src_colorspace=_undeclared_colorspace(frame), interpolation=INTERPOLATION,
        )  # fmt: skip
        pixels = rgb.to_ndarray()
        if high_range:
            pixels = tone_map(pixels, frame.color_trc)
        if transposed:
            pixels = pixels.transpose(1, 0, 2)
        return np.ascontiguousarray(pixels[:: -1 if flipped else 1, :: -1 if mirrored else 1])


def _undeclared_colorspace(frame: VideoFrame) -> Colorspace | None:
    """Return the colour space of a frame that does not declare it; None for FFmpeg's default."""
    if frame.colorspace != _UNSPECIFIED or frame.format.is_rgb or frame.format.has_palette:
        return None
    if is_hdr(frame):
        return Colorspace.BT2020
    is_sd = frame.width <= _SD_WIDTH and frame.height <= _SD_HEIGHT
    return None if is_sd else Colorspace.ITU709


def _orientation(frame: VideoFrame) -> Orientation | None:
    """Return the orientation that comes with a frame.

    QuickTime's display matrix maps pixel (x, y) to (a x + c y, b x + d y). Quarter turns and
    mirrors are supported; nothing else is in use.
    """
    try:
        # Not `frame.side_data`: it and the frame would reference each other, and hundreds of
        # frames would stay in memory until Python collects such cycles. PyAV's stub lacks the
        # argument.
        matrix = SideDataContainer(frame)["DISPLAYMATRIX"]  # type: ignore[call-arg]
    except KeyError:
        return None
    a, b, _, c, d = np.frombuffer(bytes(matrix), np.int32)[:5].tolist()
    return Orientation(True, c < 0, b < 0) if abs(a) < abs(b) else Orientation(False, a < 0, d < 0)
