"""A data set without videos: feature cubes that came from files, with what is known of each clip.

features.json   classes, how the cubes were made, and each clip with its labels, group and side
cubes/          the cubes, as in the feature store
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from glimpses.datasets.base import ActionDataset, Clip
from glimpses.utils.errors import GlimpsesError
from glimpses.utils.files import atomic_write

INDEX = "features.json"
CUBES = "cubes"
_FORMAT = 1


@dataclass(frozen=True)
class FeatureClip:
    """One clip of which only feature cubes are known.

    Attributes:
        id: name of the video they were made from.
        labels: indices into the classes.
        group: the source it was cut from, as `Clip.group`.
        frames: how many cubes there are, N.
        side: "train", "validation" or "test"; None where nothing is said.
        digest: name of its cubes; equal cubes of one name have equal digests.
    """

    id: str
    labels: tuple[int, ...]
    group: str
    frames: int
    side: str | None
    digest: str


@dataclass(frozen=True)
class FeatureSet:
    """What `features.json` says.

    Attributes:
        classes: names of the actions.
        multi_label: whether a clip may show several of them.
        grouped: whether the groups mean something, as `ActionDataset.grouped`.
        backbone: what made the cubes; begins with "authors:", for no network here makes them.
        weights: of it; "unknown".
        fps: cubes per second.
        size: side of the frames they were made from, pixels.
        grid: K, the cubes have K*K places.
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


def recognise(root: Path) -> bool:
    """Whether a folder is such a data set."""
    return (root / INDEX).is_file()


def load(root: Path) -> ActionDataset:
    """Read such a data set; its clips have no files, their paths lead nowhere.

    Raises:
        GlimpsesError: see `read`.
    """
    found = read(root)
    sides: dict[str, frozenset[str]] = {
        side: own
        for side in ("train", "validation", "test")
        if (own := frozenset(clip.id for clip in found.clips if clip.side == side))
    }
    return ActionDataset(
        root=root,
        classes=found.classes,
        clips=tuple(Clip(clip.id, root / clip.id, clip.labels, clip.group) for clip in found.clips),
        multi_label=found.multi_label,
        splits={"listed": sides} if sides else {},
        layout="stored",
        grouped=found.grouped,
    )


def read(root: Path) -> FeatureSet:
    """Read `features.json` of a folder.

    Raises:
        GlimpsesError: it is damaged or of another format.
    """
    try:
        known: dict[str, Any] = json.loads((root / INDEX).read_text(encoding="utf-8"))
        if (written := known.pop("format")) != _FORMAT:
            raise GlimpsesError(
                f"{root / INDEX}: is of format {written}, this version of Glimpses reads {_FORMAT};"
                " import the features again"
            )
        known["classes"] = tuple(known["classes"])
        known["clips"] = tuple(
            FeatureClip(**{**clip, "labels": tuple(clip["labels"])}) for clip in known["clips"]
        )
        return FeatureSet(**known)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise GlimpsesError(
            f"{root / INDEX}: is damaged ({error}); import the features again"
        ) from error


def write(root: Path, features: FeatureSet) -> None:
    """Write `features.json`; the folder is a data set from then on."""
    with atomic_write(root / INDEX) as file:
        file.write_text(json.dumps({"format": _FORMAT, **asdict(features)}, indent=1) + "\n")
