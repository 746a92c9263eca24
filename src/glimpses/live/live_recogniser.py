"""Recogniser of sampled frames: model step, drawing, and delay statistics."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
from jaxtyping import UInt8

from glimpses.inference import Recogniser
from glimpses.inference.stream import StreamStep
from glimpses.live.capture import Clock
from glimpses.live.sampler import SampledFrame
from glimpses.live.window import Window
from glimpses.segments import Segment, SegmentOptions
from glimpses.utils.errors import GlimpsesError, escape_controls
from glimpses.video import RGBConverter
from glimpses.viz import LiveOverlay

# Delays are counted in a histogram, so that memory does not grow: bins per second, and seconds.
_BINS_PER_SECOND, _MAX_DELAY = 100, 60


@dataclass(frozen=True)
class LiveStats:
    """Statistics of a live session.

    Attributes:
        source: name of the source.
        frames: number of frames that were processed.
        dropped: number of frames that were due but dropped because the model was busy.
        seconds: time from the first frame to the last.
        delay: median and 95th percentile of the delay from the arrival of a frame to its display,
            in seconds; None if the source was not live.
        out: the video file that was written.
    """

    source: str
    frames: int
    dropped: int
    seconds: float
    delay: tuple[float, float] | None
    out: Path | None

    def to_json(self) -> dict[str, Any]:
        """Return the statistics as JSON-compatible values."""
        delay = self.delay and dict(zip(("median", "p95"), self.delay, strict=True))
        out = None if self.out is None else str(self.out)
        return vars(self) | {"seconds": round(self.seconds, 3), "delay": delay, "out": out}

    def __str__(self) -> str:
        text = f"{self.source}: {self.frames} frames in {self.seconds:.1f} s"
        if self.delay is not None:
            delay = "delay {:.2f} s (median), {:.2f} s (95th percentile)".format(*self.delay)
            text += f", {self.dropped} dropped; {delay}"
        return text if self.out is None else f"{text}\nwritten: {self.out}"


class LiveRecogniser:
    """Recogniser that processes sampled frames one by one, in constant memory.

    Segments are printed on standard output as they end.

    Args:
        name: name of the source.
        screen: display for the annotated frames.
        draw: whether to draw the frames even without a screen.
        jsonl: whether to print one JSON object per frame.
        show_status: called with a status line after every frame.
    """

    def __init__(
        self,
        recogniser: Recogniser,
        name: str,
        clock: Clock,
        *,
        screen: Window | None = None,
        draw: bool = False,
        jsonl: bool = False,
        show_status: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._stream = recogniser.stream(segments=SegmentOptions())
        self._classes = recogniser.classes
        self._size = recogniser.config.frame_size
        self._name, self._clock, self._screen = name, clock, screen
        self._show_status = show_status
        self._draw, self._jsonl = draw or screen is not None, jsonl
        self._frames = self._dropped = 0
        self._seconds = 0.0
        self._delays = np.zeros(_MAX_DELAY * _BINS_PER_SECOND + 1, np.int64)
        self._drawing_time = 0.0
        self._error: Exception | None = None
        # Without a window or a terminal, standard output has a line for each change.
        self._print_changes = screen is None and not sys.stderr.isatty()
        self._decision: str | None = None

    def process(self, samples: Iterator[SampledFrame]) -> Iterator[UInt8[np.ndarray, "V W 3"]]:
        """Run the model on each frame and show the result.

        Yields:
            The annotated frames, if frames are drawn. The previous picture is repeated in place of
            each dropped frame, so that a video of them keeps its speed.

        Raises:
            GlimpsesError: there is no frame at all. Errors after the first frame are raised by
                `finish`.
        """
        to_input = to_display = overlay = picture = None
        try:
            for sample in samples:
                to_input = to_input or RGBConverter((self._size, self._size))
                step = self._stream(self._convert(to_input, sample), time=sample.time)
                self._frames += 1
                self._dropped += sample.dropped
                self._seconds = sample.time
                if picture is not None:
                    yield from [picture] * sample.dropped
                start = self._clock.now()
                if self._draw:
                    overlay = overlay or LiveOverlay(sample.frame.size, self._classes)
                    to_display = to_display or RGBConverter(overlay.size)
                    picture = overlay.draw(
                        self._convert(to_display, sample), time=sample.time,
                        probabilities=step.probabilities, attention=step.attention,
                        decision=None if step.decision == step.label else step.decision,
                        aside=self._timing(sample, start + self._drawing_time),
                    )  # fmt: skip
                    if self._screen is not None:
                        self._screen.show(picture)
                self._drawing_time = self._clock.now() - start
                self._report(sample, step)
                if picture is not None:
                    yield picture
        except (GlimpsesError, BrokenPipeError) as error:
            if not self._frames:
                raise
            self._error = error

    def finish(self, out: Path | None) -> LiveStats | None:
        """Return the statistics, or print them as the last line of `jsonl` and return None.

        Segments that last until the end are part of that line, or printed. `out` is the video file
        that was written.

        Raises:
            GlimpsesError: the source broke off.
        """
        if isinstance(self._error, BrokenPipeError):
            raise self._error
        segments = self._stream.finish()
        if not self._jsonl:
            _print_segments(segments)
        elif self._error is not None:
            _print_json({"segments": [segment.to_json() for segment in segments]})
        if isinstance(self._error, GlimpsesError) and out is not None:
            saved = f"{out} holds the {self._frames} frames before that"
            raise GlimpsesError(f"{self._error}; {saved}") from self._error
        if self._error is not None:
            raise self._error
        delay = None
        if self._delays.any():
            cumulative = np.cumsum(self._delays) / self._delays.sum()
            median, p95 = (int(np.searchsorted(cumulative, share)) for share in (0.5, 0.95))
            delay = median / _BINS_PER_SECOND, p95 / _BINS_PER_SECOND
        stats = LiveStats(self._name, self._frames, self._dropped, self._seconds, delay, out)
        if not self._jsonl:
            return stats
        last = [segment.to_json() for segment in segments]
        _print_json({"segments": last, "summary": stats.to_json()})
        return None

    def _convert(self, converter: RGBConverter, sample: SampledFrame) -> UInt8[np.ndarray, "H W 3"]:
        try:
            return converter(sample.frame)
        except av.FFmpegError as error:
            problem = f"its frames cannot be converted ({error.strerror})"
            raise GlimpsesError(f"{self._name}: {problem}") from error

    def _timing(self, sample: SampledFrame, now: float) -> str:
        """Describe the delay of a frame that is displayed at `now`; its time in a fast file."""
        if sample.arrival is None:
            return f"{sample.time:.1f} s"
        dropped = f", {self._dropped} dropped" if self._dropped else ""
        return f"{max(now - sample.arrival, 0):.2f} s behind live{dropped}"

    def _report(self, sample: SampledFrame, step: StreamStep) -> None:
        """Count the delay of a frame, and print its JSON line or status line."""
        now, delay = self._clock.now(), None
        if sample.arrival is not None:
            delay = max(now - sample.arrival, 0.0)
            self._delays[min(round(delay * _BINS_PER_SECOND), len(self._delays) - 1)] += 1
        if self._jsonl:
            line = step.to_json() | {
                "time": round(sample.time, 3), "delay": None if delay is None else round(delay, 3),
                "dropped": self._dropped,
            }  # fmt: skip
            _print_json(line)
        else:
            state = step.decision
            if step.decision == step.label:
                state += f" {step.probabilities.max():.0%}"
            if self._print_changes and step.decision != self._decision:
                print(escape_controls(f"{sample.time:8.1f} s  {state}"), flush=True)
            self._decision = step.decision
            _print_segments(step.segments)
            self._show_status(f"{state}  {self._timing(sample, now)}, {self._frames} frames")


def _print_segments(segments: Iterable[Segment]) -> None:
    for one in segments:
        line = f"{one.start:8.1f} s to {one.end:.1f} s  {one.label} {one.score:.0%}"
        print(escape_controls(line), flush=True)


def _print_json(value: dict[str, Any]) -> None:
    print(json.dumps(value, ensure_ascii=False), flush=True)
