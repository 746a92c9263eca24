"""Segments from the class probabilities of steps: smoothing, thresholds, joining, Viterbi.

Steps are `step` seconds apart, and step i is the time from i * step to (i + 1) * step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from glimpses.segments.segment import Segment, sort_segments


@dataclass(frozen=True)
class DecodeOptions:
    """Options of the step from probabilities to segments.

    Attributes:
        threshold: lowest probability of an active class: one, or one for each class.
        release: a segment that began at the threshold lasts until the probability is below this
            fraction of it (hysteresis); 1 for a plain threshold.
        smoothing: length in steps of the moving mean over the past, the current step included; 1
            for none.
        min_length: shortest segment in seconds.
        join_gap: segments of one class at most this many seconds apart are joined.
        background: index of the background class, which never gives segments.
        exclusive: only the most probable class of a step is active, so segments never overlap.
    """

    threshold: float | tuple[float, ...] = 0.5
    release: float = 1.0
    smoothing: int = 1
    min_length: float = 0.0
    join_gap: float = 0.0
    background: int | None = None
    exclusive: bool = False

    def __post_init__(self) -> None:
        thresholds = np.atleast_1d(self.threshold)
        if not ((thresholds > 0) & (thresholds <= 1)).all():
            raise ValueError(f"threshold must be above 0 and at most 1, not {self.threshold}")
        if not 0 < self.release <= 1:
            raise ValueError(f"release must be above 0 and at most 1, not {self.release}")
        if self.smoothing < 1:
            raise ValueError(f"smoothing must be at least 1, not {self.smoothing}")
        if not (0 <= self.min_length < np.inf and 0 <= self.join_gap < np.inf):
            raise ValueError("min_length and join_gap must not be negative")


@dataclass
class _Open:
    """A segment that has begun: steps, and the sum and maximum of the probabilities.

    Sums are over the steps of activity; a joined gap counts with its probabilities.
    """

    start: int
    stop: int
    total: float
    best: float
    peak: int
    # Since `stop`, in case that the gap is joined.
    gap_total: float = 0.0
    active: bool = True


class Decoder:
    """Decoding of a stream: takes probabilities in chunks, returns segments as they end.

    Chunks of any size give the segments of one call with all. Memory depends on the number of
    classes and the smoothing only. A segment is returned once it can no longer be joined, so
    `join_gap` seconds after its end at the latest.

    Args:
        classes: names of the classes.
        step: seconds between two steps.
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
        # The tolerance is for gaps that are a whole number of steps but for rounding.
        self._gap = int(np.floor(self._options.join_gap / step + 1e-9))
        self._past = np.zeros((0, count))
        self._open: list[_Open | None] = [None] * count
        self._time = 0

    def add(self, probabilities: Float[np.ndarray, "T C"]) -> list[Segment]:
        """Return the segments that end for certain with these steps, sorted.

        Raises:
            ValueError: the number of classes differs.
        """
        probabilities = np.asarray(probabilities, np.float64)
        if probabilities.ndim != 2 or probabilities.shape[1] != len(self._classes):
            raise ValueError(
                f"probabilities must be (steps, {len(self._classes)}), not {probabilities.shape}"
            )
        smooth = self._smooth(probabilities)
        eligible = np.ones(smooth.shape, bool)
        if self._options.exclusive and len(smooth):
            eligible[:] = False
            eligible[np.arange(len(smooth)), smooth.argmax(1)] = True
        if self._options.background is not None:
            eligible[:, self._options.background] = False
        high = eligible & (smooth >= self._threshold)
        low = eligible & (smooth >= self._threshold * self._options.release)
        done: list[Segment] = []
        # Classes that are neither open nor active, which are most, cost nothing.
        busy = high.any(0) | np.array([one is not None for one in self._open], bool)
        for index in np.flatnonzero(busy):
            for offset in range(len(smooth)):
                done += self._advance(
                    int(index), self._time + offset, float(smooth[offset, index]),
                    bool(high[offset, index]), bool(low[offset, index]),
                )  # fmt: skip
        self._time += len(smooth)
        return sort_segments(done)

    def finish(self) -> list[Segment]:
        """Return the segments that last until the end of the stream."""
        done = [
            segment for index, one in enumerate(self._open) if one for segment in self._close(index)
        ]
        return sort_segments(done)

    def _smooth(self, probabilities: Float[np.ndarray, "T C"]) -> Float[np.ndarray, "T C"]:
        if self._options.smoothing == 1 or not len(probabilities):
            return probabilities
        joined = np.concatenate([self._past, probabilities])
        smooth = causal_mean(joined, self._options.smoothing)[len(self._past) :]
        self._past = joined[len(joined) - min(len(joined), self._options.smoothing - 1) :].copy()
        return smooth

    def _advance(self, index: int, time: int, value: float, high: bool, low: bool) -> list[Segment]:
        one = self._open[index]
        done: list[Segment] = []
        if one and not (high or (low and one.active)):
            one.active = False
            one.gap_total += value
            if time + 1 - one.stop > self._gap:
                done = self._close(index)
        elif one and time - one.stop <= self._gap:
            one.total += one.gap_total + value
            one.gap_total, one.stop, one.active = 0.0, time + 1, True
            if value > one.best:
                one.best, one.peak = value, time
        elif high:
            done = self._close(index) if one else []
            self._open[index] = _Open(time, time + 1, value, value, time)
        return done

    def _close(self, index: int) -> list[Segment]:
        one, self._open[index] = self._open[index], None
        assert one is not None
        length = one.stop - one.start
        if length * self._step < self._options.min_length - 1e-9:
            return []
        return [
            Segment(
                file=self._file, start=one.start * self._step, end=one.stop * self._step,
                label=self._classes[index], score=one.total / length,
                peak=min((one.peak + 0.5) * self._step, one.stop * self._step),
            )
        ]  # fmt: skip


def decode(
    probabilities: Float[np.ndarray, "T C"], classes: Sequence[str], *, step: float, file: str = "",
    options: DecodeOptions | None = None,
) -> list[Segment]:  # fmt: skip
    """Return the segments of a recording, sorted; equal to those of `Decoder` in a stream.

    The score of a segment is its mean probability, and its peak the middle of its best step.

    Args:
        probabilities: of each class at each step.
        classes: names of the classes.
        step: seconds between two steps.
        file: name of the video.
        options: of the decoding.
    """
    decoder = Decoder(classes, step=step, file=file, options=options)
    return sort_segments([*decoder.add(probabilities), *decoder.finish()])


def causal_mean(values: Float[np.ndarray, "T C"], length: int) -> Float[np.ndarray, "T C"]:
    """Return the mean of each step and the `length - 1` before it; fewer at the start."""
    padded = np.concatenate([np.full((length - 1, values.shape[1]), np.nan), values])
    windows = np.lib.stride_tricks.sliding_window_view(padded, length, axis=0)
    mean: Float[np.ndarray, "T C"] = np.nanmean(windows, axis=-1)
    return mean


def centred_mean(values: Float[np.ndarray, "T C"], length: int) -> Float[np.ndarray, "T C"]:
    """Return the mean over `length` steps (odd) around each; fewer at the ends."""
    return _centred(values, length, np.nanmean)


def centred_median(values: Float[np.ndarray, "T C"], length: int) -> Float[np.ndarray, "T C"]:
    """Return the median over `length` steps (odd) around each; fewer at the ends."""
    return _centred(values, length, np.nanmedian)


def _centred(
    values: Float[np.ndarray, "T C"], length: int, statistic: Callable[..., np.ndarray]
) -> Float[np.ndarray, "T C"]:
    if length < 1 or length % 2 == 0:
        raise ValueError(f"the length must be odd, not {length}")
    edge = np.full((length // 2, values.shape[1]), np.nan)
    padded = np.concatenate([edge, values, edge])
    return statistic(np.lib.stride_tricks.sliding_window_view(padded, length, axis=0), axis=-1)


class Viterbi:
    """Most probable sequence of classes with a cost for each change (a Potts model), by chunks.

    The class of a step is decided `lag` steps later: 0 decides at once, and a lag as long as the
    recording gives the exact optimum. Time is O(T C), memory O(lag C).

    Args:
        classes: number of classes.
        switch_cost: cost of a change of class in nats, the unit of a log probability.
        lag: number of steps to wait; None to decide only at the end.
    """

    def __init__(self, classes: int, *, switch_cost: float, lag: int | None = None) -> None:
        if classes < 1 or not switch_cost >= 0 or (lag is not None and lag < 0):
            raise ValueError("classes must be positive, and switch_cost and lag not negative")
        self._cost, self._lag = switch_cost, lag
        self._score = np.zeros(classes)
        self._from: list[Int[np.ndarray, " C"]] = []
        self._started = False

    def add(self, log_probabilities: Float[np.ndarray, "T C"]) -> Int[np.ndarray, " D"]:
        """Return the classes that are decided with these steps, in order."""
        decided = []
        stay = np.arange(len(self._score))
        for row in np.asarray(log_probabilities, np.float64):
            best = int(self._score.argmax())
            change = self._started & (self._score < self._score[best] - self._cost)
            self._from.append(np.where(change, best, stay))
            self._score = np.maximum(self._score, self._score[best] - self._cost * self._started)
            self._score = self._score + row
            # Scores relative to the best stay small in streams without end.
            self._score -= self._score.max()
            self._started = True
            if self._lag is not None and len(self._from) > self._lag:
                decided.append(self._path()[0])
                self._from.pop(0)
        return np.array(decided, dtype=np.int64)

    def finish(self) -> Int[np.ndarray, " D"]:
        """Return the classes of the remaining steps."""
        path = np.array(self._path(), dtype=np.int64)
        self._from.clear()
        return path

    def _path(self) -> list[int]:
        path: list[int] = []
        current = int(self._score.argmax())
        for back in reversed(self._from):
            path.append(current)
            current = int(back[current])
        return path[::-1]


def viterbi(
    log_probabilities: Float[np.ndarray, "T C"], *, switch_cost: float
) -> Int[np.ndarray, " T"]:
    """Return the sequence of classes with the best sum of log probabilities and switching costs."""
    search = Viterbi(log_probabilities.shape[1], switch_cost=switch_cost)
    search.add(log_probabilities)
    return search.finish()


def path_segments(
    path: Int[np.ndarray, " T"], probabilities: Float[np.ndarray, "T C"], classes: Sequence[str], *,
    step: float, file: str = "", background: int | None = None,
) -> list[Segment]:  # fmt: skip
    """Return the runs of equal classes of a sequence as segments, without the background."""
    if not len(path):
        return []
    changed: Bool[np.ndarray, " T"] = np.r_[True, path[1:] != path[:-1], True]
    edges = np.flatnonzero(changed)
    segments = []
    for start, stop in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        index = int(path[start])
        if index == background:
            continue
        values = probabilities[start:stop, index]
        segments.append(
            Segment(
                file=file, start=start * step, end=stop * step, label=classes[index],
                score=float(values.mean()),
                peak=min((start + int(values.argmax()) + 0.5) * step, stop * step),
            )
        )  # fmt: skip
    return segments
