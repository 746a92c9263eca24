"""Actor annotation by pixel masks, as the synthetic clips have it."""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Float64, UInt8

from glimpses import video
from glimpses.datasets.annotations.grid_overlap import mask_occupancy
from glimpses.datasets.base import Clip
from glimpses.utils.errors import GlimpsesError
from glimpses.utils.files import MAX_BYTES, atomic_write, check_regular
from glimpses.video import frames_displayed_at, is_displaying


@dataclass(frozen=True)
class FigureMasks:
    """Masks and boxes of every figure of a synthetic clip.

    The first figure is the actor, whose action is the clip's class.

    Attributes:
        times: of the frames in seconds.
        figures: visible pixels of each figure.
        figure_boxes: left, top, right, bottom of each figure in pixels, right and bottom excluded;
            zeros where the figure is not visible.
        provenance: how the clip was generated: action, seed, settings and generator version.
    """

    times: Float64[np.ndarray, " T"]
    figures: Bool[np.ndarray, "F T H W"]
    figure_boxes: Float32[np.ndarray, "F T 4"]
    provenance: Mapping[str, Any]

    @property
    def masks(self) -> Bool[np.ndarray, "T H W"]:
        """Visible pixels of the actor."""
        return np.asarray(self.figures[0])

    @property
    def boxes(self) -> Float32[np.ndarray, "T 4"]:
        """Box of the actor."""
        return np.asarray(self.figure_boxes[0])

    def cell_occupancy(self, grid: int) -> Float64[np.ndarray, "T K K"]:
        """Return the fraction of every cell of a K x K grid that the actor covers, 0 to 1."""
        return mask_occupancy(self.masks, grid)


@dataclass(frozen=True)
class MaskAnnotation:
    """Annotation by the actor's visible pixels.

    Attributes:
        edges: seconds at which each frame appears and, last, at which the last one ends.
        packed: the actor's mask in each frame, eight columns to a byte.
        width: of the frames in pixels.
    """

    edges: Float64[np.ndarray, " T+1"]
    packed: UInt8[np.ndarray, "T H W/8"]
    width: int

    def occupancy(
        self, times: Float64[np.ndarray, " N"], grid: int
    ) -> Float64[np.ndarray, "N K K"]:
        """See `ActorAnnotation.occupancy`."""
        occupancy = np.zeros((len(times), grid, grid))
        annotated, frames = self.annotated(times), frames_displayed_at(self.edges, times)
        needed, places = np.unique(frames[annotated], return_inverse=True)
        masks = np.unpackbits(self.packed[needed], axis=-1, count=self.width).astype(bool)
        occupancy[annotated] = mask_occupancy(masks, grid)[places]
        return occupancy

    def annotated(self, times: Float64[np.ndarray, " N"]) -> Bool[np.ndarray, " N"]:
        """See `ActorAnnotation.annotated`."""
        return is_displaying(self.edges, times)


def read_masks(file: Path, clip: Clip) -> MaskAnnotation:
    """Read the actor's masks of a clip.

    If the video has as many frames as there are masks, each mask belongs to one of them in order:
    containers have gaps, so a frame's time cannot be computed from its number. Otherwise the times
    in the file count.
    """
    figures = load_masks(file)
    edges = video.frame_edges(clip.path) if clip.path.exists() else None
    if edges is None or len(edges) != len(figures.times) + 1:
        # The last frame is shown for as long as the ones before it, on average.
        period = np.diff(figures.times).mean() if len(figures.times) > 1 else np.inf
        edges = np.append(figures.times, figures.times[-1:] + period)
    return MaskAnnotation(edges, np.packbits(figures.masks, axis=-1), figures.masks.shape[-1])


def save_masks(path: Path, masks: FigureMasks) -> None:
    """Write the masks of a clip; equal masks give equal bytes."""
    with atomic_write(path) as part:
        np.savez_compressed(
            part,
            times=masks.times,
            masks=np.packbits(masks.figures, axis=-1),
            boxes=masks.figure_boxes,
            shape=np.array(masks.figures.shape),
            made=np.array(json.dumps(masks.provenance, sort_keys=True)),
        )


def load_masks(path: str | Path) -> FigureMasks:
    """Read the masks of a clip.

    Raises:
        GlimpsesError: the file does not exist or is not an annotation.
    """
    try:
        check_regular(Path(path), MAX_BYTES)
        with np.load(path, allow_pickle=False) as file:
            figures = np.unpackbits(file["masks"], axis=-1, count=int(file["shape"][-1]))
            provenance = json.loads(str(file["made"]))
            return FigureMasks(file["times"], figures.astype(bool), file["boxes"], provenance)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise GlimpsesError(
            f"{path}: cannot be read as an annotation ({error}); generate the clips again"
        ) from error


def mask_boxes(masks: Bool[np.ndarray, "F T H W"]) -> Float32[np.ndarray, "F T 4"]:
    """Return the tightest box around each mask; zeros for an empty mask."""
    rows, columns = np.asarray(masks.any(-1)), np.asarray(masks.any(-2))
    top, left = rows.argmax(-1), columns.argmax(-1)
    bottom = rows.shape[-1] - np.flip(rows, -1).argmax(-1)
    right = columns.shape[-1] - np.flip(columns, -1).argmax(-1)
    boxes = np.stack([left, top, right, bottom], -1)
    return np.where(rows.any(-1, keepdims=True), boxes, 0).astype(np.float32)
