"""Frames in memory, sampled and resized like those of a file."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from av.video.frame import VideoFrame
from jaxtyping import UInt8

from glimpses.utils.errors import GlimpsesError
from glimpses.video.convert import DecodedFrame, RGBConverter
from glimpses.video.display import DISPLAY_TOLERANCE, frames_displayed_at
from glimpses.video.isolation import Frame
from glimpses.video.sampling import FrameRate


class ArrayResizer:
    """Resizer of RGB arrays to squares of `size` x `size` pixels, with the resampling of files."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._convert = RGBConverter((size, size))

    def __call__(self, pixels: UInt8[np.ndarray, "H W 3"]) -> UInt8[np.ndarray, "S S 3"]:
        """Return the resized frame; the frame itself if it has that size."""
        if pixels.shape[:2] == (self._size, self._size):
            return pixels
        frame = VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
        return self._convert(DecodedFrame(frame))


class ArrayReader:
    """Source of frames from an array; the counterpart of `FrameReader`.

    Sample k is the frame on display at k / fps seconds, resized by the resampling of files.

    Args:
        frames: RGB frames, uint8 (T, H, W, 3).
        source_fps: their frame rate.
        fps: samples per second, or "native" for every frame.
        size: side of the square samples in pixels.

    Attributes:
        problem: None.
        seconds: length of the video.
        frame_count: number of its frames.

    Raises:
        GlimpsesError: the array is of another shape or type, is empty, or its frame rate is not
            positive.
    """

    problem: str | None = None

    def __init__(
        self, frames: UInt8[np.ndarray, "T H W 3"], source_fps: float, *, fps: FrameRate, size: int
    ) -> None:
        shape: tuple[int, ...] = getattr(frames, "shape", ())
        if getattr(frames, "dtype", None) != np.uint8 or len(shape) != 4 or shape[3] != 3:
            kind = f"{getattr(frames, 'dtype', type(frames).__name__)} {shape}"
            raise GlimpsesError(f"frames must be an RGB array, uint8 (T, H, W, 3), not {kind}")
        if not frames.size:
            raise GlimpsesError(f"frames must have at least one pixel, not {shape}")
        if not 0 < source_fps < float("inf"):
            raise GlimpsesError(f"fps {source_fps}: give frames per second above 0")
        self.frame_count = len(frames)
        self.seconds = len(frames) / source_fps
        self._frames = frames
        self._times = np.arange(len(frames)) / source_fps
        self._fps = fps
        self._size = size

    def __iter__(self) -> Iterator[Frame]:
        resize = ArrayResizer(self._size)
        times, indices = self._times, np.arange(len(self._frames))
        if self._fps != "native":
            count = max(1, int(np.ceil((self.seconds - DISPLAY_TOLERANCE) * self._fps)))
            times = np.arange(count) / self._fps
            indices = frames_displayed_at(self._times, times)
        previous, pixels = -1, self._frames[0]
        for time, index in zip(times.tolist(), indices.tolist(), strict=True):
            if index != previous:
                previous, pixels = index, resize(self._frames[index])
            yield Frame(time, pixels, index)
