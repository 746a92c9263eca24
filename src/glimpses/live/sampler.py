"""Samplers that choose the frames of a source that the model processes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from glimpses import video
from glimpses.live.capture import Clock, LatestFrame
from glimpses.video import DecodedFrame, FrameRate

log = logging.getLogger(__name__)

#: Frames per second for "native", if the source declares no frame rate.
DEFAULT_FPS = 25.0
# Seconds between two checks for a new frame.
_POLL_INTERVAL = 0.004


class SampledFrame(NamedTuple):
    """Frame to be processed.

    Attributes:
        frame: the decoded frame.
        time: seconds since the first sample.
        arrival: arrival time by the clock; None if the source is not live.
        dropped: number of samples since the previous one that were due but came too late.
    """

    frame: DecodedFrame
    time: float
    arrival: float | None
    dropped: int


def sample_live(
    capture: LatestFrame, fps: FrameRate, clock: Clock, stopped: Callable[[], bool]
) -> Iterator[SampledFrame]:
    """Sample the newest frame `fps` times a second.

    A sample is due every 1 / fps seconds after the first one. A slow consumer misses samples; they
    are dropped, never queued. If no new frame arrives within half a sample interval, the previous
    frame is sampled again, just as a file is when it is sampled above its frame rate.

    For `fps` "native", the rate of the source is used. `stopped` is called often, and may take a
    little time.

    Raises:
        GlimpsesError: the source failed; see `LatestFrame.latest`.
    """
    start, last_sample, last_number = 0.0, -1, -1
    while not stopped():
        # Read `ended` first: a frame that arrives in between is sampled in the next iteration.
        ended = capture.ended
        captured = capture.latest()
        now = clock.now()
        is_new = captured is not None and captured.number != last_number
        if ended and not is_new:
            return
        if captured is not None:
            start = now if last_sample < 0 else start
            position = (now - start) * (fps if fps != "native" else capture.rate or DEFAULT_FPS)
            sample = int(position)
            if sample > last_sample and (is_new or position - sample >= 0.5):
                dropped = sample - last_sample - 1
                yield SampledFrame(captured.frame, now - start, captured.arrival, dropped)
                last_sample, last_number = sample, captured.number
                continue
        clock.sleep(_POLL_INTERVAL)


def sample_file(path: Path, fps: FrameRate, stopped: Callable[[], bool]) -> Iterator[SampledFrame]:
    """Sample a file as `Recogniser.predict` does: every sample, as fast as possible.

    Raises:
        GlimpsesError: the file holds no readable video.
    """
    reader = video.FrameReader(path, fps=fps)
    for time, frame in reader.decoded_frames():
        if stopped():
            return
        yield SampledFrame(frame, time, None, 0)
    if reader.problem:
        log.warning("%s: %s; the frames before that were shown", path, reader.problem)
