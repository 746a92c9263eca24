"""Step probabilities on disk, so that work on a long video survives an interruption."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import safetensors
import safetensors.numpy
from jaxtyping import Float16, Float64, Int64

from glimpses.utils.files import atomic_write, read_json

#: Steps in a part: 50 s of video at 10 frames per second, and at most some 100 kB.
STEPS_PER_PART = 512


class Steps(NamedTuple):
    """Consecutive steps of a video.

    Attributes:
        times: when the frame of each step appears, in seconds after the first one.
        frames: number of that frame in the video.
        probabilities: class probabilities.
        attention: location softmax, row-major; None for a model without attention.
    """

    times: Float64[np.ndarray, " N"]
    frames: Int64[np.ndarray, " N"]
    probabilities: Float64[np.ndarray, "N C"]
    attention: Float16[np.ndarray, "N P"] | None

    def rows(self, start: int, stop: int | None = None) -> Steps:
        """Return the steps from `start` up to, but not including, `stop`."""
        times, frames, probabilities, attention = (
            None if values is None else values[start:stop] for values in self
        )
        assert times is not None
        assert frames is not None
        assert probabilities is not None
        return Steps(times, frames, probabilities, attention)


class Ending(NamedTuple):
    """End of a video: number of steps, and the values of `FrameReader`."""

    steps: int
    seconds: float
    frame_count: int
    problem: str | None


class StepStore:
    """Folder of the step probabilities of one video, model and choice of blocks.

    Parts of `STEPS_PER_PART` steps are written atomically. A small JSON file, written last, marks
    the video as complete.

    Args:
        root: folder of all stores.
        key: everything that determines the probabilities.
    """

    def __init__(self, root: Path, *key: object) -> None:
        digest = hashlib.sha256(repr(key).encode("utf-8", "surrogateescape")).hexdigest()
        self._folder = root / digest[:32]

    def read(self) -> Iterator[Steps]:
        """Yield the complete parts that are stored, up to the first that is missing or damaged."""
        ending, done = self.ending(), 0
        for index in itertools.count():
            part = self._part(index)
            try:
                arrays = safetensors.numpy.load_file(part)
                steps = Steps(*(arrays.get(name) for name in Steps._fields))  # type: ignore[arg-type]
                if len({len(values) for values in arrays.values()}) != 1:
                    return
            except (OSError, ValueError, TypeError, safetensors.SafetensorError):
                return
            done += len(steps.times)
            # Only the last part of a complete video may be short.
            if len(steps.times) != STEPS_PER_PART and (ending is None or done != ending.steps):
                return
            yield steps

    def ending(self) -> Ending | None:
        """Return how the video ends, if all of its steps are stored."""
        try:
            values = read_json(self._folder / "end.json")
            return Ending(int(values[0]), float(values[1]), int(values[2]), values[3])
        except (OSError, ValueError, TypeError, IndexError, KeyError):
            return None

    def write(self, index: int, steps: Steps) -> None:
        """Store a part.

        Raises:
            GlimpsesError: the disk is full or the folder cannot be written to.
        """
        arrays = {
            name: np.ascontiguousarray(values)
            for name, values in steps._asdict().items()
            if values is not None
        }
        with atomic_write(self._part(index)) as part:
            try:
                safetensors.numpy.save_file(arrays, part)
            except safetensors.SafetensorError as error:
                raise OSError(str(error)) from error

    def finish(self, ending: Ending) -> None:
        """Mark the video as complete.

        Raises:
            GlimpsesError: the disk is full or the folder cannot be written to.
        """
        with atomic_write(self._folder / "end.json") as file:
            file.write_text(json.dumps(list(ending)))

    def _part(self, index: int) -> Path:
        return self._folder / f"{index:06}.safetensors"
