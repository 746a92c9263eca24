"""Ground truth of a generated clip: boxes and exact masks of every figure in every frame."""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Float64

from glimpses.datasets.annotations.grid_overlap import share_of_mask
from glimpses.utils.errors import GlimpsesError
from glimpses.utils.files import atomic_write


@dataclass(frozen=True)
class Annotation:
    """Where the figures of a clip are. The first is the actor, whose action is the clip's class.

    Attributes:
        times: of the frames in seconds.
        figures: visible pixels of each figure, 1 where it is in front.
        figure_boxes: left, top, right, bottom of each figure in pixels, right and bottom
            excluded; zeros where it is not visible.
        made: how the clip was made: action, seed, settings and version of the generator.
    """

    times: Float64[np.ndarray, " T"]
    figures: Bool[np.ndarray, "F T H W"]
    figure_boxes: Float32[np.ndarray, "F T 4"]
    made: Mapping[str, Any]

    @property
    def masks(self) -> Bool[np.ndarray, "T H W"]:
        """Visible pixels of the actor."""
        return np.asarray(self.figures[0])

    @property
    def boxes(self) -> Float32[np.ndarray, "T 4"]:
        """Box of the actor."""
        return np.asarray(self.figure_boxes[0])

    def cell_share(self, grid: int) -> Float64[np.ndarray, "T K K"]:
        """Share of every cell of a K x K grid that the actor fills, 0 to 1; row, then column."""
        return share_of_mask(self.masks, grid)


def save_annotation(path: Path, annotation: Annotation) -> None:
    """Write ground truth; equal truth gives equal bytes."""
    with atomic_write(path) as part:
        np.savez_compressed(
            part,
            times=annotation.times,
            masks=np.packbits(annotation.figures, axis=-1),
            boxes=annotation.figure_boxes,
            shape=np.array(annotation.figures.shape),
            made=np.array(json.dumps(annotation.made, sort_keys=True)),
        )


def load_annotation(path: Path) -> Annotation:
    """Read ground truth.

    Raises:
        GlimpsesError: the file is not there or is no annotation.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            return Annotation(
                times=file["times"],
                figures=np.unpackbits(file["masks"], axis=-1, count=int(file["shape"][-1])).astype(
                    bool
                ),
                figure_boxes=file["boxes"],
                made=json.loads(str(file["made"])),
            )
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise GlimpsesError(
            f"{path}: is no annotation that can be read ({error}); make the clip set again"
        ) from error


def boxes_of(masks: Bool[np.ndarray, "F T H W"]) -> Float32[np.ndarray, "F T 4"]:
    """The tightest box around each mask; zeros around nothing."""
    rows, columns = np.asarray(masks.any(-1)), np.asarray(masks.any(-2))
    seen = rows.any(-1)
    top, left = rows.argmax(-1), columns.argmax(-1)
    bottom = rows.shape[-1] - np.flip(rows, -1).argmax(-1)
    right = columns.shape[-1] - np.flip(columns, -1).argmax(-1)
    boxes = np.stack([left, top, right, bottom], -1)
    return np.where(np.expand_dims(seen, -1), boxes, 0).astype(np.float32)
