"""Miniatures of the paper's data sets: official names and lists with synthetic clips.

They allow every step to be tried without the data. Their scores are meaningless.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float32

from glimpses import video
from glimpses.datasets.annotations.masks import mask_boxes
from glimpses.datasets.annotations.puppet_mask import encode_part_mask
from glimpses.datasets.layouts import hollywood2, jhmdb, ucf11
from glimpses.datasets.synthetic.clips import FPS, SIZE, GroupJob, Scene, render
from glimpses.datasets.synthetic.generation import default_photos
from glimpses.utils import progress
from glimpses.utils.errors import GlimpsesError
from glimpses.utils.files import atomic_write

# MPEG-1 does not support 10 frames per second, so each frame is repeated three times.
_MPEG_REPEATS = 3

# Official classes, and the synthetic actions that resemble them.
_UCF11 = {
    "soccer_juggling": "kick",
    "trampoline_jumping": "jumping_jack",
    "volleyball_spiking": "wave",
    "walking": "stroll",
}
_HMDB51 = {"clap": "clap", "kick": "kick", "punch": "punch", "wave": "wave"}
_JHMDB = {"clap": "clap", "kick_ball": "kick", "walk": "stroll", "wave": "wave"}
_HOLLYWOOD2 = {"FightPerson": "punch", "HandShake": "clap", "Run": "stroll", "SitDown": "squat"}

# Groups 5 and 6 test in the split `paper`.
_UCF11_GROUPS = range(1, 7)
# Names in HMDB-51 contain all of these characters.
_FILMS = ("Mini_(2015)", "Take_#2", "A&B", "-lost_film", "one+one", "semi;colon@home", "[Good]!")
_PAIRS = (("FightPerson", "Run"), ("HandShake", "SitDown"))


@dataclass(frozen=True)
class _ClipPlan:
    """Clip to render: its consecutive actions and the number of its scene."""

    actions: tuple[str, ...]
    scene: int
    mirrored: bool = False


@dataclass
class _Plan:
    """Files of a miniature by path; `annotations` maps a clip's path to that of its annotation."""

    clips: dict[str, _ClipPlan] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    annotations: dict[str, str] = field(default_factory=dict)


def make_miniature(
    layout: Literal["ucf11", "hmdb51", "jhmdb", "hollywood2"],
    root: str | Path,
    *,
    seed: int = 0,
    extra: int = 0,
) -> Path:
    """Write a miniature of a data set in its official layout, about 30 clips of 3 s; return `root`.

    It has four of the official classes and every split. The same seed gives the same bytes.

    Args:
        layout: of the data set.
        root: folder for the files, as if the official archives had been unpacked there.
        seed: of all random choices.
        extra: number of additional training clips of each class, each of another recording.

    Raises:
        GlimpsesError: there is no miniature of the layout, or a file cannot be written.
    """
    if layout not in _PLANS:
        raise GlimpsesError(f"layout '{layout}': there are miniatures of {', '.join(_PLANS)}")
    root = Path(root)
    plan = _PLANS[layout](extra)
    for path, text in plan.texts.items():
        with atomic_write(root / path) as part:
            part.write_text(text)
    with progress.bar("generating clips", len(plan.clips)) as bar:
        for path, clip in plan.clips.items():
            masks = _write(root / path, clip, seed)
            if path in plan.annotations:
                with atomic_write(root / plan.annotations[path]) as part:
                    part.write_bytes(
                        encode_part_mask(masks)
                        if layout == "jhmdb"
                        else _viper(Path(path).name, mask_boxes(masks[None])[0]).encode()
                    )
            bar.advance()
    return root


def _write(path: Path, clip: _ClipPlan, seed: int) -> Bool[np.ndarray, "T H W"]:
    """Write a clip; return the actor's mask in each frame."""
    actions: dict[str, tuple[Path, ...]] = dict.fromkeys(clip.actions, ())
    scene = Scene(GroupJob(path.parent, clip.scene, seed, "easy", actions, default_photos(), {}))
    performances = [render(scene, scene.motions(action)) for action in clip.actions]
    length = len(performances[0][0])
    by_frame = [performances[len(performances) * number // length] for number in range(length)]
    frames = [rendered[number] for number, (rendered, _) in enumerate(by_frame)]
    masks = np.stack([figures[:1, number] for number, (_, figures) in enumerate(by_frame)], axis=1)
    if clip.mirrored:
        frames, masks = [frame[:, ::-1] for frame in frames], masks[..., ::-1]
    repeats = _MPEG_REPEATS if path.suffix == ".mpg" else 1
    repeated = (frame for frame in frames for _ in range(repeats))
    video.write(path, repeated, fps=FPS * repeats)
    return np.repeat(masks[0], repeats, axis=0)


def _viper(name: str, boxes: Float32[np.ndarray, "T 4"]) -> str:
    """Return a clip's boxes in VIPER's XML, as its tools write it."""
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


def _ucf11(extra: int) -> _Plan:
    plan, base = _Plan(), "UCF11_updated_mpg"
    for label, action in _UCF11.items():
        for number in (*_UCF11_GROUPS, *range(15, 15 + extra)):
            group = f"{ucf11.PREFIXES[label]}_{number:02}"
            for take in (1, 2) if number in (1, 5) else (1,):
                name = f"{group}_{take:02}"
                path = f"{base}/{label}/{group}/{name}.mpg"
                plan.clips[path] = _ClipPlan((action,), number, mirrored=take == 2)
                plan.annotations[path] = f"{base}/{label}/Annotation/{name}.xgtf"
    return plan


def _hmdb51(extra: int) -> _Plan:
    plan, extra_films = _Plan(), [f"extra{number}" for number in range(extra)]
    for label, action in _HMDB51.items():
        names = [f"{film}_{label}_f_cm_np1_fr_med_0.avi" for film in (*_FILMS, *extra_films)]
        for number, name in enumerate(names):
            plan.clips[f"hmdb51_org/{label}/{name}"] = _ClipPlan((action,), number)
        for split in (1, 2, 3):
            # Each split tests other films and leaves another one unused.
            order = [(number - 2 * split) % len(_FILMS) for number in range(len(_FILMS))]
            marks = ["2" if rank < 2 else "0" if rank == 2 else "1" for rank in order]
            marks += ["1"] * extra
            plan.texts[f"testTrainMulti_7030_splits/{label}_test_split{split}.txt"] = "".join(
                f"{name} {mark} \n" for name, mark in zip(names, marks, strict=True)
            )
    return plan


def _jhmdb(extra: int) -> _Plan:
    plan, extra_films = _Plan(), [f"extra{number}" for number in range(extra)]
    for label, action in _JHMDB.items():
        stems = [f"{film}_{label}_f_cm_np1_fr_med_0" for film in (*_FILMS, *extra_films)]
        for number, stem in enumerate(stems):
            path = f"{jhmdb.VIDEOS}/{label}/{stem}.avi"
            plan.clips[path] = _ClipPlan((action,), number)
            plan.annotations[path] = f"{jhmdb.MASKS}/{label}/{stem}/{jhmdb.MASK_FILE}"
        for split in (1, 2, 3):
            # Each split tests two other films.
            marks = [2 if number // 2 == split - 1 else 1 for number in range(len(stems))]
            plan.texts[f"{jhmdb.LISTS}/{label}_test_split{split}.txt"] = "".join(
                f"{stem}.avi {mark}\n" for stem, mark in zip(stems, marks, strict=True)
            )
    return plan


def _hollywood2(extra: int) -> _Plan:
    plan, base = _Plan(), "Hollywood2"
    singles = [(label,) for label in _HOLLYWOOD2]
    subsets: Mapping[str, tuple[str, list[tuple[str, ...]]]] = {
        "train": (
            "actioncliptrain",
            [*singles, *singles, *_PAIRS, *_PAIRS, (), (), *(singles * extra)],
        ),
        "test": ("actioncliptest", [*singles, *_PAIRS, ()]),
        "autotrain": ("actionclipautoautotrain", [*singles, *singles]),
    }
    scene = 0
    for subset, (prefix, all_labels) in subsets.items():
        labels_of = {
            f"{prefix}{number:05}": labels for number, labels in enumerate(all_labels, start=1)
        }
        for name, labels in labels_of.items():
            actions = tuple(_HOLLYWOOD2[label] for label in labels) or ("idle",)
            plan.clips[f"{base}/{hollywood2.CLIPS}/{name}.avi"] = _ClipPlan(actions, scene)
            plan.texts[f"{base}/ShotBounds/{name}.sht"] = "\n"
            scene += 1
        for label in _HOLLYWOOD2:
            plan.texts[f"{base}/{hollywood2.LISTS}/{label}_{subset}.txt"] = "".join(
                f"{name}  {'1' if label in labels else '-1'}\n"
                for name, labels in labels_of.items()
            )
    return plan


_PLANS = {"ucf11": _ucf11, "hmdb51": _hmdb51, "jhmdb": _jhmdb, "hollywood2": _hollywood2}
