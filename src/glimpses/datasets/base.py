"""What a data set is: labelled clips, their sources, and which of them train, validate and test."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Clip:
    """One video file and what is known of it.

    Attributes:
        id: its path below the data set's root with forward slashes, `"jump/v_jump_01_02.avi"`;
            unique in its data set.
        path: the file.
        labels: indices into the data set's classes; one for most sets, any number, even none,
            where a clip may show several actions.
        group: the source it was cut from (a recording, a camera, a draw of scenery). Clips of one
            group look alike for reasons other than their action, so a group never spans training,
            validation and test.
        annotation: a file with ground truth of where the action is, where there is one.
    """

    id: str
    path: Path
    labels: tuple[int, ...]
    group: str
    annotation: Path | None = None


@dataclass(frozen=True)
class Split:
    """Which clips train, which choose the model, and which are kept for the score.

    Attributes:
        train: clips to fit a model on.
        validation: clips to choose it by.
        test: clips to score it on.
        name: of the data set's own split, or "folds".
    """

    train: tuple[Clip, ...]
    validation: tuple[Clip, ...]
    test: tuple[Clip, ...]
    name: str = "folds"


@dataclass(frozen=True)
class ActionDataset:
    """Labelled clips of one source, however they lay on disk.

    Attributes:
        root: the folder that clip ids are relative to: the one it was read from, or one in it.
        classes: names of the actions, in the order of their indices.
        clips: every clip, sorted by id.
        multi_label: whether a clip may show several actions.
        splits: the distributor's own splits by name, the usual one first: clip ids of each side
            ("train", "test" and, where it is listed, "validation"); empty where there are none.
        grouped: whether groups come from the data (a list, or telling file names); if not, every
            clip counts as a source of its own.
        lists: the files that labels and splits were read from, where there are such.
        layout: how it lies on disk, a name in `glimpses.datasets.LAYOUTS`.
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
        """Whether clips are videos; a set of imported features has none."""
        return self.layout not in ("stored", "features")
