"""Which pictures of a source are looked at, and when."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from glimpses import video
from glimpses.live.capture import Clock, LatestFrame
from glimpses.video import DecodedFrame, FrameRate

log = logging.getLogger(__name__)

#: Frames a second, where the model takes what comes and the source does not say.
RATE = 25.0
# Seconds between two looks at the clock.
_NAP = 0.004


class SampledFrame(NamedTuple):
    """A picture that is to be looked at.

    Attributes:
        picture: the picture.
        time: seconds since the first look.
        arrived: when it came, by the clock; None where nothing is live.
        missed: looks that were due since the last one and for which there was no time.
    """

    picture: DecodedFrame
    time: float
    arrived: float | None
    missed: int


def live(
    feed: LatestFrame, fps: FrameRate, clock: Clock, stopped: Callable[[], bool]
) -> Iterator[SampledFrame]:
    """Look at the newest picture `fps` times a second, and never at an older one.

    A look is due every 1 / fps seconds after the first. Whoever takes longer than that misses some;
    nothing is caught up on. A picture that has been seen already is looked at again if no newer one
    comes within half that time, as a file's frame is where samples come faster than frames.

    Args:
        feed: where pictures come from.
        fps: looks a second; "native" for as many as the source gives.
        clock: the time.
        stopped: whether to end; is asked often, and may take a little time.

    Raises:
        GlimpsesError: the source failed; see `LatestFrame.newest`.
    """
    first, last, read = 0.0, -1, -1
    while not stopped():
        # Asked first: what comes in between is seen in the next round.
        ended = feed.ended
        seen = feed.newest()
        now = clock.now()
        fresh = seen is not None and seen.number != read
        if ended and not fresh:
            return
        if seen is not None:
            first = now if last < 0 else first
            place = (now - first) * (fps if fps != "native" else feed.rate or RATE)
            due = int(place)
            if due > last and (fresh or place - due >= 0.5):
                yield SampledFrame(seen.picture, now - first, seen.arrived, due - last - 1)
                last, read = due, seen.number
                continue
        clock.sleep(_NAP)


def every(path: Path, fps: FrameRate, stopped: Callable[[], bool]) -> Iterator[SampledFrame]:
    """Look at a file as `Recogniser.predict` does: at every sample, as fast as may be.

    Raises:
        GlimpsesError: there is no video to be read in it.
    """
    reader = video.FrameReader(path, fps=fps)
    for time, picture in reader.pictures():
        if stopped():
            return
        yield SampledFrame(picture, time, None, 0)
    if reader.problem:
        log.warning("%s: %s; its frames before that were shown", path, reader.problem)
