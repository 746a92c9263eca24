"""Optical flow of each place of the grid: channels beside those of a CNN.

A CNN that was trained on pictures does not know how things move. The flow between a frame and the
one before it is summarised in every cell of the grid by histograms of its direction (HOF) and of
its gradients (motion boundary histograms, MBH), after Dalal, Triggs and Schmid (ECCV 2006) and Wang
et al. (IJCV 2013). The median flow of the frame, which is mostly the camera's, is subtracted.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable

import numpy as np
from jaxtyping import Float16, Float32, UInt8

#: Suffix of a spec whose cubes hold the optical flow too.
FLOW = "@flow"

_BINS = 8
#: Channels of a place: histogram of directions, share of still pixels, histograms of the gradients
#: of both components of the flow, median flow of the frame.
CHANNELS = 3 * _BINS + 3

# DIS computes the flow at a quarter of the size and enlarges it; histograms need no more.
_REDUCTION = 4
# In pixels of the frame: less is noise, more is an error.
_STILL, _FASTEST = 0.4, 20.0

_local = threading.local()


def flow_cubes(
    frames: Iterable[UInt8[np.ndarray, "S S 3"]],
    previous: UInt8[np.ndarray, "S S 3"] | None,
    grid: int,
) -> Float16[np.ndarray, "N P 27"]:
    """Return the channels of the optical flow of consecutive frames.

    Args:
        frames: consecutive RGB frames.
        previous: the frame before the first one; None if there is none, and its flow is then 0.
        grid: places along one side, K.
    """
    before = None if previous is None else _grey(previous)
    cubes = []
    for frame in frames:
        grey = _grey(frame)
        cubes.append(_channels(grey if before is None else before, grey, grid))
        before = grey
    return np.stack(cubes).astype(np.float16)


def _grey(frame: UInt8[np.ndarray, "S S 3"]) -> UInt8[np.ndarray, "S S"]:
    import cv2

    return np.asarray(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY))


def _channels(
    before: UInt8[np.ndarray, "S S"], grey: UInt8[np.ndarray, "S S"], grid: int
) -> Float32[np.ndarray, "P 27"]:
    import cv2

    if not hasattr(_local, "dis"):
        preset = cv2.DISOPTICAL_FLOW_PRESET_FAST
        _local.dis = cv2.DISOpticalFlow.create(preset)
    flow = _local.dis.calc(before, grey, None)
    side = grey.shape[0] // _REDUCTION
    flow = cv2.resize(flow, (side, side), interpolation=cv2.INTER_AREA)
    camera = np.median(flow.reshape(-1, 2), axis=0)
    flow = flow - camera
    cells = np.arange(side) * grid // side
    cells = (cells[:, None] * grid + cells).ravel()
    size, angle = cv2.cartToPolar(flow[..., 0], flow[..., 1])
    still = np.bincount(cells, (size < _STILL).ravel(), grid**2) / np.bincount(cells)
    histograms = [_histogram(np.minimum(size, _FASTEST), angle, cells), still[:, None]]
    for component in cv2.split(flow):
        gradient_x, gradient_y = np.gradient(component, axis=1), np.gradient(component, axis=0)
        histograms.append(_histogram(*cv2.cartToPolar(gradient_x, gradient_y), cells))
    histograms.append(np.tile(camera, (grid**2, 1)))
    channels = np.concatenate(histograms, axis=1)
    # Square roots, as for other histograms: a few large values would outweigh the rest.
    return np.asarray(np.sign(channels) * np.sqrt(np.abs(channels)), np.float32)


def _histogram(
    size: Float32[np.ndarray, "H W"], angle: Float32[np.ndarray, "H W"], cells: np.ndarray
) -> Float32[np.ndarray, "P 8"]:
    """Return the histogram of directions of each cell, weighted by size, as a mean over pixels."""
    position = angle.ravel() * (_BINS / (2 * np.pi))
    lower = position.astype(np.int64)
    share, size = position - lower, size.ravel()
    count = cells[-1] + 1
    total = np.zeros(count * _BINS)
    for bins, weights in ((lower, size * (1 - share)), (lower + 1, size * share)):
        total += np.bincount(cells * _BINS + bins % _BINS, weights, count * _BINS)
    return np.asarray(total.reshape(count, _BINS) / np.bincount(cells)[:, None], np.float32)
