"""Feature store: cubes on disk, written completely or not at all, and read block by block.

The cubes of a clip are filed under the SHA-256 of the video, in a folder named after everything
else they depend on: backbone and stage, weights, frame rate, input size and resampling. They are
float16 safetensors files of at most `FRAMES_PER_PART` frames. A block can therefore be read without
the whole clip, memory does not grow with the length of a clip, and an interrupted extraction loses
at most one part. A small JSON file, the index, is written last and marks the clip as complete.

Every file has a checksum, and the index has those of the parts. A part is verified when a process
first reads from it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Float16, Float64

from glimpses import video
from glimpses.backbones import Backbone
from glimpses.features import part as part_file
from glimpses.features.part import DAMAGE, DamagedFeaturesError
from glimpses.utils.files import atomic_write, read_json
from glimpses.video import FrameRate

if TYPE_CHECKING:
    from torch import Tensor

#: Frames in one file of the store; with 49 x 1280 float16 values each, 64 MB.
FRAMES_PER_PART = 512

#: File in the folder of a store with the settings of its features.
SETTINGS = "settings.json"


class _Part(NamedTuple):
    path: Path
    checksum: str


@dataclass(frozen=True)
class ClipFeatures:
    """Stored feature cubes of one clip, read block by block.

    Attributes:
        digest: SHA-256 of the video file.
        times: presentation time of every sampled frame in seconds after the first, (N,).
        problem: why the file has fewer frames than its header states; None if it has all.
        shape: places and channels of a cube, (P, D).
        remedy: what to do about a damaged file, the end of the error message.
    """

    digest: str
    times: Float64[np.ndarray, " N"]
    problem: str | None
    shape: tuple[int, int]
    remedy: str = field(repr=False)
    _parts: tuple[_Part, ...] = field(repr=False)

    def __len__(self) -> int:
        """Return the number of sampled frames, N."""
        return len(self.times)

    def block(self, start: int, length: int) -> Float16[Tensor, "T P D"]:
        """Read `length` consecutive cubes from frame `start`, or fewer if the clip ends before.

        Raises:
            GlimpsesError: a file of the feature store is missing or damaged.
        """
        # Extraction alone does not need PyTorch.
        import torch

        cubes = torch.empty((min(length, len(self) - start), *self.shape), dtype=torch.half)
        self.read_into(start, cubes.numpy())
        return cubes

    def read_into(self, start: int, out: Float16[np.ndarray, "T P D"]) -> None:
        """Fill `out` with consecutive cubes from frame `start`.

        The clip must have T frames from `start`, and `out` must be contiguous.

        Raises:
            DamagedFeaturesError: a file of the feature store is missing or damaged.
        """
        done = 0
        while done < len(out):
            index, row = divmod(start + done, FRAMES_PER_PART)
            rows = out[done : done + FRAMES_PER_PART - row]
            path, checksum = self._parts[index]
            try:
                offset = _verified_offset(path, checksum, self._part_shape(index))
                # Mapping the file for each block costs more than reading, and would delay the
                # thread that computes meanwhile.
                with path.open("rb", buffering=0) as file:
                    file.seek(offset + row * rows[0].nbytes)
                    if file.readinto(rows.view(np.uint8)) != rows.nbytes:  # type: ignore[arg-type]
                        raise ValueError("it is shorter than its header states")
            except DAMAGE as error:
                raise DamagedFeaturesError(path, error, self.remedy) from error
            done += len(rows)

    def damage(self) -> Iterator[DamagedFeaturesError]:
        """Read all cubes again, and yield an error for each damaged file."""
        for index, (path, checksum) in enumerate(self._parts):
            try:
                _verify(path, checksum, self._part_shape(index))
            except DAMAGE as error:
                yield DamagedFeaturesError(path, error, self.remedy)

    def _part_shape(self, index: int) -> tuple[int, int, int]:
        return (min(FRAMES_PER_PART, len(self) - index * FRAMES_PER_PART), *self.shape)


def _verify(path: Path, checksum: str, shape: tuple[int, int, int]) -> int:
    """Verify a part against the index, and return the byte offset of its cubes."""
    header = part_file.verify(path)
    if header.shape != shape:
        raise ValueError(f"it has cubes of the shape {header.shape} instead of {shape}")
    if header.checksum != checksum:
        raise ValueError("it is another file than its index describes")
    return header.offset


# Once a process for each version of a part.
_verified_offset = lru_cache(maxsize=1 << 16)(_verify)


class CubeStore:
    """Folder of the cubes of many clips, all made by one backbone with one set of options.

    Clips are identified by a digest of their content. The folder need not exist yet.

    Args:
        folder: the folder.
        remedy: what to do about a damaged file, the end of the error message.
    """

    def __init__(
        self, folder: str | Path, remedy: str = "run glimpses check --features --repair"
    ) -> None:
        self.folder = Path(folder)
        self.remedy = remedy

    def find(self, digest: str) -> ClipFeatures | None:
        """Return the features of a clip, or None if they are not stored completely.

        The index is verified, and the size of every part. The content of a part is verified when
        it is read.

        Raises:
            DamagedFeaturesError: a file of the clip is missing or damaged.
        """
        index_path = self._index_path(digest)
        if not index_path.exists():
            return None
        try:
            index = read_json(index_path)
            checksum = index.pop("checksum", None)
            if checksum is None:
                raise ValueError("it has no checksum, as files of earlier versions")
            if checksum != part_file.checksum_of(json.dumps(index).encode()):
                raise ValueError("its checksum is wrong")
            times = np.array(index["times"], dtype=np.float64)
            places, channels = index["shape"]
            paths = self._part_paths(digest, len(times))
            parts = tuple(map(_Part, paths, index["parts"]))
            if not len(times) or not (np.isfinite(times).all() and (np.diff(times) >= 0).all()):
                raise ValueError("its times are not those of a video")
            if not len(paths) == len(index["parts"]) == len(index["sizes"]):
                raise ValueError("its parts do not add up to its frames")
        except DAMAGE as error:
            raise DamagedFeaturesError(index_path, error, self.remedy) from error
        for path, size in zip(paths, index["sizes"], strict=True):
            try:
                if (actual := path.stat().st_size) != size:
                    raise ValueError(f"it has {actual} bytes instead of {size}")
            except DAMAGE as error:
                raise DamagedFeaturesError(path, error, self.remedy) from error
        shape = int(places), int(channels)
        return ClipFeatures(digest, times, index["problem"], shape, self.remedy, parts)

    def is_intact(self, digest: str) -> bool:
        """Return whether all cubes of a clip are stored, after reading all of them."""
        try:
            clip = self.find(digest)
        except DamagedFeaturesError:
            return False
        return clip is not None and not any(clip.damage())

    def digests(self) -> list[str]:
        """Return the digest of every clip that is stored completely, damaged ones included."""
        return sorted(file.stem for file in self.folder.glob("??/*.json"))

    def frames_done(self, digest: str) -> int:
        """Return how many frames of a clip are in complete parts; delete a damaged part."""
        done = 0
        while (path := self._part_path(digest, done // FRAMES_PER_PART)).exists():
            try:
                frames = part_file.verify(path).shape[0]
            except DAMAGE:
                path.unlink()
                break
            if frames < FRAMES_PER_PART:
                break
            done += FRAMES_PER_PART
        return done

    def write_part(self, digest: str, index: int, cubes: Float16[np.ndarray, "N P D"]) -> None:
        """Store the cubes of the frames from `index * FRAMES_PER_PART` on, atomically."""
        part_file.write(self._part_path(digest, index), cubes)

    def finish(self, digest: str, times: Sequence[float], problem: str | None) -> None:
        """Mark a clip's features as complete; this survives a power cut."""
        paths = self._part_paths(digest, len(times))
        headers = [part_file.read_header(path) for path in paths]
        index = {
            "times": [round(time, 6) for time in times],
            "problem": problem,
            "shape": headers[0].shape[1:],
            "parts": [header.checksum for header in headers],
            "sizes": [path.stat().st_size for path in paths],
        }
        checksum = part_file.checksum_of(json.dumps(index).encode())
        with atomic_write(self._index_path(digest)) as file:
            file.write_text(json.dumps({"checksum": checksum, **index}))

    def remove(self, digest: str) -> None:
        """Delete the features of a clip, the index first."""
        self._index_path(digest).unlink(missing_ok=True)
        for path in self.folder.glob(f"{digest[:2]}/{digest}-*.safetensors"):
            path.unlink(missing_ok=True)

    def _index_path(self, digest: str) -> Path:
        return self.folder / digest[:2] / f"{digest}.json"

    def _part_path(self, digest: str, index: int) -> Path:
        return self.folder / digest[:2] / f"{digest}-{index:05}.safetensors"

    def _part_paths(self, digest: str, frames: int) -> tuple[Path, ...]:
        parts = -(-frames // FRAMES_PER_PART)
        return tuple(self._part_path(digest, index) for index in range(parts))


class FeatureStore(CubeStore):
    """Cube store whose folder is named after everything the cubes depend on except the video.

    Args:
        root: folder of all stores.
        backbone: the network that computes the cubes.
        fps: frames per second, or "native".
        skip_static: difference below which frames share a cube.
    """

    def __init__(
        self, root: str | Path, backbone: Backbone, fps: FrameRate, skip_static: float = 0.0
    ) -> None:
        self.fps = fps
        self.skip_static = skip_static
        self._settings = {
            "backbone": backbone.name, "weights": backbone.weights, "fps": fps,
            "skip_static": skip_static,
        }  # fmt: skip
        self.frame_bytes = backbone.grid**2 * backbone.channels * 2
        rate = fps if fps == "native" else f"{float(fps):g}fps"
        name = f"{backbone.name}-{backbone.weights}-{rate}-{backbone.size}px-{video.RESIZER}"
        if skip_static:
            name += f"-skip{float(skip_static):g}"
        super().__init__(Path(root) / re.sub(r"[^\w.,@+-]+", "_", name))

    def write_settings(self) -> None:
        """Write what `glimpses check --features --repair` needs to compute features again."""
        path = self.folder / SETTINGS
        with suppress(OSError, ValueError):
            if read_json(path) == self._settings:
                return
        with atomic_write(path) as file:
            file.write_text(json.dumps(self._settings))
