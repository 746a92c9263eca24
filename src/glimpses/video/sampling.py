"""Frames of a video at a fixed rate, by presentation time."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import av
import numpy as np
from av.video.frame import VideoFrame
from jaxtyping import Float64, UInt8

from glimpses.utils.errors import GlimpsesError
from glimpses.video.convert import DecodedFrame, RGBConverter
from glimpses.video.decode import Decoder
from glimpses.video.probe import no_picture, opened

log = logging.getLogger(__name__)

#: Frames per second to sample, or "native" for every frame there is.
FrameRate = float | Literal["native"]

# Time stamps are rounded to the container's unit, which may be a millisecond.
_EARLY = 1e-3


class Frame(NamedTuple):
    """A sampled frame: seconds since the video's first frame, and RGB pixels, uint8 (H, W, 3)."""

    time: float
    pixels: UInt8[np.ndarray, "H W 3"]


@dataclass(frozen=True)
class ClipFrames:
    """A whole clip in memory.

    Attributes:
        frames: RGB.
        times: seconds since the first frame.
        problem: what is wrong with the file, as in `FrameReader.problem`; None if nothing.
    """

    frames: UInt8[np.ndarray, "N H W 3"]
    times: Float64[np.ndarray, " N"]
    problem: str | None


class FrameReader:
    """Frames of a video at a fixed rate, one pass, in constant memory.

    Sample k is the frame on display k / fps seconds after the first one appeared, to a
    millisecond; so sources of any rate, even a varying one, come out at the same speed. FrameSource
    are turned upright as the file says. Of damaged parts the decoder's best guess is taken, if it
    has one; a file that ends early gives what it has.

    ```python
    reader = FrameReader(Path("clip.mp4"), fps=10)
    for frame in reader:
        print(frame.time, frame.pixels.shape)  # 0.0 (224, 224, 3), 0.1 ...
    ```

    Args:
        path: the file; its content decides what it is, not its name.
        fps: samples per second, or "native" for every frame.
        size: of the frames in pixels: one number for a square, to which pictures are squeezed as
            the paper does with 224x224; (width, height); or None for the size on display.

    Attributes:
        problem: after the iteration, what is wrong with the file in a few words, such as "breaks
            off at 1.20 s of 3.40 s"; None if nothing.

    Raises:
        GlimpsesError: `fps` or `size` is out of range; when iterated, there is no video to be
            read in the file.
    """

    def __init__(
        self, path: Path, *, fps: FrameRate = 10.0, size: int | tuple[int, int] | None = 224
    ) -> None:
        if fps != "native" and not 0 < fps <= 1000:
            raise GlimpsesError(f"frame rate {fps}: give frames per second above 0, or native")
        self.path = path
        self.fps = fps
        self.size = (size, size) if isinstance(size, int) else size
        if self.size is not None and min(self.size) < 1:
            raise GlimpsesError(f"frame size {size}: give at least one pixel")
        self.problem: str | None = None

    def __iter__(self) -> Iterator[Frame]:
        to_rgb = None
        for time, picture in self.pictures():
            to_rgb = to_rgb or RGBConverter(self.size, picture.pixel_aspect)
            try:
                pixels = to_rgb(picture.frame)
            except av.FFmpegError as error:
                raise GlimpsesError(
                    f"{self.path}: its frames cannot be converted ({error.strerror}); convert "
                    "it to H.264 in MP4"
                ) from error
            yield Frame(time, pixels)

    def pictures(self) -> Iterator[tuple[float, DecodedFrame]]:
        """The same frames as they are decoded, for whoever needs them in several sizes.

        Yields:
            Seconds since the video's first frame, and the frame; valid beyond the next one.

        Raises:
            GlimpsesError: there is no video to be read in the file.
        """
        with opened(self.path) as (container, stream):
            decoder = Decoder(container, stream)
            frame = None
            for time, frame in self._sampled(decoder):
                yield time, DecodedFrame(frame, stream.sample_aspect_ratio)
            if frame is None:
                raise no_picture(self.path)
            self.problem = decoder.problem()

    def _sampled(self, decoder: Decoder) -> Iterator[tuple[float, VideoFrame]]:
        return decoder.frames() if self.fps == "native" else _on_display(decoder, self.fps)


def read(
    path: Path, *, fps: FrameRate = 10.0, size: int | tuple[int, int] | None = 224
) -> ClipFrames:
    """Read a clip into memory, with a warning where its file is damaged.

    Arguments and errors are those of `FrameReader`.
    """
    reader = FrameReader(path, fps=fps, size=size)
    sampled = list(reader)
    if reader.problem:
        log.warning("%s: %s; the frames that could be read are used", path, reader.problem)
    return ClipFrames(
        frames=np.stack([frame.pixels for frame in sampled]),
        times=np.array([frame.time for frame in sampled], np.float64),
        problem=reader.problem,
    )


def _on_display(decoder: Decoder, fps: float) -> Iterator[tuple[float, VideoFrame]]:
    """The frames on display at k / fps, k = 0, 1, ..., while the video lasts."""
    count = 0
    shown: VideoFrame | None = None
    for time, frame in decoder.frames():
        while shown is not None and count / fps < time - _EARLY:
            yield count / fps, shown
            count += 1
        shown = frame
    while shown is not None and count / fps < decoder.end - _EARLY:
        yield count / fps, shown
        count += 1
