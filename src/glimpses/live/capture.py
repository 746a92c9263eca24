"""Capture thread that reads a source and keeps the newest frame only."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Protocol, Self

from glimpses import video
from glimpses.utils.errors import GlimpsesError
from glimpses.video import DecodedFrame

log = logging.getLogger(__name__)

# A delay above the first value, in seconds, switches the source to key frames only, until the
# delay falls below the second.
_LATE, _ON_TIME = 1.0, 0.3
# Allowed drift between the clock of a source and ours, in seconds per second.
_CLOCK_DRIFT = 2e-4
# Seconds to wait for the thread to end; one that is blocked by a device may never end.
_JOIN_TIMEOUT = 1.0
# Longest single sleep, in seconds, while waiting for the next frame of a file.
_MAX_SLEEP = 0.05


class Clock:
    """Monotonic clock of the computer; tests replace it."""

    def now(self) -> float:
        """Return the time in seconds since an arbitrary moment."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Block for some seconds."""
        time.sleep(seconds)


class Source(Protocol):
    """Interface of a frame source: `video.LiveSource`, `FilePlayback`, or a stand-in for tests."""

    name: str
    keyframes_only: bool
    rate: float | None

    def decoded_frames(self) -> Iterator[tuple[float | None, DecodedFrame]]:
        """Yield (timestamp by the source's clock, frame); see `video.LiveSource.decoded_frames`."""


class FilePlayback:
    """Source that plays a file at its own speed.

    Attributes:
        name: path of the file.
        keyframes_only: no effect here.
        rate: frames per second; None if unknown.

    Raises:
        GlimpsesError: the file holds no readable video.
    """

    def __init__(self, path: Path, clock: Clock) -> None:
        self.name, self.keyframes_only = str(path), False
        self.rate: float | None = video.probe(path).fps or None
        self._path, self._clock = path, clock

    def decoded_frames(self) -> Iterator[tuple[float, DecodedFrame]]:
        """Yield each frame at its presentation time, or at once if that has passed."""
        reader = video.FrameReader(self._path, fps="native")
        start = None
        for timestamp, frame in reader.decoded_frames():
            start = self._clock.now() if start is None else start
            while (remaining := start + timestamp - self._clock.now()) > 0:
                self._clock.sleep(min(remaining, _MAX_SLEEP))
            yield timestamp, frame
        if reader.problem:
            log.warning("%s: %s; the frames before that were shown", self._path, reader.problem)


class CapturedFrame(NamedTuple):
    """Frame that has arrived.

    Attributes:
        frame: the decoded frame.
        number: number of frames before it.
        arrival: arrival time by our clock. For a frame that was queued before it was decoded, the
            time is derived from the source's timestamps.
    """

    frame: DecodedFrame
    number: int
    arrival: float


class LatestFrame:
    """Reader of a source, in a thread, that keeps the newest frame only.

    ```python
    with LatestFrame(source, clock, timeout=15) as capture:
        captured = capture.latest()  # None before the first frame
    ```

    After `timeout` seconds without a frame `latest` raises, because a device may block forever;
    with None it waits without limit.
    """

    def __init__(self, source: Source, clock: Clock, *, timeout: float | None) -> None:
        self._source, self._clock, self._timeout = source, clock, timeout
        self._latest: CapturedFrame | None = None
        self._error: BaseException | None = None
        self._ended = self._closed = False
        self._last_read = clock.now()
        self._thread = threading.Thread(target=self._read, name="capture", daemon=True)

    def __enter__(self) -> Self:
        self._last_read = self._clock.now()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed = True
        self._thread.join(_JOIN_TIMEOUT)

    @property
    def ended(self) -> bool:
        """True once the source has ended."""
        return self._ended

    @property
    def rate(self) -> float | None:
        """Frames per second as declared by the source; None if unknown."""
        return self._source.rate

    def latest(self) -> CapturedFrame | None:
        """Return the newest frame without waiting; None before the first one.

        Raises:
            GlimpsesError: the source cannot be opened, broke off, or exceeded the timeout.
        """
        # Read `_ended` first: a caller that sees the end must also see the last frame.
        ended, latest = self._ended, self._latest
        if self._error is not None:
            raise self._error
        silence = self._clock.now() - self._last_read
        if not ended and self._timeout is not None and silence > self._timeout:
            raise GlimpsesError(f"{self._source.name}: sent no frame for {silence:.0f} s")
        return latest

    def _read(self) -> None:
        estimator = _ArrivalEstimator()
        try:
            for index, (timestamp, frame) in enumerate(self._source.decoded_frames()):
                now = self._last_read = self._clock.now()
                arrival = estimator.estimate(timestamp, now)
                self._latest = CapturedFrame(frame, index, arrival)
                limit = _ON_TIME if self._source.keyframes_only else _LATE
                self._source.keyframes_only = now - arrival > limit
                if self._closed:
                    return
        # Any error belongs to the thread that asks for frames.
        except BaseException as error:
            self._error = error
        finally:
            self._ended = True


class _ArrivalEstimator:
    """Estimator of arrival times from the timestamps of a source.

    When decoding is too slow, frames queue in network buffers, and the time at which they leave the
    decoder is too late. The smallest difference so far between our clock and the source's timestamp
    is taken as the offset of the two clocks; all arrival times follow from it. Because the clocks
    drift, the offset may grow slowly.
    """

    def __init__(self) -> None:
        self._offset, self._timestamp, self._now = math.inf, -math.inf, 0.0

    def estimate(self, timestamp: float | None, now: float) -> float:
        """Return the arrival time of a frame that left the decoder at `now`."""
        if timestamp is None:
            return now
        if timestamp < self._timestamp:
            # The source has restarted.
            self._offset = math.inf
        self._offset = min(self._offset + _CLOCK_DRIFT * (now - self._now), now - timestamp)
        self._timestamp, self._now = timestamp, now
        return timestamp + self._offset
