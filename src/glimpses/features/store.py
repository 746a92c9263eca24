"""Feature store: cubes on disk, written completely or not at all, and read block by block.

The cubes of a clip are filed under the SHA-256 of the video, in a folder named after everything
else they depend on: backbone and stage, weights, frame rate, input size and resampling. They are
float16 safetensors files of at most `FRAMES_PER_PART` frames. A block can therefore be read without
the whole clip, memory does not grow with the length of a clip, and an interrupted extraction loses
at most one part. A small JSON file, written last, marks the clip as complete.
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

#: Frames in one file of the store; with 49 x 1280 float16 values each, 64 MB.
FRAMES_PER_PART = 512
# Age in seconds at which a temporary file counts as left over from a killed process.
_STALE_AFTER = 3600


@dataclass(frozen=True)
class ClipFeatures:
    """Stored feature cubes of one clip, read block by block.

    Attributes:
        digest: SHA-256 of the video file.
        times: presentation time of every sampled frame in seconds after the first, (N,).
        problem: why the file has fewer frames than its header states; None if it has all.
    """

    digest: str
    times: Float64[np.ndarray, " N"]
    problem: str | None
    _parts: tuple[Path, ...] = field(repr=False)

    def __len__(self) -> int:
        """Return the number of sampled frames, N."""
        return len(self.times)

    @cached_property
    def shape(self) -> tuple[int, int]:
        """Places and channels of a cube, (P, D).

        Raises:
            GlimpsesError: a file of the feature store is missing or damaged.
        """
        with _report_damage(self._parts[0]) as part:
            _, (_, places, channels) = _read_layout(part)
            return places, channels

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
            GlimpsesError: a file of the feature store is missing or damaged.
        """
        done = 0
        while done < len(out):
            index, row = divmod(start + done, FRAMES_PER_PART)
            rows = out[done : done + FRAMES_PER_PART - row]
            with _report_damage(self._parts[index]) as path:
                offset, shape = _read_layout(path)
                if shape[1:] != rows.shape[1:] or shape[0] < row + len(rows):
                    raise ValueError(f"cubes have the shape {shape}")
                # Mapping the file for each block costs more than reading, and would delay the
                # thread that computes meanwhile.
                with path.open("rb", buffering=0) as file:
                    file.seek(offset + row * rows[0].nbytes)
                    if file.readinto(rows.view(np.uint8)) != rows.nbytes:  # type: ignore[arg-type]
                        raise ValueError("is shorter than its header states")
            done += len(rows)


@contextmanager
def _report_damage(part: Path) -> Iterator[Path]:
    try:
        yield part
    except (OSError, ValueError, KeyError, TypeError, safetensors.SafetensorError) as error:
        raise GlimpsesError(
            f"{part}: a damaged file in the feature store ({describe_error(error)}); delete it and "
            "run the command again"
        ) from error


@lru_cache(maxsize=1 << 16)
def _read_layout(part: Path) -> tuple[int, tuple[int, ...]]:
    """Return the byte offset of a part's cubes and their shape; parts never change."""
    # The library validates the file once.
    with safetensors.safe_open(part, framework="np") as file:
        shape = tuple(file.get_slice("cubes").get_shape())
    with part.open("rb") as raw:
        header_size = int.from_bytes(raw.read(8), "little")
        header = json.loads(raw.read(header_size))["cubes"]
    if header["dtype"] != "F16":
        raise ValueError(f"cubes are {header['dtype']}, not half precision")
    return 8 + header_size + int(header["data_offsets"][0]), shape


class CubeStore:
    """Folder of the cubes of many clips, all made by one backbone with one set of options.

    Clips are identified by a digest of their content. The folder need not exist yet.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def has(self, digest: str) -> bool:
        """Return whether the cubes of a clip are stored completely."""
        try:
            index = json.loads(self._index_path(digest).read_text())
            parts = self._part_paths(digest, len(index["times"]))
            return bool([part.stat().st_size for part in parts] == index["sizes"])
        except (OSError, ValueError, KeyError, TypeError):
            return False

    def open(self, digest: str) -> ClipFeatures:
        """Return the features of a clip for which `has` returned True."""
        index = json.loads(self._index_path(digest).read_text())
        times = np.array(index["times"], dtype=np.float64)
        return ClipFeatures(digest, times, index["problem"], self._part_paths(digest, len(times)))

    def frames_done(self, digest: str) -> int:
        """Return how many frames of a clip are in complete parts; delete a damaged part."""
        done = 0
        while (part := self._part_path(digest, done // FRAMES_PER_PART)).exists():
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
        """Store the cubes of the frames from `index * FRAMES_PER_PART` on, atomically."""
        with atomic_write(self._part_path(digest, index)) as part:
            # `save_file` would put another file in place of the locked one.
            part.write_bytes(safetensors.numpy.save({"cubes": np.ascontiguousarray(cubes)}))

    def finish(self, digest: str, times: Sequence[float], problem: str | None) -> None:
        """Mark a clip's features as complete."""
        sizes = [part.stat().st_size for part in self._part_paths(digest, len(times))]
        index = {"times": [round(time, 6) for time in times], "problem": problem, "sizes": sizes}
        with atomic_write(self._index_path(digest)) as file:
            file.write_text(json.dumps(index))

    def sweep(self) -> None:
        """Remove temporary files of processes that were killed."""
        for part in self.folder.rglob(".part-*"):
            if time.time() - part.stat().st_mtime > _STALE_AFTER:
                part.unlink(missing_ok=True)

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
        self.frame_bytes = backbone.grid**2 * backbone.channels * 2
        rate = fps if fps == "native" else f"{float(fps):g}fps"
        name = f"{backbone.name}-{backbone.weights}-{rate}-{backbone.size}px-{video.RESIZER}"
        if skip_static:
            name += f"-skip{float(skip_static):g}"
        super().__init__(Path(root) / re.sub(r"[^\w.,@+-]+", "_", name))
