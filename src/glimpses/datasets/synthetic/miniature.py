"""Miniatures of the paper's data sets: official names and lists, with the generated set's figures.

Whoever has not got the data can try every step on them. What they score says nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float32, UInt8

from glimpses import video
from glimpses.datasets.annotations.masks import mask_boxes
from glimpses.datasets.layouts import hollywood2, ucf11
from glimpses.datasets.synthetic.clips import FPS, SIZE, GroupJob, Scene, render
from glimpses.datasets.synthetic.generation import photographs
from glimpses.utils import progress
from glimpses.utils.errors import GlimpsesError
from glimpses.utils.files import atomic_write

# MPEG-1 knows no 10 frames per second, so that each is shown three times.
_MPEG_REPEATS = 3

# Official classes, and what the generated set's figures do that resembles them.
_UCF11 = {
    "soccer_juggling": "kick",
    "trampoline_jumping": "jumping_jack",
    "volleyball_spiking": "wave",
    "walking": "stroll",
}
_HMDB51 = {"clap": "clap", "kick": "kick", "punch": "punch", "wave": "wave"}
_HOLLYWOOD2 = {
    "FightPerson": "punch",
    "HandShake": "clap",
    "Run": "stroll",
    "SitDown": "squat",
}

# Of these, 5 and 6 test in the split `paper`.
_UCF11_GROUPS = range(1, 7)
# HMDB-51's own names hold all of these characters.
_FILMS = ("Mini_(2015)", "Take_#2", "A&B", "-lost_film", "one+one", "semi;colon@home", "[Good]!")
_PAIRS = (("FightPerson", "Run"), ("HandShake", "SitDown"))


@dataclass(frozen=True)
class _Clip:
    """A clip to make: what is done in it, one after the other, and before which scenery."""

    actions: tuple[str, ...]
    scene: int
    mirrored: bool = False


@dataclass
class _Plan:
    """What a miniature holds, by path.

    Attributes:
        clips: its videos.
        texts: of other files.
        boxes: by a clip's path that of the file that tells where its actor is.
    """

    clips: dict[str, _Clip] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    boxes: dict[str, str] = field(default_factory=dict)


def make(layout: Literal["ucf11", "hmdb51", "hollywood2"], root: Path, *, seed: int = 0) -> Path:
    """Write a miniature of a data set as its distributor lays it out, about 30 clips of 3 s.

    It has four of the official classes and every split. The same seed gives the same bytes.

    Args:
        layout: whose.
        root: folder to write it into, as if its archives had been unpacked there.
        seed: of what is drawn.

    Returns:
        The folder, for `glimpses.datasets.load`.

    Raises:
        GlimpsesError: there is no miniature of that layout, or something cannot be written.
    """
    if layout not in _PLANS:
        raise GlimpsesError(f"layout '{layout}': there are miniatures of {', '.join(_PLANS)}")
    plan = _PLANS[layout]()
    for place, text in plan.texts.items():
        with atomic_write(root / place) as part:
            part.write_text(text)
    with progress.bar("making clips", len(plan.clips)) as bar:
        for place, clip in plan.clips.items():
            boxes = _write(root / place, clip, seed)
            if place in plan.boxes:
                with atomic_write(root / plan.boxes[place]) as part:
                    part.write_text(_viper(Path(place).name, boxes))
            bar.advance()
    return root


def _write(path: Path, clip: _Clip, seed: int) -> Float32[np.ndarray, "T 4"]:
    """Write a clip; gives the actor's box in each frame, as in `FigureMasks.boxes`."""
    scene = Scene(
        GroupJob(
            out=path.parent,
            group=clip.scene,
            seed=seed,
            preset="easy",
            actions=dict.fromkeys(clip.actions, ()),
            photos=photographs(),
            made={},
        )
    )
    acts = [render(scene, action) for action in clip.actions]
    length = len(acts[0][0])
    turns = [acts[len(acts) * number // length] for number in range(length)]
    frames = [shown[number] for number, (shown, _) in enumerate(turns)]
    masks = np.stack([figures[:1, number] for number, (_, figures) in enumerate(turns)], axis=1)
    if clip.mirrored:
        frames, masks = [frame[:, ::-1] for frame in frames], masks[..., ::-1]
    repeats = _MPEG_REPEATS if path.suffix == ".mpg" else 1
    video.write(path, _repeated(frames, repeats), fps=FPS * repeats)
    return np.repeat(mask_boxes(masks)[0], repeats, axis=0)


def _repeated(
    frames: list[UInt8[np.ndarray, "S S 3"]], times: int
) -> Iterator[UInt8[np.ndarray, "S S 3"]]:
    return (frame for frame in frames for _ in range(times))


def _viper(name: str, boxes: Float32[np.ndarray, "T 4"]) -> str:
    """A clip's boxes in VIPER's XML, as its tools write it."""
    lines = [
        f'<data:bbox framespan="{number}:{number}" x="{left:.0f}" y="{top:.0f}" '
        f'width="{right - left:.0f}" height="{bottom - top:.0f}"/>'
        for number, (left, top, right, bottom) in enumerate(boxes, start=1)
        if right > left
    ]
    return "\n".join(
        (
            '<?xml version="1.0" encoding="UTF-8"?>',
            '<viper xmlns="http://lamp.cfar.umd.edu/viper#" '
            'xmlns:data="http://lamp.cfar.umd.edu/viperdata#">',
            f'<data><sourcefile filename="{name}"><file id="0" name="Information">',
            f'<attribute name="NUMFRAMES"><data:dvalue value="{len(boxes)}"/></attribute>',
            f'<attribute name="H-FRAME-SIZE"><data:dvalue value="{SIZE}"/></attribute>',
            f'<attribute name="V-FRAME-SIZE"><data:dvalue value="{SIZE}"/></attribute></file>',
            f'<object framespan="1:{len(boxes)}" id="0" name="PERSON"><attribute name="Location">',
            *lines,
            "</attribute></object></sourcefile></data></viper>\n",
        )
    )


def _ucf11() -> _Plan:
    plan, base = _Plan(), "UCF11_updated_mpg"
    for label, action in _UCF11.items():
        for number in _UCF11_GROUPS:
            group = f"{ucf11.PREFIXES[label]}_{number:02}"
            for take in (1, 2) if number in (1, 5) else (1,):
                name = f"{group}_{take:02}"
                clip = _Clip((action,), number, mirrored=take == 2)
                place = f"{base}/{label}/{group}/{name}.mpg"
                plan.clips[place] = clip
                plan.boxes[place] = f"{base}/{label}/Annotation/{name}.xgtf"
    return plan


def _hmdb51() -> _Plan:
    plan = _Plan()
    for label, action in _HMDB51.items():
        names = [f"{film}_{label}_f_cm_np1_fr_med_0.avi" for film in _FILMS]
        for number, name in enumerate(names):
            plan.clips[f"hmdb51_org/{label}/{name}"] = _Clip((action,), number)
        for split in (1, 2, 3):
            # In each split other films test, and another one is not used.
            turn = [(number - 2 * split) % len(_FILMS) for number in range(len(_FILMS))]
            marks = ["2" if place < 2 else "0" if place == 2 else "1" for place in turn]
            plan.texts[f"testTrainMulti_7030_splits/{label}_test_split{split}.txt"] = "".join(
                f"{name} {mark} \n" for name, mark in zip(names, marks, strict=True)
            )
    return plan


def _hollywood2() -> _Plan:
    plan, base = _Plan(), "Hollywood2"
    singles = [(label,) for label in _HOLLYWOOD2]
    sides: Mapping[str, tuple[str, list[tuple[str, ...]]]] = {
        "train": ("actioncliptrain", [*singles, *singles, *_PAIRS, *_PAIRS, (), ()]),
        "test": ("actioncliptest", [*singles, *_PAIRS, ()]),
        "autotrain": ("actionclipautoautotrain", [*singles, *singles]),
    }
    scene = 0
    for side, (prefix, all_labels) in sides.items():
        shown = {f"{prefix}{number:05}": own for number, own in enumerate(all_labels, start=1)}
        for name, labels in shown.items():
            actions = tuple(_HOLLYWOOD2[label] for label in labels) or ("idle",)
            plan.clips[f"{base}/{hollywood2.CLIPS}/{name}.avi"] = _Clip(actions, scene)
            plan.texts[f"{base}/ShotBounds/{name}.sht"] = "\n"
            scene += 1
        for label in _HOLLYWOOD2:
            plan.texts[f"{base}/{hollywood2.LISTS}/{label}_{side}.txt"] = "".join(
                f"{name}  {'1' if label in own else '-1'}\n" for name, own in shown.items()
            )
    return plan


_PLANS: Mapping[str, Callable[[], _Plan]] = {
    "ucf11": _ucf11,
    "hmdb51": _hmdb51,
    "hollywood2": _hollywood2,
}
