"""Segments from the class probabilities of steps: smoothing, thresholds, joining."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from glimpses.segments.attention_box import attention_box
from glimpses.segments.options import DecodeOptions
from glimpses.segments.segment import Segment, sort_segments
from glimpses.segments.smoothing import MovingMean

# Seconds by which sums of rounded times may be off.
_ROUNDING = 1e-6


@dataclass
class _Sum:
    """Sum over steps of the probability of a class and of the attention."""

    steps: int = 0
    probability: float = 0.0
    attention: Float[np.ndarray, " P"] | None = None

    def add(
        self, probability: float, attention: Float[np.ndarray, " P"] | None, steps: int = 1
    ) -> None:
        self.steps += steps
        self.probability += probability
        if attention is not None:
            self.attention = attention if self.attention is None else self.attention + attention


@dataclass
class _Open:
    """A segment that has begun.

    Attributes:
        start: time and number of its first frame.
        stop: the same for the end of its last active step, if that has ended.
        active: whether the last step was active.
        best: highest probability.
        peak: time of the step with it.
        total: sum from the start to the last active step.
        gap: sum since then, which counts if the gap is joined.
    """

    start: tuple[float, int]
    stop: tuple[float, int]
    best: float
    peak: float
    total: _Sum
    gap: _Sum
    active: bool = True


class Decoder:
    """Decoding of a stream: takes probabilities in chunks, returns segments as they end.

    Chunks of any size give the segments of one call with all. Memory depends on the numbers of
    classes and places and on the smoothing only. A segment is returned once it can no longer be
    joined, so `join_gap` seconds after its end at the latest, and with centred smoothing half of
    its length later.

    A step lasts until the next one begins. The score of a segment is its mean probability, and its
    peak the middle of its best step, both after smoothing.

    Args:
        classes: names of the classes.
        step: usual seconds between two steps.
        file: name of the video.
        options: of the decoding.
    """

    def __init__(
        self, classes: Sequence[str], *, step: float, file: str = "",
        options: DecodeOptions | None = None,
    ) -> None:  # fmt: skip
        if not 0 < step < np.inf:
            raise ValueError(f"step must be above 0, not {step}")
        self._classes, self._step, self._file = tuple(classes), step, file
        self._options = options or DecodeOptions()
        count = len(self._classes)
        self._threshold = np.broadcast_to(np.asarray(self._options.threshold, float), (count,))
        self._smooth = MovingMean(self._options.smoothing, centred=self._options.centred)
        self._open: list[_Open | None] = [None] * count
        # Number of steps, and the end of the last one by the usual duration.
        self._steps, self._end = 0, 0.0
        # Of the steps that wait for their smooth probabilities.
        self._times: Float[np.ndarray, " W"] = np.zeros(0)
        self._frames: Int[np.ndarray, " W"] | None = None
        self._attention: Float[np.ndarray, "W P"] | None = None

    def add(
        self,
        probabilities: Float[np.ndarray, "T C"],
        *,
        times: Float[np.ndarray, " T"] | None = None,
        frames: Int[np.ndarray, " T"] | None = None,
        attention: Float[np.ndarray, "T P"] | None = None,
    ) -> list[Segment]:
        """Return the segments that end for certain with these steps, sorted.

        Args:
            probabilities: of each class at each of the next steps.
            times: when each step begins, ascending; a multiple of `step` by default.
            frames: number of the frame with which each step begins, for `Segment.frames`; always
                or never.
            attention: of each step, on a square grid, for `Segment.attention`; always or never.

        Raises:
            ValueError: the number of classes or of steps differs.
        """
        probabilities = np.asarray(probabilities, np.float64)
        if probabilities.ndim != 2 or probabilities.shape[1] != len(self._classes):
            raise ValueError(
                f"probabilities must be (steps, {len(self._classes)}), not {probabilities.shape}"
            )
        if times is None:
            times = (self._steps + np.arange(len(probabilities))) * self._step
        for values in (times, frames, attention):
            if values is not None and len(values) != len(probabilities):
                raise ValueError(f"{len(probabilities)} steps have {len(values)} values")
        self._steps += len(probabilities)
        if len(times):
            self._end = float(times[-1]) + self._step
        self._times = np.concatenate([self._times, times])
        self._frames = _append(self._frames, frames)
        self._attention = _append(self._attention, attention)
        return sort_segments(self._decode(self._smooth.add(probabilities)))

    def finish(self, *, end: float | None = None, frames: int | None = None) -> list[Segment]:
        """Return the segments that last until the end of the stream.

        Args:
            end: time of the end; by default one `step` after the last one began.
            frames: number of frames of the video, if `add` has got the numbers of frames.
        """
        done = self._decode(self._smooth.finish())
        end = self._end if end is None else end
        for index, one in enumerate(self._open):
            if one is None:
                continue
            if one.active:
                one.stop = max(end, one.stop[0]), max(frames or 0, one.stop[1])
            done += self._close(index)
        return sort_segments(done)

    def _decode(self, smooth: Float[np.ndarray, "N C"]) -> list[Segment]:
        """Return the segments that end with the next steps, given their smooth probabilities."""
        done: list[Segment] = []
        count = len(smooth)
        if not count:
            return done
        eligible = np.ones(smooth.shape, bool)
        if self._options.exclusive:
            eligible[:] = False
            eligible[np.arange(count), smooth.argmax(1)] = True
        if self._options.background is not None:
            eligible[:, np.atleast_1d(self._options.background)] = False
        high = eligible & (smooth >= self._threshold)
        low = eligible & (smooth >= self._threshold * self._options.release)
        # Classes that are neither open nor active, which are most, cost nothing.
        busy = high.any(0) | np.array([one is not None for one in self._open], bool)
        indices = np.flatnonzero(busy)
        for row in range(count):
            frame = 0 if self._frames is None else int(self._frames[row])
            place = float(self._times[row]), frame
            attention = None if self._attention is None else self._attention[row]
            # Segments end before another one takes their place.
            for index in indices[np.argsort(low[row, indices], kind="stable")].tolist():
                done += self._advance(
                    index, place, float(smooth[row, index]), attention,
                    high=bool(high[row, index]), low=bool(low[row, index]),
                )  # fmt: skip
        self._times = self._times[count:]
        self._frames = None if self._frames is None else self._frames[count:]
        self._attention = None if self._attention is None else self._attention[count:]
        return done

    def _advance(
        self, index: int, place: tuple[float, int], value: float,
        attention: Float[np.ndarray, " P"] | None, *, high: bool, low: bool,
    ) -> list[Segment]:  # fmt: skip
        """Process a step of a class; `place` is the time and the number of its first frame."""
        one, gap = self._open[index], self._options.join_gap
        done: list[Segment] = []
        if one and one.active:
            one.stop = place
        if one and not (high or (low and one.active)):
            one.active = False
            one.gap.add(value, attention)
            # The next step begins later still.
            if place[0] - one.stop[0] >= gap - _ROUNDING:
                done = self._close(index)
        elif one and place[0] - one.stop[0] <= gap + _ROUNDING and self._may_join(one):
            if not one.active and self._options.exclusive:
                # Those in the gap are too short to count.
                for other, ended in enumerate(self._open):
                    if ended and ended.start[0] >= one.stop[0]:
                        self._open[other] = None
            one.total.add(one.gap.probability, one.gap.attention, one.gap.steps)
            one.total.add(value, attention)
            one.gap, one.active = _Sum(), True
            if value > one.best:
                one.best, one.peak = value, place[0]
        elif high:
            done = self._close(index) if one else []
            total = _Sum(1, value, attention)
            self._open[index] = _Open(place, place, value, place[0], total, _Sum())
        return done

    def _may_join(self, one: _Open) -> bool:
        """Return whether a segment may go on: no other one has taken the place of its gap."""
        return (
            one.active
            or not self._options.exclusive
            or not any(
                other and other.start[0] >= one.stop[0] and self._is_long(other)
                for other in self._open
            )
        )

    def _is_long(self, one: _Open) -> bool:
        return one.stop[0] - one.start[0] >= self._options.min_length - _ROUNDING

    def _close(self, index: int) -> list[Segment]:
        one, self._open[index] = self._open[index], None
        assert one is not None
        (start, first), (end, stop) = one.start, one.stop
        if not self._is_long(one):
            return []
        attention = None
        if one.total.attention is not None:
            grid = math.isqrt(len(one.total.attention))
            attention = (one.total.attention / one.total.steps).reshape(grid, grid)
        return [
            Segment(
                file=self._file, start=start, end=end, label=self._classes[index],
                score=one.total.probability / one.total.steps,
                peak=min(one.peak + self._step / 2, end),
                box=None if attention is None else attention_box(attention),
                frames=None if self._frames is None else (first, stop),
                attention=attention,
            )
        ]  # fmt: skip


def decode(
    probabilities: Float[np.ndarray, "T C"], classes: Sequence[str], *, step: float, file: str = "",
    options: DecodeOptions | None = None,
) -> list[Segment]:  # fmt: skip
    """Return the segments of a recording, sorted; equal to those of `Decoder` in a stream.

    Args:
        probabilities: of each class at each step.
        classes: names of the classes.
        step: seconds between two steps.
        file: name of the video.
        options: of the decoding.
    """
    decoder = Decoder(classes, step=step, file=file, options=options)
    return sort_segments([*decoder.add(probabilities), *decoder.finish()])


def _append(old: np.ndarray | None, new: np.ndarray | None) -> np.ndarray | None:
    return new if old is None or new is None else np.concatenate([old, new])
