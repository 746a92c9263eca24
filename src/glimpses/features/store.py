"""The store of feature cubes: what is written is whole, and read block by block.

A clip's cubes lie under the SHA-256 of the video file, in a folder that stands for everything else
they depend on (backbone and stage, weights, frame rate, input size, resampling). They are
safetensors files of at most `FRAMES_PER_PART` frames, float16, so that a block can be read
without reading the clip, memory stays flat however long a clip is, and an interrupted extraction
loses at most the part it was at. A small JSON file, written last, says that the clip is whole.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import safetensors
import safetensors.numpy
from jaxtyping import Float16, Float64

from glimpses import video
from glimpses.backbones import Backbone
from glimpses.utils.errors import GlimpsesError, describe_error
from glimpses.utils.files import atomic_write
from glimpses.video import FrameRate

if TYPE_CHECKING:
    from torch import Tensor

#: Frames in one file of the store; 49 x 1280 half-precision numbers each make 64 MB.
FRAMES_PER_PART = 512
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

    @cached_property
    def shape(self) -> tuple[int, int]:
        """Places and channels of a cube, (P, D).

        Raises:
            GlimpsesError: a file of the store is gone or damaged.
        """
        with _damage_told(self._parts[0]) as part:
            _, (_, places, channels) = _layout(part)
            return places, channels

    def block(self, start: int, length: int) -> Float16[Tensor, "T P D"]:
        """Read `length` consecutive cubes from frame `start`, fewer where the clip ends.

        Raises:
            GlimpsesError: a file of the store is gone or damaged.
        """
        # Whoever only fills a store need not wait for it.
        import torch

        cubes = torch.empty((min(length, len(self) - start), *self.shape), dtype=torch.half)
        self.read(start, cubes.numpy())
        return cubes

    def read(self, start: int, out: Float16[np.ndarray, "T P D"]) -> None:
        """Read as many cubes as `out` has, from frame `start`.

        Args:
            start: a frame; as many must follow.
            out: where they go; contiguous.

        Raises:
            GlimpsesError: a file of the store is gone or damaged.
        """
        done = 0
        while done < len(out):
            index, row = divmod(start + done, FRAMES_PER_PART)
            rows = out[done : done + FRAMES_PER_PART - row]
            with _damage_told(self._parts[index]) as path:
                begin, shape = _layout(path)
                if shape[1:] != rows.shape[1:] or shape[0] < row + len(rows):
                    raise ValueError(f"holds cubes of the shape {shape}")
                # Straight to its place: mapping the file for each block costs more than reading,
                # and would hold up whoever computes meanwhile.
                with path.open("rb", buffering=0) as file:
                    file.seek(begin + row * rows[0].nbytes)
                    if file.readinto(rows.view(np.uint8)) != rows.nbytes:  # type: ignore[arg-type]
                        raise ValueError("is shorter than it says")
            done += len(rows)


@contextmanager
def _damage_told(part: Path) -> Iterator[Path]:
    try:
        yield part
    except (OSError, ValueError, KeyError, TypeError, safetensors.SafetensorError) as error:
        raise GlimpsesError(
            f"{part}: a damaged file in the feature store ({describe_error(error)}); delete it and "
            "run the command again"
        ) from error


@lru_cache(maxsize=1 << 16)
def _layout(part: Path) -> tuple[int, tuple[int, ...]]:
    """Where in a file its cubes begin, and their shape; a file of the store never changes."""
    # All that its library checks, once.
    with safetensors.safe_open(part, framework="np") as file:
        shape = tuple(file.get_slice("cubes").get_shape())
    with part.open("rb") as raw:
        head = int.from_bytes(raw.read(8), "little")
        about = json.loads(raw.read(head))["cubes"]
    if about["dtype"] != "F16":
        raise ValueError(f"holds {about['dtype']}, no half precision")
    return 8 + head + int(about["data_offsets"][0]), shape


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
        while (part := self._part(digest, done // FRAMES_PER_PART)).exists():
            try:
                with safetensors.safe_open(part, framework="pt") as file:
                    rows = file.get_slice("cubes").get_shape()[0]
            except (OSError, safetensors.SafetensorError):
                part.unlink()
                break
            if rows < FRAMES_PER_PART:
                break
            done += FRAMES_PER_PART
        return done

    def write_part(self, digest: str, index: int, cubes: Float16[np.ndarray, "N P D"]) -> None:
        """Store the cubes of frames `index * FRAMES_PER_PART` and on, at once or not at all."""
        with atomic_write(self._part(digest, index)) as part:
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
        with atomic_write(self._index(digest)) as file:
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
        return tuple(self._part(digest, index) for index in range(-(-frames // FRAMES_PER_PART)))


class FeatureStore(CubeStore):
    """Where the cubes of one backbone, made in one way, lie by the digest of the video.

    Args:
        root: folder of all stores.
        backbone: what computes the cubes.
        fps: how frames are sampled.
        skip_static: below which difference frames share a cube.
    """

    def __init__(
        self, root: Path, backbone: Backbone, fps: FrameRate, skip_static: float = 0.0
    ) -> None:
        self.fps = fps
        self.skip_static = skip_static
        self.frame_bytes = backbone.grid**2 * backbone.channels * 2
        rate = fps if fps == "native" else f"{float(fps):g}fps"
        name = f"{backbone.name}-{backbone.weights}-{rate}-{backbone.size}px-{video.RESIZER}"
        if skip_static:
            name += f"-skip{float(skip_static):g}"
        super().__init__(root / re.sub(r"[^\w.,@+-]+", "_", name))
