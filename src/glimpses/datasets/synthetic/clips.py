"""Rendering of one group of synthetic clips, which share everything but the action."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, UInt8

from glimpses import video
from glimpses.datasets.annotations.masks import FigureMasks, mask_boxes, save_masks
from glimpses.datasets.synthetic import background, body
from glimpses.datasets.synthetic.background import Camera
from glimpses.datasets.synthetic.body import Appearance
from glimpses.datasets.synthetic.bvh import load_motion
from glimpses.datasets.synthetic.motions import Body, Motion, Variation, perform

FRAMES, FPS, SIZE = 30, 10.0, 224
_TIMES = np.arange(FRAMES) / FPS

# Colour of the cue: no bystander wears such a shirt.
_CUE = (255.0, 140.0, 0.0)


@dataclass(frozen=True)
class Preset:
    """Difficulty of finding the actor.

    Attributes:
        height: range of the actor's height in frame heights.
        views: possible angles to the camera, radians; empty for any.
        bystanders: range of their number.
        bystander_action: "idle", "stroll", or "actions" for labelled actions of other classes.
        cue: whether the actor wears the cue.
    """

    height: tuple[float, float]
    views: tuple[float, ...]
    bystanders: tuple[int, int]
    bystander_action: str = "idle"
    cue: bool = False


PRESETS: dict[str, Preset] = {
    "easy": Preset((0.5, 0.7), (-0.6, 0.6), (0, 0)),
    "standard": Preset((0.5, 0.7), (-0.6, 0.6), (1, 1)),
    "hard": Preset((0.33, 0.5), (), (1, 3), "stroll"),
    "cue": Preset((0.4, 0.6), (-0.6, 0.6), (1, 2), "actions", cue=True),
}


@dataclass(frozen=True)
class GroupJob:
    """Task of rendering the clips of one group.

    Attributes:
        out: folder of the set.
        group: number of the group.
        seed: of the set.
        preset: name of a preset.
        actions: the classes, each with the BVH takes that this group may use; none for parametric
            actions.
        photos: photographs that this group may use as background.
        provenance: settings to record in every annotation.
    """

    out: Path
    group: int
    seed: int
    preset: str
    actions: Mapping[str, Sequence[Path]]
    photos: Sequence[Path]
    provenance: Mapping[str, Any]


@dataclass(frozen=True)
class _Placement:
    """Placement of a figure: pixel of the feet, height in pixels, facing in radians."""

    ground: tuple[float, float]
    height: float
    facing: float


def clip_id(action: str, group: int) -> str:
    """Return the path of a clip in the set, which follows UCF's pattern."""
    return f"{action}/v_{action}_{group:03}/v_{action}_{group:03}_01.avi"


def render_group(job: GroupJob) -> int:
    """Render the missing clips of a group; return the number of clips in the group."""
    scene = None
    for action in job.actions:
        clip = clip_id(action, job.group)
        # The annotation is written last.
        annotation = (job.out / "annotations" / clip).with_suffix(".npz")
        if (job.out / clip).exists() and annotation.exists():
            continue
        scene = scene or Scene(job)
        frames, masks = render(scene, scene.motions(action))
        video.write(job.out / clip, frames, fps=FPS)
        provenance = {**job.provenance, "action": action, "group": job.group}
        save_masks(annotation, FigureMasks(_TIMES, masks, mask_boxes(masks), provenance))
    return len(job.actions)


class Scene:
    """Everything that the clips of a group share, each sampled from its own random stream.

    Args:
        job: the group.
        frames: length of a clip in frames.
    """

    def __init__(self, job: GroupJob, frames: int = FRAMES) -> None:
        preset = PRESETS[job.preset]
        self.job = job
        random = self.stream("background")
        # A few photographs should not be behind half of all clips.
        if random.uniform() < min(0.5, 0.1 * len(job.photos)):
            photo = job.photos[int(random.integers(len(job.photos)))]
            picture = background.crop_photo(photo, random)
        else:
            picture = background.generate_background(random)
        self.camera = Camera.sample(self.stream("camera"), frames)
        # Cached: warping the background for every clip took a quarter of the time.
        self.view = lru_cache(FRAMES)(lambda frame: self.camera.crop(picture, frame, SIZE))
        random = self.stream("light")
        self.gain = random.uniform(0.8, 1.15) * (1 + random.normal(0, 0.04, 3))
        light = np.array([random.uniform(-0.7, 0.7), random.uniform(-0.9, -0.2), 0.75])
        self.light = light / np.linalg.norm(light)
        self.noise = random.uniform(2, 6)
        random = self.stream("places")
        count = 1 + int(random.integers(preset.bystanders[0], preset.bystanders[1] + 1))
        self.places = _places(random, preset, count)
        random = self.stream("looks")
        self.appearances = [Appearance.sample(random) for _ in self.places]
        if preset.cue:
            self.appearances[0] = replace(self.appearances[0], shirt=_CUE)
        self.bodies = [Body.sample(random) for _ in self.places]

    def stream(self, *names: object) -> np.random.Generator:
        """Return a generator for one purpose, independent of the others.

        The names are part of its seed: changing them changes every clip.
        """
        return self.generator(self.job, *names)

    @staticmethod
    def generator(job: GroupJob, *names: object) -> np.random.Generator:
        """Return the generator of `stream`, without a scene."""
        words = [job.seed, job.group, *b" ".join(str(name).encode() for name in names)]
        return np.random.default_rng(words)

    def motions(self, action: str) -> list[Motion]:
        """Return the motion of every figure, the actor first, for an action of the actor."""
        motions = [self.motion(action, 0, _TIMES, "actor", action)]
        bystander_action = PRESETS[self.job.preset].bystander_action
        for number in range(1, len(self.places)):
            other = bystander_action
            if bystander_action == "actions":
                names = list(self.job.actions)
                step = int(self.stream("bystander", number).integers(1, len(names)))
                other = names[(names.index(action) + step) % len(names)]
            motions.append(self.motion(other, number, _TIMES, "bystander", number))
        return motions

    def motion(
        self, action: str, number: int, times: Float[np.ndarray, " T"], *names: object
    ) -> Motion:
        """Return the motion of a figure.

        Args:
            action: one of the classes, or `idle` or `stroll`.
            number: of the figure.
            times: of the frames, in seconds.
            names: of the random stream.
        """
        random = self.stream("take", *names)
        takes = self.job.actions.get(action, ())
        if takes:
            return load_motion(takes[int(random.integers(len(takes)))], times, random)
        return perform(action, times, self.bodies[number], Variation.sample(random))


def render(
    scene: Scene, motions: Sequence[Motion]
) -> tuple[list[UInt8[np.ndarray, "S S 3"]], Bool[np.ndarray, "P T S S"]]:
    """Render a clip; return its frames and the masks of each figure, the actor first.

    Args:
        scene: of the group.
        motions: motion of each figure.
    """
    grain = scene.stream("grain").normal(0, scene.noise, (SIZE + 64, SIZE + 64, 1))
    grain = grain.astype(np.float32)
    length = len(motions[0])
    frames, masks = [], np.zeros((len(motions), length, SIZE, SIZE), bool)
    for frame in range(length):
        picture, owners = _render_frame(scene, motions, frame)
        shift = (frame * 37) % 64, (frame * 23) % 64
        picture += grain[shift[0] : shift[0] + SIZE, shift[1] : shift[1] + SIZE]
        frames.append(picture.clip(0, 255).astype(np.uint8))
        for number in range(len(motions)):
            masks[number, frame] = owners == number
    return frames, masks


def _render_frame(
    scene: Scene, motions: Sequence[Motion], frame: int
) -> tuple[Float[np.ndarray, "S S 3"], UInt8[np.ndarray, "S S"]]:
    """Return a frame, and the number of the figure at each pixel; 255 for none."""
    picture = scene.view(frame).copy()
    owners = np.full((SIZE, SIZE), 255, np.uint8)
    zoom = float(scene.camera.zoom[frame])
    grounds = [scene.camera.project(place.ground, frame, SIZE) for place in scene.places]
    for place, ground in zip(scene.places, grounds, strict=True):
        body.draw_shadow(picture, ground, place.height * zoom)
    # A figure lower in the picture is nearer.
    for number in sorted(range(len(motions)), key=lambda number: grounds[number][1]):
        place = scene.places[number]
        covered: Bool[np.ndarray, "S S"] = body.draw_figure(
            picture, motions[number][frame], scene.appearances[number], ground=grounds[number],
            height=place.height * zoom, facing=place.facing, light=scene.light,
        )  # fmt: skip
        owners[covered] = number
    return picture * scene.gain.astype(np.float32), owners


def _places(random: np.random.Generator, preset: Preset, count: int) -> list[_Placement]:
    """Place the figures inside the picture and, if possible, apart."""
    places: list[_Placement] = []
    for _ in range(count):
        height = SIZE * random.uniform(*preset.height)
        views = preset.views
        facing = views[int(random.integers(len(views)))] if views else random.uniform(-np.pi, np.pi)
        best, best_gap = None, -np.inf
        for _ in range(30):
            margin = 0.28 * height
            x = float(random.uniform(margin, SIZE - margin))
            y = float(random.uniform(1.18 * height, SIZE - 6))
            gaps = [abs(x - other.ground[0]) / (0.3 * (height + other.height)) for other in places]
            gap = min(gaps, default=np.inf)
            if gap > best_gap:
                best, best_gap = (x, y), gap
            if gap >= 1:
                break
        assert best is not None
        places.append(_Placement(best, float(height), float(facing)))
    return places
