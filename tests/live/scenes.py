"""Clocks that obey, and sources whose pictures are known."""

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


class Clock:
    """Time passes only when it is told to, or somebody sleeps."""

    def __init__(self) -> None:
        self.time = 1000.0

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += seconds


def picture(grey: int = 0, width: int = 48, height: int = 32) -> DecodedFrame:
    pixels = np.full((height, width, 3), grey, np.uint8)
    return DecodedFrame(VideoFrame.from_ndarray(pixels, format="rgb24"), None)


class Script:
    """A feed whose pictures come at given times of a clock, in seconds from now.

    Args:
        clock: the time.
        arrivals: when each picture comes, ascending.
        breaks: whether it breaks off after the last one.
    """

    def __init__(self, clock: Clock, arrivals: list[float], *, breaks: bool = False) -> None:
        self._clock, self._breaks = clock, breaks
        self._arrivals = [clock.now() + arrival for arrival in arrivals]
        self._picture = picture()
        self.rate = None

    @property
    def _here(self) -> int:
        return sum(arrival <= self._clock.now() for arrival in self._arrivals)

    @property
    def ended(self) -> bool:
        return self._here == len(self._arrivals)

    def newest(self) -> CapturedFrame | None:
        here = self._here
        if self._breaks and here == len(self._arrivals):
            raise GlimpsesError("script: broke off")
        return CapturedFrame(self._picture, here - 1, self._arrivals[here - 1]) if here else None


class Told:
    """A source that gives what it is told to, and waits when that is all."""

    name, hurry, rate = "told", False, 25.0

    def __init__(
        self, stamps: list[float | None], *, between: Callable[[int], None] = lambda _: None,
        error: Exception | None = None, stays: bool = False,
    ) -> None:  # fmt: skip
        self._stamps, self._between, self._error, self._stays = stamps, between, error, stays
        self.hurried: list[bool] = []
        self.given = threading.Event()
        self.go = threading.Event()

    def pictures(self) -> Iterator[tuple[float | None, DecodedFrame]]:
        for number, stamp in enumerate(self._stamps):
            self._between(number)
            yield stamp, picture(number % 256)
            self.hurried.append(self.hurry)
        # Asked for more: all have been taken.
        self.given.set()
        if self._error is not None:
            raise self._error
        if self._stays:
            self.go.wait()


def transport_stream(frames: int = 20, *, key_every: int = 5, fps: int = 10) -> bytes:
    """A film as it is sent: MPEG-TS with H.264, picture k as grey as 10 k."""
    sent = io.BytesIO()
    with av.open(sent, "w", format="mpegts") as out:
        options = {"preset": "ultrafast", "tune": "zerolatency"}
        options["x264-params"] = f"keyint={key_every}:min-keyint={key_every}:scenecut=0"
        stream = out.add_stream("libx264", rate=fps, options=options)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(frames):
            pixels = np.full((48, 64, 3), 10 * number, np.uint8)
            frame = VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, fps)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return sent.getvalue()
