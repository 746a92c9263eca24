"""Data classes of a data set: labelled clips and their split."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

#: Names of a class of clips that show none of the actions.
BACKGROUND_NAMES = ("background", "none", "no_action", "other")


def is_background(name: str) -> bool:
    """Return whether a class is background by its name; case, spaces and hyphens do not count."""
    return name.strip().casefold().replace(" ", "_").replace("-", "_") in BACKGROUND_NAMES


#: With fewer recordings or clips of a class, its score is worth little for other clips.
MIN_RECORDINGS, MIN_CLIPS = 5, 15


@dataclass(frozen=True)
class Clip:
    """One labelled video file.

    Attributes:
        id: path relative to the data set's root with forward slashes, such as
            `"jump/v_jump_01_02.avi"`; unique in its data set.
        path: the file.
        labels: indices into the data set's classes; one for most sets, any number, even none, for
            a multi-label set.
        group: the source it was cut from (a recording, a camera, a synthetic scene). Clips of one
            group look alike for reasons other than their action, so a group never spans training,
            validation and test.
        annotation: file that annotates where the action is, if there is one.
    """

    id: str
    path: Path
    labels: tuple[int, ...]
    group: str
    annotation: Path | None = None


@dataclass(frozen=True)
class Split:
    """Partition of the clips into training, validation and test.

    Attributes:
        train: clips to fit a model on.
        validation: clips to select the model by.
        test: clips to score it on.
        name: of the data set's own split, or "folds".
    """

    train: tuple[Clip, ...]
    validation: tuple[Clip, ...]
    test: tuple[Clip, ...]
    name: str = "folds"

    @property
    def clips(self) -> tuple[Clip, ...]:
        """All clips, sorted by id."""
        clips = (*self.train, *self.validation, *self.test)
        return tuple(sorted(clips, key=lambda clip: clip.id))


@dataclass(frozen=True)
class ActionDataset:
    """Labelled clips of one data set, independent of its layout on disk.

    Attributes:
        root: folder that clip ids are relative to: the one it was read from, or one inside it.
        classes: names of the actions, in the order of their indices.
        clips: every clip, sorted by id.
        multi_label: whether a clip may show several actions.
        splits: the data set's own splits by name, the default one first: clip ids of each subset
            ("train", "test" and, if listed, "validation"); empty if there are none.
        grouped: whether groups come from the data (a list, or file names); if not, every clip is a
            group of its own.
        lists: files that labels and splits were read from, if any.
        layout: layout on disk, a name in `glimpses.datasets.LAYOUTS`.
    """

    root: Path
    classes: tuple[str, ...]
    clips: tuple[Clip, ...]
    multi_label: bool = False
    splits: Mapping[str, Mapping[str, frozenset[str]]] = field(default_factory=dict)
    grouped: bool = True
    lists: tuple[Path, ...] = ()
    layout: str = "folder"

    @property
    def has_videos(self) -> bool:
        """True unless the data set has imported features only."""
        return self.layout != "features"
