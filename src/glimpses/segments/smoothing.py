"""Moving means and medians of step probabilities, of whole recordings and of streams."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float


class MovingMean:
    """Moving mean of a stream of rows; chunks of any size give the means of one call with all.

    Args:
        length: number of rows in a mean, at least 1; fewer at the ends of the stream.
        centred: the mean is over as many rows after a row as before it, so that it comes
            `length // 2` rows later, and `length` must be odd. Otherwise, it is over the row and
            those before it.
    """

    def __init__(self, length: int, *, centred: bool = False) -> None:
        if length < 1 or (centred and length % 2 == 0):
            raise ValueError(f"the length must be at least 1, and odd if centred, not {length}")
        self._after = length // 2 if centred else 0
        self._before = length - 1 - self._after
        # Rows before the next mean, and those that wait for it.
        self._rows: Float[np.ndarray, "N C"] | None = None
        self._past = 0

    def add(self, values: Float[np.ndarray, "T C"]) -> Float[np.ndarray, "N C"]:
        """Return the means that are known with these rows."""
        joined = values if self._rows is None else np.concatenate([self._rows, values])
        count = max(len(joined) - self._past - self._after, 0)
        means = self._means(joined, count)
        drop = max(self._past + count - self._before, 0)
        self._rows, self._past = joined[drop:].copy(), self._past + count - drop
        return means

    def finish(self) -> Float[np.ndarray, "N C"]:
        """Return the remaining means."""
        if self._rows is None:
            return np.zeros((0, 0))
        return self._means(self._rows, len(self._rows) - self._past)

    def _means(self, rows: Float[np.ndarray, "R C"], count: int) -> Float[np.ndarray, "N C"]:
        if not count or not (self._before or self._after):
            return rows[self._past : self._past + count]
        padded = np.pad(rows, ((self._before, self._after), (0, 0)), constant_values=np.nan)
        windows = np.lib.stride_tricks.sliding_window_view(
            padded, self._before + self._after + 1, axis=0
        )
        return np.asarray(np.nanmean(windows[self._past : self._past + count], axis=-1))


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
