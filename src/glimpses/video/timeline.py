"""Times of frames from their time stamps, which many writers and recorders get wrong."""

from __future__ import annotations

from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

# A wait longer than the first, in seconds, is believed only up to the second, and within the
# declared duration if there is one. Other ones come from damaged time stamps.
_LONG_WAIT, _LONGEST_WAIT = 10.0, 3600.0
# Time stamps that step back by more seconds than this begin another recording. Transport and
# program streams may be joined anywhere, so FFmpeg is that strict with them. Elsewhere, frames out
# of order step back, too.
_STEP_BACK_OF_STREAM, _STEP_BACK = 0.1, 1.0
# Seconds on display for a frame of unknown duration and rate.
_DEFAULT_PERIOD = 0.04
# Flag of FFmpeg's formats whose time stamps may step, AVFMT_TS_DISCONT.
_TIME_STAMPS_STEP = 0x0200


class Timeline:
    """Times of the frames of one stream, in seconds since the first one, strictly ascending.

    Attributes:
        end: when the last frame leaves the display.
        reached: `end` by the time stamps: from the start of the stream on, which may be before its
            first decodable frame, and with the implausible waits that were left out.
    """

    def __init__(
        self, container: InputContainer, stream: VideoStream, declared: float | None
    ) -> None:
        self._declared = declared
        self._unit = float(stream.time_base or 0)
        # AVI stores no presentation times, and FFmpeg's guess is wrong with B-frames. Frames leave
        # the decoder in the order of display, so the times of decoding are even.
        self._by_decoding = container.format.name == "avi"
        self._is_joinable = is_joinable(container)
        self._start_time = stream.start_time
        rate = stream.average_rate or stream.guessed_rate
        self._period = float(1 / rate) if rate else _DEFAULT_PERIOD
        self.end = self.reached = 0.0
        self._origin: float | None = None
        self._omitted = 0.0
        self._last = self._shift = 0.0
        self._presentation, self._decoding = _Regularity(), _Regularity()

    def add(self, frame: VideoFrame) -> tuple[float, bool]:
        """Return the time of the next frame in the order of display, and whether it is plausible.

        A frame with an implausible time, and those after it, follow at the end of the previous one.
        """
        stamp, is_plausible = self._stamp(frame), True
        if self._origin is None:
            self._origin, time = stamp or 0.0, 0.0
            if stamp is not None and self._start_time is not None:
                self._omitted = max(0.0, stamp - self._start_time * self._unit)
        else:
            time = self.end if stamp is None else stamp - self._origin - self._shift
            wait = time - self.end
            begins_again = time < self._last - (
                _STEP_BACK_OF_STREAM if self._is_joinable else _STEP_BACK
            )
            if begins_again or self._is_too_long(wait, time):
                is_plausible = begins_again or self._is_joinable
                self._omitted += max(wait, 0.0)
                self._shift += wait
                time = self.end
            # Broken writers repeat or decrease time stamps: keep the order of the frames.
            time = max(time, self._last + 1e-6)
        self._last = time
        seconds = self._believed(self._duration(frame), time)
        self.end = time + seconds
        self.reached = self.end + self._omitted + self._duration(frame) - seconds
        return time, is_plausible

    def _stamp(self, frame: VideoFrame) -> float | None:
        """Return the more regular of a frame's two time stamps in seconds, as ffprobe does."""
        shown, decoded = frame.pts, frame.dts
        if self._by_decoding:
            shown = None
        faults = self._presentation.add(shown), self._decoding.add(decoded)
        is_shown = shown is not None and (decoded is None or faults[0] <= faults[1])
        stamp = shown if is_shown else decoded
        return None if stamp is None else stamp * self._unit

    def _is_too_long(self, wait: float, time: float) -> bool:
        if wait <= _LONG_WAIT:
            return False
        is_declared = self._declared is None or time <= self._declared
        return self._is_joinable or not is_declared or wait > _LONGEST_WAIT

    def _duration(self, frame: VideoFrame) -> float:
        seconds = float(frame.duration * self._unit)
        return seconds if seconds > 0 else self._period

    def _believed(self, seconds: float, time: float) -> float:
        """Return the duration of a frame, or as much of it as can be believed."""
        is_declared = time + seconds <= 1.001 * (self._declared or 0.0)
        if seconds <= _LONG_WAIT or (is_declared and seconds <= _LONGEST_WAIT):
            return seconds
        return min(self._period, _LONG_WAIT)


class _Regularity:
    """Count of time stamps that do not ascend."""

    def __init__(self) -> None:
        self._faults = 0
        self._last: int | None = None

    def add(self, stamp: int | None) -> int:
        """Add the next time stamp; return the count so far."""
        if stamp is not None:
            self._faults += self._last is not None and stamp <= self._last
            self._last = stamp
        return self._faults


def is_joinable(container: InputContainer) -> bool:
    """Return whether recordings of a format may be joined, and cut, at any byte."""
    return bool(container.format.flags & _TIME_STAMPS_STEP)
