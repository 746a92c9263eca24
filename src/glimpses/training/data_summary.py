"""Summary of the clips that a model is trained on."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from glimpses.datasets import ActionDataset, Clip
from glimpses.features import Features
from glimpses.utils.errors import pluralise

# Change of the features of a place, relative to their size, that counts as a change. Noise and
# compression change a still picture by less.
_CHANGED = 0.25
# Clips, and frames of each, that the motion of the camera is estimated from.
_CLIPS, _FRAMES = 100, 8


@dataclass(frozen=True)
class DataSummary:
    """Size of a data set without its test clips.

    Attributes:
        classes: number of classes.
        clips: number of clips.
        recordings: number of recordings.
        clips_per_class: clips of the class with the fewest.
        recordings_per_class: recordings of the class with the fewest.
        grouped: whether the recordings are known; if not, every clip counts as one.
    """

    classes: int
    clips: int
    recordings: int
    clips_per_class: int
    recordings_per_class: int
    grouped: bool

    def __str__(self) -> str:
        recordings = f" of {pluralise(self.recordings, 'recording')}" if self.grouped else ""
        fewest = pluralise(self.clips_per_class, "clip")
        if self.grouped:
            fewest += f" of {pluralise(self.recordings_per_class, 'recording')}"
        return (
            f"outside the test subset: {pluralise(self.clips, 'clip')}{recordings}, "
            f"{self.classes} classes, at least {fewest} in each"
        )


@dataclass(frozen=True)
class Footage:
    """Length and motion of clips.

    Attributes:
        seconds: median length of a clip.
        frames: median number of sampled frames.
        changing: mean share of the places of a frame whose features change to the next one. All
            places change if the camera moves.
    """

    seconds: float
    frames: int
    changing: float

    def __str__(self) -> str:
        return (
            f"a clip is {self.seconds:.1f} s long ({pluralise(self.frames, 'frame')}; median); "
            f"{self.changing:.0%} of the places change from one frame to the next, as all do if "
            "the camera moves"
        )


def summarize(dataset: ActionDataset, clips: Sequence[Clip]) -> DataSummary:
    """Return the summary of some clips of a data set."""
    count = Counter(label for clip in clips for label in clip.labels)
    groups: defaultdict[int, set[str]] = defaultdict(set)
    for clip in clips:
        for label in clip.labels:
            groups[label].add(clip.group)
    labels = range(len(dataset.classes))
    return DataSummary(
        classes=len(dataset.classes), clips=len(clips),
        recordings=len({clip.group for clip in clips}),
        clips_per_class=min(count[label] for label in labels),
        recordings_per_class=min(len(groups[label]) for label in labels),
        grouped=dataset.grouped,
    )  # fmt: skip


def measure(features: Features, clips: Sequence[Clip]) -> Footage:
    """Return the length and the motion of some clips."""
    opened = [features.clips[clip.id] for clip in clips]
    changing = []
    for clip in opened[:: -(-len(opened) // _CLIPS)]:
        cubes = clip.block(0, _FRAMES).float()
        if len(cubes) > 1:
            change = (cubes[1:] - cubes[:-1]).norm(dim=-1)
            size = cubes[1:].norm(dim=-1).clamp(min=torch.finfo(torch.half).tiny)
            changing.append(float((change > _CHANGED * size).float().mean()))
    return Footage(
        seconds=float(np.median([_duration(clip.times) for clip in opened])),
        frames=int(np.median([len(clip) for clip in opened])),
        changing=float(np.mean(changing)) if changing else 0.0,
    )


def _duration(times: np.ndarray) -> float:
    """Return the length of a clip from the times of its frames."""
    if len(times) < 2:
        return 0.0
    return float(times[-1] - times[0] + np.median(np.diff(times)))
