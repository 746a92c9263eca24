"""Rendering of synthetic recordings, in which the actor performs several actions with pauses."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from glimpses import video
from glimpses.datasets.annotations.masks import FigureMasks, mask_boxes, save_masks
from glimpses.datasets.synthetic.clips import FPS, PRESETS, GroupJob, Scene, render
from glimpses.datasets.synthetic.motions import Motion
from glimpses.segments import Segment

#: Length of a recording in frames.
LENGTH = 240
# Range of the length of pauses and actions in frames.
_PAUSE, _ACTION = (10, 30), (20, 40)
# Frames in which the body moves from one posture to the next.
_BLEND = 3


class _Part(NamedTuple):
    """Part of a recording: its first frame, the first frame after it, and the action or None."""

    start: int
    stop: int
    action: str | None


def recording_id(group: int) -> str:
    """Return the path of a recording in the set."""
    return f"{group:03}.avi"


def segments_of(job: GroupJob) -> list[Segment]:
    """Return the segments of the actor's actions in a recording."""
    return [
        Segment.from_frames(recording_id(job.group), part.start, part.stop, part.action, fps=FPS)
        for part in _schedule(Scene.generator(job, "schedule"), job)
        if part.action is not None
    ]


def render_recording(job: GroupJob) -> int:
    """Render the recording of a group, unless it is there; return 1."""
    file = job.out / recording_id(job.group)
    # The annotation is written last.
    annotation = (job.out / "annotations" / file.name).with_suffix(".npz")
    if file.exists() and annotation.exists():
        return 1
    scene = Scene(job, LENGTH)
    frames, masks = render(scene, _motions(scene))
    video.write(file, frames, fps=FPS)
    provenance = {**job.provenance, "group": job.group}
    times = np.arange(LENGTH) / FPS
    save_masks(annotation, FigureMasks(times, masks, mask_boxes(masks), provenance))
    return 1


def _schedule(random: np.random.Generator, job: GroupJob) -> list[_Part]:
    """Return pauses and actions in turn; every action occurs before one occurs again."""
    parts: list[_Part] = []
    names: list[str] = []
    end = 0
    while True:
        if not names:
            names = [str(name) for name in random.permutation(sorted(job.actions))]
        pause, action = (int(random.integers(*span, endpoint=True)) for span in (_PAUSE, _ACTION))
        start = end + pause
        # The last pause lasts until the end.
        if start + action + _PAUSE[0] > LENGTH:
            return [*parts, _Part(end, LENGTH, None)]
        parts += [_Part(end, start, None), _Part(start, start + action, names.pop())]
        end = start + action


def _motions(scene: Scene) -> list[Motion]:
    """Return the motion of every figure, the actor first."""
    job = scene.job
    other = PRESETS[job.preset].bystander_action
    motions = [_follow(scene, 0, "schedule")]
    for number in range(1, len(scene.places)):
        if other == "actions":
            motions.append(_follow(scene, number, "schedule", number))
        else:
            times = np.arange(LENGTH) / FPS
            motions.append(scene.motion(other, number, times, "bystander", number))
    return motions


def _follow(scene: Scene, number: int, *names: object) -> Motion:
    """Return the motion of a figure that follows a schedule."""
    pieces: list[Motion] = []
    for index, part in enumerate(_schedule(scene.stream(*names), scene.job)):
        times = np.arange(part.stop - part.start) / FPS
        piece = scene.motion(part.action or "idle", number, times, "part", number, index)
        if pieces:
            weight = (np.arange(1, _BLEND + 1) / (_BLEND + 1))[:, None, None]
            piece[:_BLEND] = (1 - weight) * pieces[-1][-1] + weight * piece[:_BLEND]
        pieces.append(piece)
    return np.concatenate(pieces)
