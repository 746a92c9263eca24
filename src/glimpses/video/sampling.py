"""Sampling of a video's frames at a fixed rate, by presentation time."""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import av
import numpy as np
from jaxtyping import Float64, UInt8

from glimpses.utils.errors import GlimpsesError
from glimpses.utils.limits import decode_options
from glimpses.utils.worker import WaitCallback
from glimpses.video.convert import DecodedFrame, RGBConverter
from glimpses.video.decode import Decoder
from glimpses.video.display import DISPLAY_TOLERANCE
from glimpses.video.isolation import Frame, isolated_frames
from glimpses.video.probe import no_frames, open_video

log = logging.getLogger(__name__)

# A clip may be sampled this many times per decoded frame, on top of a first allowance. At 10 fps,
# these are 10 s a frame, more than a slide show takes, after 100 s for a still start. Other clips
# are time lapses, or their time stamps are false: some bytes may ask for a million samples, all of
# the same few frames.
_SAMPLES_PER_FRAME, _FIRST_SAMPLES = 100, 1000

#: Frames per second to sample, or "native" for every frame.
FrameRate = float | Literal["native"]


@dataclass(frozen=True)
class ClipFrames:
    """Sampled frames of a whole clip in memory.

    Attributes:
        times: seconds since the first frame.
        problem: damage found, as in `FrameReader.problem`; None for an intact file.
    """

    frames: UInt8[np.ndarray, "N H W 3"]
    times: Float64[np.ndarray, " N"]
    problem: str | None


@dataclass(frozen=True)
class _Ending:
    """Values of a video that are known at its end; see `FrameReader`."""

    problem: str | None
    seconds: float
    frame_count: int


class FrameReader:
    """Single-pass reader of a video's frames at a fixed rate, in constant memory.

    Sample k is the frame on display k / fps seconds after the first one appeared, to a
    millisecond. Sources of any rate, even a varying one, therefore come out at the same speed.
    Frames are turned upright as the file asks. For damaged parts the reader uses the decoder's
    best guess, if there is one; a file that ends early yields the frames it has. A clip that would
    have over 100 samples per frame, after the first 1000, ends there: it shows the same few frames.

    ```python
    reader = FrameReader("clip.mp4", fps=10)
    for frame in reader:
        print(frame.time, frame.pixels.shape)  # 0.0 (224, 224, 3), 0.1 ...
    ```

    Args:
        path: the file; its content determines the format, not its name.
        fps: samples per second, or "native" for every frame.
        size: of the frames in pixels: one number for a square, to which pictures are squeezed as
            the paper does with 224x224; (width, height); or None for the size on display.
        while_waiting: called now and then by another thread while the decoder returns nothing,
            with the seconds of waiting; returns False to stop the reading, which raises there.

    Attributes:
        problem: after the iteration, the damage found in a few words, such as "breaks off at
            1.20 s of 3.40 s"; None for an intact file.
        seconds: after the iteration, when the last frame leaves the display.
        frame_count: after the iteration, the number of frames of the file, sampled or not.

    Raises:
        GlimpsesError: `fps` or `size` is out of range; when iterated, the file contains no
            readable video, or exceeds one of the `DecodeOptions`.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        fps: FrameRate = 10.0,
        size: int | tuple[int, int] | None = 224,
        while_waiting: WaitCallback | None = None,
    ) -> None:
        if fps != "native" and not 0 < fps <= 1000:
            raise GlimpsesError(f"frame rate {fps}: give frames per second above 0, or native")
        self.path = Path(path)
        self.fps = fps
        self.size = (size, size) if isinstance(size, int) else size
        if self.size is not None and min(self.size) < 1:
            raise GlimpsesError(f"frame size {size}: give at least one pixel")
        self.problem: str | None = None
        self.seconds, self.frame_count = 0.0, 0
        self._while_waiting = while_waiting

    def __iter__(self) -> Iterator[Frame]:
        frames = _sampled_frames(self.path, self.fps, self.size, while_waiting=self._while_waiting)
        limit = decode_options().max_samples
        for _ in range(limit):
            try:
                frame = next(frames)
            except StopIteration as end:
                self._finish(end.value)
                return
            yield frame
        if next(frames, None) is not None:
            frames.close()
            raise GlimpsesError(
                f"{self.path}: has more than {limit} frames at this rate; cut it, sample fewer "
                "frames per second or raise --max-samples"
            )

    def decoded_frames(self) -> Iterator[tuple[float, DecodedFrame]]:
        """Yield the same times and frames before conversion, for use in several sizes.

        The frames stay valid. The file is decoded in this process.

        Raises:
            GlimpsesError: the file contains no readable video.
        """
        with open_video(self.path) as (container, stream):
            decoder = Decoder(container, stream)
            for index, (time, frame) in enumerate(_sample(decoder, self.fps)):
                if index >= _FIRST_SAMPLES + _SAMPLES_PER_FRAME * decoder.count:
                    problem = f"cut at {time:.1f} s, as it has too few frames for {self.fps:g} fps"
                    self._finish(_Ending(problem, time, decoder.count))
                    return
                yield time, frame
            if not decoder.count:
                raise no_frames(self.path)
            self._finish(_Ending(decoder.problem(), decoder.end, decoder.count))

    def _finish(self, ending: _Ending) -> None:
        self.problem = ending.problem
        self.seconds, self.frame_count = ending.seconds, ending.frame_count


@isolated_frames
def _sampled_frames(
    path: str | Path, fps: FrameRate, size: tuple[int, int] | None
) -> Generator[Frame, None, _Ending]:
    """Yield the frames of `FrameReader`."""
    reader, to_rgb = FrameReader(path, fps=fps, size=size), RGBConverter(size)
    for time, decoded in reader.decoded_frames():
        try:
            pixels = to_rgb(decoded)
        except av.FFmpegError as error:
            problem = f"{path}: its frames cannot be converted ({error.strerror})"
            raise GlimpsesError(f"{problem}; convert it to H.264 in MP4") from error
        yield Frame(time, pixels, decoded.number)
    return _Ending(reader.problem, reader.seconds, reader.frame_count)


def read(
    path: str | Path, *, fps: FrameRate = 10.0, size: int | tuple[int, int] | None = 224
) -> ClipFrames:
    """Read a clip into memory, with a warning if its file is damaged.

    Arguments and errors are those of `FrameReader`.
    """
    reader = FrameReader(path, fps=fps, size=size)
    sampled = list(reader)
    if reader.problem:
        log.warning("%s: %s; using the frames that can be read", path, reader.problem)
    times, pixels, _ = zip(*sampled, strict=True)
    return ClipFrames(np.stack(pixels), np.array(times, np.float64), reader.problem)


def _sample(decoder: Decoder, fps: FrameRate) -> Iterator[tuple[float, DecodedFrame]]:
    """Yield all frames, or those on display at k / fps, k = 0, 1, ..., until the video ends."""
    if fps == "native":
        yield from decoder.frames()
        return
    count = 0
    shown: DecodedFrame | None = None
    for time, frame in decoder.frames():
        while shown is not None and count / fps < time - DISPLAY_TOLERANCE:
            yield count / fps, shown
            count += 1
        shown = frame
    # A video that lasts less than the tolerance has its first frame all the same.
    while shown is not None and (not count or count / fps < decoder.end - DISPLAY_TOLERANCE):
        yield count / fps, shown
        count += 1
