"""Pictures of a source as they come, of which only the newest is kept."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Protocol, Self

from glimpses import video
from glimpses.utils.errors import GlimpsesError
from glimpses.video import DecodedFrame

log = logging.getLogger(__name__)

# A picture so late, in seconds, makes the source hurry until it is no later than the second.
_LATE, _IN_TIME = 1.0, 0.3
# By how much the clocks of a source and of this computer may differ, in seconds per second.
_DRIFT = 2e-4
# Seconds that a thread gets to end; one that waits for a device may never do.
_FAREWELL = 1.0
# Seconds in one go that a file's next frame is waited for.
_NAP = 0.05


class Clock(Protocol):
    """What tells the time and lets it pass."""

    def now(self) -> float:
        """Seconds since some moment."""

    def sleep(self, seconds: float) -> None:
        """Let some time pass."""


class RealClock:
    """The computer's."""

    def now(self) -> float:
        """Seconds since some moment; never goes back."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Let some time pass."""
        time.sleep(seconds)


class Source(Protocol):
    """What pictures come from: `video.LiveSource`, `FilePlayback`, or a test's own."""

    name: str
    hurry: bool
    rate: float | None

    def pictures(self) -> Iterator[tuple[float | None, DecodedFrame]]:
        """Pictures with the source's own time, as they come; see `video.LiveSource.pictures`."""


class FilePlayback:
    """A file that plays at its own speed.

    Args:
        path: the file.
        clock: by which it plays.

    Attributes:
        name: the file's.
        hurry: means nothing here.
        rate: frames per second; None where that is not known.

    Raises:
        GlimpsesError: there is no video to be read in it.
    """

    def __init__(self, path: Path, clock: Clock) -> None:
        self.name, self.hurry = str(path), False
        self.rate: float | None = video.probe(path).fps or None
        self._path, self._clock = path, clock

    def pictures(self) -> Iterator[tuple[float, DecodedFrame]]:
        """Its frames, each when its time has come; what comes late is not waited for."""
        reader = video.FrameReader(self._path, fps="native")
        start = None
        for time_, picture in reader.pictures():
            start = self._clock.now() if start is None else start
            while (left := start + time_ - self._clock.now()) > 0:
                self._clock.sleep(min(left, _NAP))
            yield time_, picture
        if reader.problem:
            log.warning("%s: %s; its frames before that were shown", self._path, reader.problem)


class CapturedFrame(NamedTuple):
    """A picture that came.

    Attributes:
        picture: the picture.
        number: how many had come before.
        arrived: when it came, by the clock here. One that had to wait for its turn to be decoded
            came when the source's own clock says.
    """

    picture: DecodedFrame
    number: int
    arrived: float


class LatestFrame:
    """Reads a source in a thread of its own and keeps only the newest picture.

    ```python
    with LatestFrame(source, clock) as feed:
        seen = feed.newest()  # None before the first has come
    ```

    Args:
        source: what to read.
        clock: the time.
        patience: after how many seconds without a picture it is given up, for a device may block
            for ever; None for never.
    """

    def __init__(self, source: Source, clock: Clock, *, patience: float | None) -> None:
        self._source, self._clock, self._patience = source, clock, patience
        self._newest: CapturedFrame | None = None
        self._problem: BaseException | None = None
        self._ended = self._closed = False
        self._last = clock.now()
        self._thread = threading.Thread(target=self._read, name="feed", daemon=True)

    def __enter__(self) -> Self:
        self._last = self._clock.now()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed = True
        self._thread.join(_FAREWELL)

    @property
    def ended(self) -> bool:
        """Whether no more pictures will come."""
        return self._ended

    @property
    def rate(self) -> float | None:
        """Pictures a second, as the source says."""
        return self._source.rate

    def newest(self) -> CapturedFrame | None:
        """The newest picture, at once; None before there is one.

        Raises:
            GlimpsesError: the source cannot be opened, broke off, or has been silent for too long.
        """
        # Read in this order: whoever sees the end sees the last picture, too.
        ended, seen = self._ended, self._newest
        if self._problem is not None:
            raise self._problem
        silent = self._clock.now() - self._last
        if not ended and self._patience is not None and silent > self._patience:
            raise GlimpsesError(f"{self._source.name}: sent no picture for {silent:.0f} s")
        return seen

    def _read(self) -> None:
        arrivals = _Arrivals()
        try:
            for number, (stamp, picture) in enumerate(self._source.pictures()):
                now = self._clock.now()
                arrived = arrivals.of(stamp, now)
                self._last = now
                self._newest = CapturedFrame(picture, number, arrived)
                late = now - arrived
                self._source.hurry = late > (_IN_TIME if self._source.hurry else _LATE)
                if self._closed:
                    return
        # Whatever it is, it is for whoever asks for pictures.
        except BaseException as error:
            self._problem = error
        finally:
            self._ended = True


class _Arrivals:
    """Tells when pictures came that were handed over later than that.

    Where decoding does not keep up, pictures wait in the network's buffers, and the moment they get
    out of the decoder says nothing. The picture with the shortest way so far is taken to have come
    when it did, and all others by the source's own clock from there on. As two clocks never run
    alike, the shortest way may slowly grow.
    """

    def __init__(self) -> None:
        self._way: float | None = None
        self._stamp = self._now = 0.0

    def of(self, stamp: float | None, now: float) -> float:
        if stamp is None:
            return now
        way = now - stamp
        if self._way is None or stamp < self._stamp:
            # The first one, or the source began anew.
            self._way = way
        else:
            self._way = min(self._way + _DRIFT * (now - self._now), way)
        self._stamp, self._now = stamp, now
        return stamp + self._way
