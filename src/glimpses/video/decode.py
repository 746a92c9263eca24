"""Decoding of one stream, with the times of its frames and a record of damage."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress

import av
from av.container import InputContainer
from av.packet import Packet
from av.stream import Stream
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from glimpses.utils.limits import count_frame
from glimpses.video.convert import DecodedFrame, FrameCounter
from glimpses.video.timeline import Timeline, is_joinable

# Seconds by which an intact video may end before its declared duration: writers round and pad.
_SLACK = 0.5


class Decoder:
    """Single-pass decoder of one stream."""

    def __init__(self, container: InputContainer, stream: VideoStream) -> None:
        self._container = container
        self._stream = stream
        self._declared = declared_seconds(container, stream)
        self._timeline = Timeline(container, stream, self._declared)
        self._wrap = FrameCounter(stream)
        # The declared duration may be that of the sound, which the picture need not reach.
        total = (container.duration or 0) / av.time_base
        self._may_end_early = (
            len(container.streams) > 1 and abs(total - (self._declared or 0)) < 0.1
        )
        self._others_end = 0.0
        self._damaged_parts = 0
        self._first_damage = 0.0
        self._broke_off = False
        # Small frames decode faster than they can be handed to threads.
        small = stream.codec_context.width * stream.codec_context.height <= 640 * 480
        stream.thread_type = "AUTO"
        stream.codec_context.thread_count = 1 if small else min(4, os.cpu_count() or 1)

    @property
    def end(self) -> float:
        """Seconds from the first frame until the last decoded one leaves the display."""
        return self._timeline.end

    @property
    def count(self) -> int:
        """Number of frames decoded so far."""
        return self._wrap.count

    def frames(self) -> Iterator[tuple[float, DecodedFrame]]:
        """Yield frames with the seconds since the first one, strictly ascending."""
        for frame in self._decode():
            end = self.end
            time, is_plausible = self._timeline.add(frame)
            if not is_plausible:
                self._record_damage(end)
            count_frame()
            yield time, self._wrap(frame)

    def problem(self) -> str | None:
        """Return the damage found, in a few words; None for an intact file. Call after `frames`."""
        missing = (self._declared or 0.0) - max(self._timeline.reached, self._others_end)
        if self._broke_off or missing > _SLACK:
            total = f" of {self._declared:.2f} s" if self._declared and missing > 0 else ""
            return f"breaks off at {self.end:.2f} s{total}"
        if self._damaged_parts:
            parts = "1 part is" if self._damaged_parts == 1 else f"{self._damaged_parts} parts are"
            return f"{parts} damaged, the first at {self._first_damage:.2f} s"
        return None

    def _decode(self) -> Iterator[VideoFrame]:
        packets = self._packets()
        # A recording may begin between two key frames.
        has_begun = not is_joinable(self._container)
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
                    has_begun = has_begun or frame.key_frame
                    if frame.is_corrupt and has_begun:
                        self._record_damage(self.end)
                    yield frame
            except av.EOFError:
                return
            except av.FFmpegError:
                if has_begun:
                    self._record_damage(self.end)

    def _packets(self) -> Iterator[Packet[VideoStream]]:
        """Yield the packets of the stream; note the end of the other streams if it matters."""
        if not self._may_end_early:
            yield from self._container.demux(self._stream)
            return
        start = (self._container.start_time or 0) / av.time_base
        packets: Iterator[Packet[Stream]] = self._container.demux()
        for packet in packets:
            if packet.stream.index == self._stream.index:
                yield packet  # type: ignore[misc]
            elif packet.pts is not None and packet.time_base:
                end = float((packet.pts + (packet.duration or 0)) * packet.time_base)
                self._others_end = max(self._others_end, end - start)

    def _record_damage(self, time: float) -> None:
        if not self._damaged_parts:
            self._first_damage = time
        self._damaged_parts += 1


def declared_seconds(container: InputContainer, stream: VideoStream) -> float | None:
    """Return the duration that a file declares for its picture, in seconds; None if there is none.

    It need not be true.
    """
    seconds = 0.0
    if stream.duration and stream.time_base:
        seconds = float(stream.duration * stream.time_base)
    else:
        # Matroska declares the duration of the longest stream, and tags have that of each one.
        seconds = _to_seconds(stream.metadata.get("DURATION", ""))
        seconds = seconds or (container.duration or 0) / av.time_base
    if container.format.name == "avi" and stream.frames and stream.average_rate:
        # Without an index, FFmpeg guesses the duration of an AVI from the size of the file.
        seconds = max(seconds, float(stream.frames / stream.average_rate))
    return seconds if seconds > 0 else None


def _to_seconds(text: str) -> float:
    """Return the seconds of a time such as 00:01:02.500; 0 if it is none."""
    try:
        hours, minutes, seconds = (float(part) for part in text.split(":"))
    except ValueError:
        return 0.0
    total = 3600 * hours + 60 * minutes + seconds
    return total if 0 < total < float("inf") else 0.0
