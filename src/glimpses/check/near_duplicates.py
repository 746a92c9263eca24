"""Clips that show the same pictures: copies, overlapping cuts, and cuts of one scene.

Frames are compared by the low frequencies of their cosine transform, as perceptual hashes do, but
with real values instead of their signs: these distinguish similar scenes better, at the same cost.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, UInt8
from scipy.fft import dctn, irfft, rfft

from glimpses.utils import progress
from glimpses.video import THUMBNAIL_SIZE

# Frequencies that are used of a picture, in each direction.
_FREQUENCIES = 8
_SHAPE = (THUMBNAIL_SIZE, THUMBNAIL_SIZE, 3)
# Standard deviation in grey levels below which a picture is empty, as black frames and fades are.
_EMPTY = 8.0
# Compared frames of a clip, and how many of them must be in the other clip.
_QUERIES, _NEEDED = 8, 4
# Rows of the comparison at a time: with 200,000 frames, 100 MB.
_ROWS = 128
#: Cosine similarity from which frames count as the same picture.
SAME_PICTURE = 0.85
#: Correlation of the deviations from the mean picture from which clips count as copies.
SAME_MOTION = 0.8


class Fingerprint:
    """Small pictures of a video, ten frames a second, added one by one."""

    def __init__(self) -> None:
        self._pictures: list[UInt8[np.ndarray, "S S 3"]] = []

    def add(self, _: float, picture: UInt8[np.ndarray, "S S 3"]) -> None:
        """Add a picture, as `video.examine` shows it."""
        self._pictures.append(picture)

    def frequencies(self) -> Float32[np.ndarray, "N F"]:
        """Return the low frequencies of the pictures, without those of empty ones."""
        pictures = np.array(self._pictures, np.float32).reshape(-1, *_SHAPE).mean(3)
        pictures = pictures[pictures.std((1, 2)) >= _EMPTY]
        transformed: np.ndarray = dctn(pictures, axes=(1, 2), norm="ortho")
        return transformed[:, :_FREQUENCIES, :_FREQUENCIES].reshape(-1, _FREQUENCIES**2)[:, 1:]


@dataclass(frozen=True)
class NearDuplicate:
    """Two clips with the same pictures.

    Attributes:
        first: index of a clip.
        second: index of the other one.
        similarity: cosine similarity of their frames, 1 for equal ones.
        motion: correlation of what moves in them, at most 1; small for different moments of a
            scene.
        mirrored: whether one is the mirror image of the other.
    """

    first: int
    second: int
    similarity: float
    motion: float
    mirrored: bool


def find_near_duplicates(
    clips: Sequence[Float32[np.ndarray, "N F"]], groups: Sequence[object] | None = None
) -> list[NearDuplicate]:
    """Find pairs of clips in which most frames of one clip are also in the other.

    Args:
        clips: `Fingerprint.frequencies` of every clip.
        groups: group of every clip; pairs of one group are left out. By default no pair is.
    """
    groups = range(len(clips)) if groups is None else groups
    filled = [index for index, frequencies in enumerate(clips) if len(frequencies)]
    if len(filled) < 2:
        return []
    normalized = [_normalize(clips[index]) for index in filled]
    best: dict[tuple[int, int], tuple[float, bool]] = {}
    for row, column, similarity, mirrored in _similar(normalized):
        pair = filled[min(row, column)], filled[max(row, column)]
        if groups[pair[0]] != groups[pair[1]]:
            best[pair] = max(best.get(pair, (0.0, False)), (similarity, mirrored))
    return [
        NearDuplicate(
            first, second, similarity, _motion(clips[first], clips[second], mirrored), mirrored
        )
        for (first, second), (similarity, mirrored) in sorted(best.items())
    ]


def _normalize(frequencies: Float32[np.ndarray, "N F"]) -> Float32[np.ndarray, "N F"]:
    """Weight frequencies as their size falls in natural pictures, and scale rows to length 1."""
    weighted = frequencies * _weights()
    normalized: np.ndarray = weighted / np.linalg.norm(weighted, axis=1, keepdims=True).clip(1e-6)
    return normalized


def _weights() -> Float32[np.ndarray, " F"]:
    index = np.arange(_FREQUENCIES, dtype=np.float32)
    weights: np.ndarray = np.sqrt(np.hypot(index[:, None], index)).ravel()[1:]
    return weights


def _mirror(frequencies: Float32[np.ndarray, "N F"]) -> Float32[np.ndarray, "N F"]:
    """Return the frequencies of the mirror image: odd horizontal ones change their sign."""
    signs = np.tile(np.where(np.arange(_FREQUENCIES) % 2, -1, 1), _FREQUENCIES)[1:]
    return frequencies * signs.astype(np.float32)


def _similar(
    clips: Sequence[Float32[np.ndarray, "N F"]],
) -> Iterator[tuple[int, int, float, bool]]:
    """Yield row, column, similarity of two clips, and whether one is mirrored."""
    frames = np.concatenate(clips)
    starts = np.cumsum([0, *map(len, clips[:-1])])
    spread = [np.linspace(0, len(clip) - 1, _QUERIES).round().astype(int) for clip in clips]
    per_step = max(1, _ROWS // _QUERIES)
    with progress.bar("comparing clips", len(clips), transient=True) as bar:
        for begin in range(0, len(clips), per_step):
            rows = range(begin, min(begin + per_step, len(clips)))
            queries = np.concatenate([clips[row][spread[row]] for row in rows])
            for mirrored in (False, True):
                products = (_mirror(queries) if mirrored else queries) @ frames.T
                closest = np.maximum.reduceat(products, starts, axis=1)
                by_clip = closest.reshape(len(rows), _QUERIES, len(clips))
                similarity = np.sort(by_clip, axis=1)[:, _QUERIES - _NEEDED]
                for index, column in np.argwhere(similarity >= SAME_PICTURE):
                    if (row := rows[index]) != column:
                        yield row, int(column), float(similarity[index, column]), mirrored
            bar.advance(len(rows))


def _motion(
    first: Float32[np.ndarray, "N F"], second: Float32[np.ndarray, "M F"], mirrored: bool
) -> float:
    """Return the correlation of the deviations from the mean picture at the best time offset."""
    one, other = (
        (frequencies - frequencies.mean(0)) * _weights()
        for frequencies in (first, _mirror(second) if mirrored else second)
    )
    length = len(one) + len(other) - 1
    spectrum = rfft(one, length, axis=0) * rfft(other, length, axis=0).conj()
    offsets = np.arange(1 - len(other), len(one))
    products = irfft(spectrum.sum(1), length)[offsets % length]

    def energy(rows: np.ndarray, begin: np.ndarray, end: np.ndarray) -> np.ndarray:
        total: np.ndarray = np.cumsum([0.0, *np.square(rows).sum(1)])
        difference: np.ndarray = total[end] - total[begin]
        return difference

    begin, end = np.maximum(offsets, 0), np.minimum(len(one), offsets + len(other))
    energies = energy(one, begin, end) * energy(other, begin - offsets, end - offsets)
    # Every video has some noise; without any, there is no motion to compare.
    correlation = products / np.sqrt(np.maximum(energies, 1e-6))
    enough = end - begin >= max(2, min(len(one), len(other)) // 2)
    return float(correlation[enough].max(initial=0))
