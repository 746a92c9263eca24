"""Decoded frames with time stamps that can be trusted, and a record of what went wrong."""

from __future__ import annotations

import os
from collections.abc import Iterator

import av
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

# Frames later than this after the one before, in seconds, are believed only within the declared
# duration; damaged time stamps would otherwise ask for millions of samples.
_LONG_GAP = 10.0
_LONGEST_GAP = 3600.0
# How much earlier than declared a healthy video may end, in seconds: writers round and pad.
_SLACK = 0.5


class Decoder:
    """Decodes one stream once.

    Attributes:
        end: when the last decoded frame leaves the display, in seconds since the first appeared.
    """

    def __init__(self, container: InputContainer, stream: VideoStream) -> None:
        self._container = container
        self._stream = stream
        self._declared = declared_seconds(container, stream)
        self._slack = _SLACK
        whole = (container.duration or 0) / av.time_base
        if container.streams.audio and self._declared and abs(whole - self._declared) < 0.1:
            # FFmpeg may have taken the sound's duration; then only a big difference tells anything.
            self._slack = max(1.0, 0.2 * whole)
        rate = stream.average_rate or stream.guessed_rate
        self._period = float(1 / rate) if rate else 0.04
        self.end = 0.0
        self._damages = 0
        self._first_damage = 0.0
        self._broke_off = False
        # Small frames decode faster than they can be handed to threads.
        small = stream.codec_context.width * stream.codec_context.height <= 640 * 480
        stream.thread_type = "AUTO"
        stream.codec_context.thread_count = 1 if small else min(4, os.cpu_count() or 1)

    def frames(self) -> Iterator[tuple[float, VideoFrame]]:
        """Yield frames with the seconds since the first, strictly ascending."""
        start, last, skipped = None, 0.0, 0.0
        for frame in self._decoded():
            stamp = frame.time
            if start is None:
                start, time = stamp or 0.0, 0.0
            else:
                time = self.end if stamp is None else stamp - start - skipped
                if self._is_absurd(time):
                    self._damaged()
                    skipped += time - self.end
                    time = self.end
                # Broken writers repeat stamps or let them fall: the order of decoding decides.
                time = max(time, last + 1e-6)
            last = time
            self.end = time + self._shown_for(frame)
            yield time, frame

    def problem(self) -> str | None:
        """What is wrong with the file, in a few words; None if nothing. Ask after the frames."""
        missing = (self._declared or 0.0) - self.end
        if self._broke_off or missing > self._slack:
            whole = f" of {self._declared:.2f} s" if self._declared and missing > 0 else ""
            return f"breaks off at {self.end:.2f} s{whole}"
        if self._damages:
            parts = "1 part is" if self._damages == 1 else f"{self._damages} parts are"
            return f"{parts} damaged, the first at {self._first_damage:.2f} s"
        return None

    def _decoded(self) -> Iterator[VideoFrame]:
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except av.FFmpegError:
                self._broke_off = True
                yield from self._held_back()
                return
            try:
                for frame in packet.decode():
                    if frame.is_corrupt:
                        self._damaged()
                    yield frame
            except av.EOFError:
                return
            except av.FFmpegError:
                self._damaged()

    def _held_back(self) -> Iterator[VideoFrame]:
        """Frames that wait in the decoder for others that will not come."""
        try:
            yield from self._stream.decode(None)
        except av.FFmpegError:
            return

    def _is_absurd(self, time: float) -> bool:
        gap = time - self.end
        if abs(gap) <= _LONG_GAP:
            return False
        declared = self._declared is not None and time <= self._declared
        return gap < 0 or not declared or gap > _LONGEST_GAP

    def _shown_for(self, frame: VideoFrame) -> float:
        declared = float(frame.duration * (frame.time_base or 0))
        return declared if 0 < declared <= _LONG_GAP else self._period

    def _damaged(self) -> None:
        if not self._damages:
            self._first_damage = self.end
        self._damages += 1


def declared_seconds(container: InputContainer, stream: VideoStream) -> float | None:
    """How long the file says its video is, in seconds; None where it says nothing."""
    seconds = 0.0
    if stream.duration and stream.time_base:
        seconds = float(stream.duration * stream.time_base)
    elif container.duration:
        seconds = container.duration / av.time_base
    if stream.frames and stream.average_rate:
        # For an AVI that lacks its index FFmpeg guesses the duration by the size of the file.
        seconds = max(seconds, float(stream.frames / stream.average_rate))
    return seconds if seconds > 0 else None
