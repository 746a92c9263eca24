"""Writing of video files: H.264 for browsers, or older codecs with reproducible bytes."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple, cast

import av
import numpy as np
from av.container import OutputContainer
from av.video.frame import VideoFrame
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc, VideoReformatter
from av.video.stream import VideoStream
from jaxtyping import UInt8

from glimpses.utils.errors import GlimpsesError
from glimpses.utils.files import atomic_write
from glimpses.video.convert import INTERPOLATION

# Quantiser of MPEG-1 and MPEG-4, from 1 (best) to 31, in FFmpeg's unit.
_QUANTISER = 3 * 118


class _Reproducible(NamedTuple):
    """FFmpeg's names of a codec that gives equal bytes for equal frames, and of its container."""

    codec: str
    container: str


_REPRODUCIBLE = {".avi": _Reproducible("mpeg4", "avi"), ".mpg": _Reproducible("mpeg1video", "mpeg")}


def write(path: str | Path, frames: Iterable[UInt8[np.ndarray, "H W 3"]], *, fps: float) -> None:
    """Write a video without sound.

    Files named .avi are MPEG-4 and files named .mpg are MPEG-1, both at high quality; for these,
    equal frames give equal bytes. MPEG-1 supports only the frame rates of film and television. All
    others are MP4 files with H.264 in yuv420p and the index in front, which every browser plays.
    Odd sizes are padded by repeating a row or column. The file is written atomically.

    Args:
        path: the file to write.
        frames: RGB, all of one size. Only one frame of a generator is in memory at a time.
        fps: frames per second.

    Raises:
        GlimpsesError: `frames` is empty, or the file cannot be written.
    """
    path = Path(path)
    reproducible = _REPRODUCIBLE.get(path.suffix.lower())
    rate = Fraction(fps).limit_denominator(1001)
    container = reproducible.container if reproducible else "mp4"
    options = {"fflags": "+bitexact"} if reproducible else {"movflags": "+faststart"}
    with atomic_write(path) as part:
        try:
            with av.open(str(part), "w", format=container, options=options) as out:
                written = _encode(out, frames, rate, reproducible)
        except av.FFmpegError as error:
            raise OSError(error.errno, error.strerror) from error
        if not written:
            raise GlimpsesError(f"{path}: there are no frames to write; give at least one")


def _encode(
    out: OutputContainer, frames: Iterable[UInt8[np.ndarray, "H W 3"]], rate: Fraction,
    reproducible: _Reproducible | None,
) -> int:  # fmt: skip
    """Encode all frames; return their number."""
    to_yuv = VideoReformatter()
    stream, written = None, 0
    for pixels in frames:
        even = _even(pixels)
        if stream is None:
            stream = _stream(out, even.shape, rate, reproducible)
        frame = to_yuv.reformat(
            VideoFrame.from_ndarray(even, format="rgb24"), format="yuv420p",
            dst_colorspace=Colorspace.ITU601 if reproducible else Colorspace.ITU709,
            dst_color_range=ColorRange.MPEG, interpolation=INTERPOLATION, threads=1,
        )  # fmt: skip
        frame.pts, frame.time_base = written, 1 / rate
        out.mux(stream.encode(frame))
        written += 1
    if stream is not None:
        out.mux(stream.encode(None))
    return written


def _stream(
    out: OutputContainer, shape: tuple[int, ...], rate: Fraction, reproducible: _Reproducible | None
) -> VideoStream:
    codec, options = "libx264", {"crf": "20", "preset": "veryfast"}
    if reproducible:
        # Several threads would not give the same bytes on every machine.
        codec, options = reproducible.codec, {"flags": "+bitexact+qscale", "threads": "1"}
    stream = cast(VideoStream, out.add_stream(codec, rate=rate, options=options))
    stream.height, stream.width = shape[:2]
    stream.pix_fmt = "yuv420p"
    context = stream.codec_context
    if reproducible:
        context.global_quality = _QUANTISER
    else:
        # Without these, players guess the colour matrix from the frame size.
        context.colorspace = Colorspace.ITU709
        context.color_range = ColorRange.MPEG
        context.color_primaries = ColorPrimaries.BT709
        context.color_trc = ColorTrc.BT709
    return stream


def _even(pixels: UInt8[np.ndarray, "H W 3"]) -> UInt8[np.ndarray, "h w 3"]:
    height, width, _ = pixels.shape
    if height % 2 or width % 2:
        pixels = np.pad(pixels, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    return np.ascontiguousarray(pixels)
