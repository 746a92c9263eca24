"""Layout of a data set without videos: imported feature cubes and their labels.

features.json   classes, how the cubes were computed, and each clip's labels, group and subset
cubes/          the cubes, as in the feature store
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from glimpses.datasets.base import ActionDataset, Clip
from glimpses.utils.errors import GlimpsesError
from glimpses.utils.files import atomic_write, read_json

INDEX = "features.json"
CUBES = "cubes"
_FORMAT = 2
# Bytes of the index; a clip takes some hundreds.
_MAX_BYTES = 512_000_000


@dataclass(frozen=True)
class FeatureClip:
    """Clip with feature cubes only.

    Attributes:
        id: name of the video that the cubes were computed from.
        labels: indices into the classes.
        group: source it was cut from, as in `Clip.group`.
        frames: number of cubes, N.
        subset: "train", "validation" or "test"; None if there is no split.
        digest: name of its cubes, equal for equal cubes of one name.
    """

    id: str
    labels: tuple[int, ...]
    group: str
    frames: int
    subset: str | None
    digest: str


@dataclass(frozen=True)
class FeatureSet:
    """Content of `features.json`.

    Attributes:
        classes: names of the actions.
        multi_label: whether a clip may show several of them.
        grouped: whether the groups are known, as in `ActionDataset.grouped`.
        backbone: network that computed the cubes; begins with "authors:", because no backbone
            here computes them.
        weights: of that network; "unknown".
        fps: cubes per second.
        size: side of the frames they were computed from, in pixels.
        grid: K; cubes have K*K places.
        channels: D.
        clips: sorted by id.
    """

    classes: tuple[str, ...]
    multi_label: bool
    grouped: bool
    backbone: str
    weights: str
    fps: float
    size: int
    grid: int
    channels: int
    clips: tuple[FeatureClip, ...]


def matches(root: Path) -> bool:
    """Return whether a folder contains `features.json`."""
    return (root / INDEX).is_file()


def load(root: Path) -> ActionDataset:
    """Read the data set as `read` does. Its clips have no files; their paths do not exist."""
    features = read(root)
    subsets = {
        subset: ids
        for subset in ("train", "validation", "test")
        if (ids := frozenset(clip.id for clip in features.clips if clip.subset == subset))
    }
    return ActionDataset(
        root,
        features.classes,
        tuple(Clip(clip.id, root / clip.id, clip.labels, clip.group) for clip in features.clips),
        features.multi_label,
        splits={"listed": subsets} if subsets else {},
        grouped=features.grouped,
        layout="features",
    )


def read(root: Path) -> FeatureSet:
    """Read `features.json` of a folder.

    Raises:
        GlimpsesError: the file is damaged or has another format.
    """
    try:
        content: dict[str, Any] = read_json(root / INDEX, _MAX_BYTES)
        if (version := content.pop("format")) != _FORMAT:
            raise GlimpsesError(
                f"{root / INDEX}: has format {version}, this version of Glimpses reads {_FORMAT};"
                " import the features again"
            )
        content["classes"] = tuple(content["classes"])
        content["clips"] = tuple(
            FeatureClip(**{**clip, "labels": tuple(clip["labels"])}) for clip in content["clips"]
        )
        return FeatureSet(**content)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise GlimpsesError(
            f"{root / INDEX}: is damaged ({error}); import the features again"
        ) from error


def write(root: Path, features: FeatureSet) -> None:
    """Write `features.json`, which makes the folder a data set."""
    with atomic_write(root / INDEX) as file:
        file.write_text(json.dumps({"format": _FORMAT, **asdict(features)}, indent=1) + "\n")
