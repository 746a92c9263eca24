"""Description of a split in words, and the warning about too few clips."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from glimpses.datasets import ActionDataset, Clip, Split
from glimpses.datasets.base import MIN_CLIPS, MIN_RECORDINGS
from glimpses.evaluation import MIN_GROUPS, fraction_interval
from glimpses.utils.errors import pluralise

log = logging.getLogger(__name__)

#: Name of the split of a run that was trained on all clips.
ALL_CLIPS = "all"

_PURPOSES = {"train": "training", "validation": "validation", "test": "test"}


@dataclass(frozen=True)
class SubsetSize:
    """Number of clips of a subset and of the recordings that they come from."""

    clips: int
    recordings: int

    @classmethod
    def of(cls, clips: Sequence[Clip]) -> SubsetSize:
        """Count clips and recordings."""
        return cls(len(clips), len({clip.group for clip in clips}))


def subset_sizes(split: Split) -> dict[str, SubsetSize]:
    """Return the size of each subset by its name."""
    return {name: SubsetSize.of(getattr(split, name)) for name in _PURPOSES}


def describe_split(dataset: ActionDataset, split: Split) -> str:
    """Return one line on what a split is by, and on the clips and recordings of each subset."""
    sizes = [
        f"{_PURPOSES[name]} {pluralise(size.clips, 'clip')}"
        + (f" of {pluralise(size.recordings, 'recording')}" if dataset.grouped else "")
        for name, size in subset_sizes(split).items()
        if size.clips
    ]
    if split.name == ALL_CLIPS:
        kind = "all clips"
    elif split.name in dataset.splits:
        kind = f"the data set's own split {split.name}"
    else:
        kind = "split by recording" if dataset.grouped else "split by clip"
    line = f"{dataset.root}: {kind}: {'; '.join(sizes)}"
    if dataset.grouped:
        return line
    return f"{line}; recordings are unknown, so intervals treat each clip as a recording"


def warn_few(dataset: ActionDataset, tested: Sequence[Clip], advice: str) -> None:
    """Warn if a class has too few clips or recordings, with what that means for the scores.

    Args:
        dataset: the clips.
        tested: the clips that are scored.
        advice: remedy, beside adding clips.
    """
    few = []
    for label, name in enumerate(dataset.classes):
        size = SubsetSize.of([clip for clip in dataset.clips if label in clip.labels])
        if size.clips < MIN_CLIPS or size.recordings < MIN_RECORDINGS:
            of = f" of {pluralise(size.recordings, 'recording')}" if dataset.grouped else ""
            few.append(f"{name} has {pluralise(size.clips, 'clip')}{of}")
    if few:
        more = f" and {len(few) - 3} more classes likewise" if len(few) > 3 else ""
        log.warning(
            "%s: %s%s; advised are %d clips of %d recordings for every class. %s; add clips%s",
            dataset.root, ", ".join(few[:3]), more, MIN_CLIPS, MIN_RECORDINGS,
            _meaning(SubsetSize.of(tested).recordings), advice,
        )  # fmt: skip


def _meaning(recordings: int) -> str:
    """Return what a number of test recordings means for a score, in words."""
    if recordings < MIN_GROUPS:
        return (
            f"The test clips come from {pluralise(recordings, 'recording')}, too few "
            "for any conclusion about other clips, so there will be no interval"
        )
    value, names = 0.8, np.arange(recordings)
    low, high = fraction_interval(
        value, value * (1 - value) / recordings, np.full(recordings, 1 / recordings), names
    )
    return (
        f"With {recordings} test recordings, a score of {value:.0%} can mean anything from "
        f"{low:.0%} to {high:.0%} on other clips"
    )
