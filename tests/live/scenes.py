"""Controllable clocks, and sources whose frames are known."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator
from fractions import Fraction

import av
import numpy as np
from av.video.frame import VideoFrame

from glimpses.live.capture import CapturedFrame
from glimpses.utils.errors import GlimpsesError
from glimpses.video import DecodedFrame


class FakeClock:
    """Clock that stands still unless it is set or somebody sleeps."""

    def __init__(self) -> None:
        self.time = 1000.0

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += seconds


def grey_frame(grey: int = 0, width: int = 48, height: int = 32) -> DecodedFrame:
    pixels = np.full((height, width, 3), grey, np.uint8)
    return DecodedFrame(VideoFrame.from_ndarray(pixels, format="rgb24"))


class ScriptedCapture:
    """Capture whose frames arrive at given times.

    Args:
        clock: the clock.
        arrivals: arrival time of each frame in seconds from now, ascending.
        fails: whether it fails after the last frame.
    """

    def __init__(self, clock: FakeClock, arrivals: list[float], *, fails: bool = False) -> None:
        self._clock, self._fails = clock, fails
        self._arrivals = [clock.now() + arrival for arrival in arrivals]
        self._frame = grey_frame()
        self.rate = None

    @property
    def _count(self) -> int:
        return sum(arrival <= self._clock.now() for arrival in self._arrivals)

    @property
    def ended(self) -> bool:
        return self._count == len(self._arrivals)

    def latest(self) -> CapturedFrame | None:
        count = self._count
        if self._fails and count == len(self._arrivals):
            raise GlimpsesError("script: broke off")
        return CapturedFrame(self._frame, count - 1, self._arrivals[count - 1]) if count else None


class FakeSource:
    """Source that yields frames with given timestamps.

    Args:
        timestamps: of the frames.
        before_frame: called with the index of each frame before it is yielded.
        error: raised after the last frame.
        stay_open: whether to block after the last frame until `release` is set.

    Attributes:
        keyframes_only_log: `keyframes_only` after each frame.
        exhausted: set when all frames have been taken.
    """

    name, keyframes_only, rate = "fake", False, 25.0

    def __init__(
        self,
        timestamps: list[float | None],
        *,
        before_frame: Callable[[int], None] = lambda _: None,
        error: Exception | None = None,
        stay_open: bool = False,
    ) -> None:
        self._timestamps, self._before_frame = timestamps, before_frame
        self._error, self._stay_open = error, stay_open
        self.keyframes_only_log: list[bool] = []
        self.exhausted = threading.Event()
        self.release = threading.Event()

    def decoded_frames(self) -> Iterator[tuple[float | None, DecodedFrame]]:
        for index, timestamp in enumerate(self._timestamps):
            self._before_frame(index)
            yield timestamp, grey_frame(index % 256)
            self.keyframes_only_log.append(self.keyframes_only)
        # The reader has asked for another frame: it has taken all of these.
        self.exhausted.set()
        if self._error is not None:
            raise self._error
        if self._stay_open:
            self.release.wait()


def transport_stream(frames: int = 20, *, key_every: int = 5, fps: int = 10) -> bytes:
    """Encode a video as MPEG-TS with H.264; frame k has grey level 10 k."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mpegts") as out:
        options = {"preset": "ultrafast", "tune": "zerolatency"}
        options["x264-params"] = f"keyint={key_every}:min-keyint={key_every}:scenecut=0"
        stream = out.add_stream("libx264", rate=fps, options=options)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for index in range(frames):
            pixels = np.full((48, 64, 3), 10 * index, np.uint8)
            frame = VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, fps)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return buffer.getvalue()
