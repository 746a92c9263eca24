"""Most probable sequences of classes, and their segments."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

from glimpses.segments.segment import Segment


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
