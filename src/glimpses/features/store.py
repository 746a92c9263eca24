"""The store of feature cubes: what is written is whole, and read block by block.

A clip's cubes lie under the SHA-256 of the video file, in a folder that stands for everything else
they depend on (backbone and stage, weights, frame rate, input size, resampling). They are
safetensors files of at most `PART` frames, float16, so that a block can be read without reading
the clip, memory stays flat however long a clip is, and an interrupted extraction loses at most the
part it was at. A small JSON file, written last, says that the clip is whole.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import safetensors
import safetensors.numpy
from jaxtyping import Float16, Float64

from glimpses import video
from glimpses.backbones import Backbone
from glimpses.errors import GlimpsesError
from glimpses.files import replacing
from glimpses.video import FrameRate

if TYPE_CHECKING:
    from torch import Tensor

#: Frames in one file of the store; 49 x 1280 half-precision numbers each make 64 MB.
PART = 512
# A temporary file untouched for this long, in seconds, was left by a process that was killed.
_ABANDONED = 3600


@dataclass(frozen=True)
class ClipFeatures:
    """The stored feature cubes of one clip, read block by block.

    Attributes:
        digest: SHA-256 of the video file.
        times: presentation time of every sampled frame in seconds after the first, (N,).
        problem: what was wrong with the file, if it gave fewer frames than it promised.
    """

    digest: str
    times: Float64[np.ndarray, " N"]
    problem: str | None
    _parts: tuple[Path, ...] = field(repr=False)

    def __len__(self) -> int:
        """How many frames were sampled, N."""
        return len(self.times)

    def block(self, start: int, length: int) -> Float16[Tensor, "T P D"]:
        """Read `length` consecutive cubes from frame `start`, fewer where the clip ends.

        Raises:
            GlimpsesError: a file of the store is gone or damaged.
        """
        stop = min(start + length, len(self))
        pieces: list[Tensor] = []
        for index in range(start // PART, (stop - 1) // PART + 1):
            begin = index * PART
            part = self._parts[index]
            try:
                with safetensors.safe_open(part, framework="pt") as file:
                    rows = file.get_slice("cubes")
                    pieces.append(rows[max(start - begin, 0) : stop - begin])
            except (OSError, safetensors.SafetensorError) as error:
                raise GlimpsesError(
                    f"{part}: a damaged file in the feature store ({error}); delete it and run "
                    "the command again"
                ) from error
        if len(pieces) == 1:
            return pieces[0]
        # Whoever only fills a store need not wait for it.
        import torch

        return torch.cat(pieces)


class CubeStore:
    """A folder of cubes that were all made alike, by the digest of the clip.

    Args:
        folder: where they lie; need not exist yet.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def has(self, digest: str) -> bool:
        """Whether the cubes of a video are there, all of them and whole."""
        try:
            index = json.loads(self._index(digest).read_text())
            sizes = [part.stat().st_size for part in self._parts(digest, len(index["times"]))]
            return bool(sizes == index["sizes"])
        except (OSError, ValueError, KeyError, TypeError):
            return False

    def open(self, digest: str) -> ClipFeatures:
        """Features of a video that `has` says are there."""
        index = json.loads(self._index(digest).read_text())
        times = np.array(index["times"], dtype=np.float64)
        return ClipFeatures(digest, times, index["problem"], self._parts(digest, len(times)))

    def frames_done(self, digest: str) -> int:
        """How many frames of a video lie in whole parts already; a damaged part is removed."""
        done = 0
        while (part := self._part(digest, done // PART)).exists():
            try:
                with safetensors.safe_open(part, framework="pt") as file:
                    rows = file.get_slice("cubes").get_shape()[0]
            except (OSError, safetensors.SafetensorError):
                part.unlink()
                break
            if rows < PART:
                break
            done += PART
        return done

    def write_part(self, digest: str, index: int, cubes: Float16[np.ndarray, "N P D"]) -> None:
        """Store the cubes of frames `index * PART` and on, at once or not at all."""
        with replacing(self._part(digest, index)) as part:
            try:
                safetensors.numpy.save_file({"cubes": np.ascontiguousarray(cubes)}, part)
            except safetensors.SafetensorError as error:
                # That is how it says that the disk is full.
                raise OSError(str(error)) from error

    def finish(self, digest: str, times: Sequence[float], problem: str | None) -> None:
        """Declare a video's features complete."""
        parts = self._parts(digest, len(times))
        index = {
            "times": [round(time, 6) for time in times],
            "problem": problem,
            "sizes": [part.stat().st_size for part in parts],
        }
        with replacing(self._index(digest)) as file:
            file.write_text(json.dumps(index))

    def sweep(self) -> None:
        """Remove what killed processes left half-written."""
        for part in self.folder.rglob(".part-*"):
            if time.time() - part.stat().st_mtime > _ABANDONED:
                part.unlink(missing_ok=True)

    def _index(self, digest: str) -> Path:
        return self.folder / digest[:2] / f"{digest}.json"

    def _part(self, digest: str, index: int) -> Path:
        return self.folder / digest[:2] / f"{digest}-{index:05}.safetensors"

    def _parts(self, digest: str, frames: int) -> tuple[Path, ...]:
        return tuple(self._part(digest, index) for index in range(-(-frames // PART)))


class FeatureStore(CubeStore):
    """Where the cubes of one backbone, made in one way, lie by the digest of the video.

    Args:
        root: folder of all stores.
        backbone: what computes the cubes.
        fps: how frames are sampled.
        reuse: below which difference frames share a cube.
    """

    def __init__(self, root: Path, backbone: Backbone, fps: FrameRate, reuse: float = 0.0) -> None:
        self.fps = fps
        self.reuse = reuse
        self.frame_bytes = backbone.grid**2 * backbone.channels * 2
        rate = fps if fps == "native" else f"{float(fps):g}fps"
        name = f"{backbone.name}-{backbone.weights}-{rate}-{backbone.size}px-{video.RESIZER}"
        if reuse:
            name += f"-reuse{float(reuse):g}"
        super().__init__(root / re.sub(r"[^\w.,@+-]+", "_", name))
