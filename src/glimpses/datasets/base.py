"""Data classes of a data set: labelled clips and their split."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from glimpses.segments import Segment

#: Names of a class of clips that show none of the actions.
BACKGROUND_NAMES = ("background", "none", "no_action", "other")
#: Meaning of the unlabelled time of long recordings.
Unlabelled = Literal["background", "ignore"]


def is_background(name: str) -> bool:
    """Return whether a class is background by its name; case, spaces and hyphens do not count."""
    return name.strip().casefold().replace(" ", "_").replace("-", "_") in BACKGROUND_NAMES


#: With fewer recordings or clips of a class, its score is worth little for other clips.
MIN_RECORDINGS, MIN_CLIPS = 5, 15


@dataclass(frozen=True)
class Clip:
    """One labelled video file, or a labelled segment of a recording.

    Attributes:
        id: path relative to the data set's root with forward slashes, such as
            `"jump/v_jump_01_02.avi"`; unique in its data set. For a segment, its times in seconds
            follow (W3C media fragments): `"game.mp4#t=12.5,14"`.
        path: the file.
        labels: indices into the data set's classes; one for most sets, any number, even none, for
            a multi-label set.
        group: the source it was cut from (a recording, a camera, a synthetic scene). Clips of one
            group look alike for reasons other than their action, so a group never spans training,
            validation and test.
        annotation: file that annotates where the action is, if there is one.
        start: first time of a segment in seconds since the first frame of the file; None for a
            whole file.
        end: first time after it; None for the end of the file.
    """

    id: str
    path: Path
    labels: tuple[int, ...]
    group: str
    annotation: Path | None = None
    start: float | None = None
    end: float | None = None

    @property
    def recording(self) -> str:
        """Path of the file relative to the data set's root: the id without the times."""
        return self.id if self.start is None else self.id.rpartition("#t=")[0]


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
        segments: annotations of long recordings as they are in the tables, `file` being
            `Clip.recording`; empty for data sets of clips.
    """

    root: Path
    classes: tuple[str, ...]
    clips: tuple[Clip, ...]
    multi_label: bool = False
    splits: Mapping[str, Mapping[str, frozenset[str]]] = field(default_factory=dict)
    grouped: bool = True
    lists: tuple[Path, ...] = ()
    layout: str = "folder"
    segments: tuple[Segment, ...] = field(default=(), repr=False)

    @property
    def untrimmed(self) -> bool:
        """True if the clips are segments of long recordings."""
        return self.layout == "segments"

    @property
    def has_videos(self) -> bool:
        """True unless the data set has imported features only."""
        return self.layout != "features"
