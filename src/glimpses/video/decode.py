"""Decoding with repaired time stamps and a record of damage."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress

import av
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from glimpses.utils.limits import count_frame

# A gap between frames longer than this, in seconds, is accepted only within the declared duration;
# damaged time stamps would otherwise ask for millions of samples.
_LONG_GAP = 10.0
_LONGEST_GAP = 3600.0
# Seconds by which an intact video may end before its declared duration: writers round and pad.
_SLACK = 0.5


class Decoder:
    """Single-pass decoder of one stream.

    Attributes:
        end: when the last decoded frame leaves the display, in seconds since the first appeared.
        count: number of frames decoded so far.
    """

    def __init__(self, container: InputContainer, stream: VideoStream) -> None:
        self._container = container
        self._stream = stream
        self._declared = declared_seconds(container, stream)
        self._slack = _SLACK
        total = (container.duration or 0) / av.time_base
        if container.streams.audio and self._declared and abs(total - self._declared) < 0.1:
            # FFmpeg may have used the duration of the sound, so only a big difference counts.
            self._slack = max(1.0, 0.2 * total)
        rate = stream.average_rate or stream.guessed_rate
        self._period = float(1 / rate) if rate else 0.04
        self.end, self.count = 0.0, 0
        self._damaged_parts = 0
        self._first_damage = 0.0
        self._broke_off = False
        # Small frames decode faster than they can be handed to threads.
        small = stream.codec_context.width * stream.codec_context.height <= 640 * 480
        stream.thread_type = "AUTO"
        stream.codec_context.thread_count = 1 if small else min(4, os.cpu_count() or 1)

    def frames(self) -> Iterator[tuple[float, VideoFrame]]:
        """Yield frames with the seconds since the first one, strictly ascending."""
        start, last, skipped = None, 0.0, 0.0
        for frame in self._decode():
            stamp = frame.time
            if start is None:
                start, time = stamp or 0.0, 0.0
            else:
                time = self.end if stamp is None else stamp - start - skipped
                if self._is_implausible(time):
                    self._record_damage()
                    skipped += time - self.end
                    time = self.end
                # Broken writers repeat or decrease time stamps: keep the order of decoding.
                time = max(time, last + 1e-6)
            last = time
            self.end = time + self._display_seconds(frame)
            self.count += 1
            count_frame()
            yield time, frame

    def problem(self) -> str | None:
        """Return the damage found, in a few words; None for an intact file. Call after `frames`."""
        missing = (self._declared or 0.0) - self.end
        if self._broke_off or missing > self._slack:
            total = f" of {self._declared:.2f} s" if self._declared and missing > 0 else ""
            return f"breaks off at {self.end:.2f} s{total}"
        if self._damaged_parts:
            parts = "1 part is" if self._damaged_parts == 1 else f"{self._damaged_parts} parts are"
            return f"{parts} damaged, the first at {self._first_damage:.2f} s"
        return None

    def _decode(self) -> Iterator[VideoFrame]:
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except av.FFmpegError:
                self._broke_off = True
                # The decoder still holds frames back for reordering.
                with suppress(av.FFmpegError):
                    yield from self._stream.decode(None)
                return
            try:
                for frame in packet.decode():
                    if frame.is_corrupt:
                        self._record_damage()
                    yield frame
            except av.EOFError:
                return
            except av.FFmpegError:
                self._record_damage()

    def _is_implausible(self, time: float) -> bool:
        gap = time - self.end
        is_declared = self._declared is not None and time <= self._declared
        return abs(gap) > _LONG_GAP and not (is_declared and 0 <= gap <= _LONGEST_GAP)

    def _display_seconds(self, frame: VideoFrame) -> float:
        declared = float(frame.duration * (frame.time_base or 0))
        return declared if 0 < declared <= _LONG_GAP else self._period

    def _record_damage(self) -> None:
        if not self._damaged_parts:
            self._first_damage = self.end
        self._damaged_parts += 1


def declared_seconds(container: InputContainer, stream: VideoStream) -> float | None:
    """Return the duration in the file's header, in seconds; None if there is none."""
    seconds = 0.0
    if stream.duration and stream.time_base:
        seconds = float(stream.duration * stream.time_base)
    elif container.duration:
        seconds = container.duration / av.time_base
    if stream.frames and stream.average_rate:
        # For an AVI without an index, FFmpeg guesses the duration from the file size.
        seconds = max(seconds, float(stream.frames / stream.average_rate))
    return seconds if seconds > 0 else None
