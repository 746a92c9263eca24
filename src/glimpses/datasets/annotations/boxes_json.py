"""Boxes in a JSON file that anybody can write: one file for a whole data set."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np
from jaxtyping import Float64

from glimpses import video
from glimpses.datasets.annotations.base import frames_at
from glimpses.datasets.annotations.boxes import BoxAnnotation, BoxTrack
from glimpses.datasets.base import Clip
from glimpses.utils.errors import GlimpsesError

# More frames than a day's film has.
_MOST = 10_000_000


class _Key(NamedTuple):
    """A frame in which it is said where an actor is: a box, or None for nowhere."""

    frame: int
    box: Sequence[float] | None
    actor: str | None


def read_listed(file: Path) -> dict[str, Any]:
    """What a file of boxes says of each clip, not yet looked at, by the name it gives it.

    Raises:
        GlimpsesError: the file is none.
    """
    try:
        content = json.loads(
            file.read_text(encoding="utf-8-sig"), parse_constant=_refuse, object_pairs_hook=_once
        )
    except OSError as error:
        raise GlimpsesError(f"{file}: cannot be read ({error.strerror}); check its name") from error
    except (ValueError, RecursionError) as error:
        raise GlimpsesError(
            f"{file}: is no JSON that can be read ({error}); docs/data.md shows the form"
        ) from error
    if not isinstance(content, dict) or not content:
        raise GlimpsesError(
            f'{file}: should be like {{"CLIP": {{"boxes": [...]}}, ...}}; docs/data.md shows the '
            "form"
        )
    return content


def boxes_of(file: Path, name: str, entry: object, clip: Clip) -> BoxAnnotation:
    """Where the actors of a clip are, by its entry in a file of boxes.

    An entry has `boxes`, a list of `time` (seconds) or `frame` (from 1), `box` (left, top, right,
    bottom; null for not visible) and, optionally, `actor`; and, optionally, `size` (width, height
    of the picture that the boxes are drawn on) and `fps` (frames per second that `frame` counts).
    Size and frames are the video's own where they are not given.

    From one box of an actor to its next it moves evenly. Of boxes without a name, several in one
    frame, none is known to be the next of another: they stay until the next frame with any.

    Raises:
        GlimpsesError: the entry is of another form.
    """
    where = f"{file}: {name}"
    if not isinstance(entry, Mapping) or not isinstance(entry.get("boxes"), list):
        raise GlimpsesError(f'{where}: should be like {{"boxes": [...]}}; docs/data.md shows it')
    fps = entry.get("fps")
    if fps is not None and not (_is_number(fps) and 0 < fps <= 1000):
        raise GlimpsesError(f"{where}: fps is {_short(fps)}; give frames per second, above 0")
    marks = [_mark(f"{where}: box {number}", mark) for number, mark in enumerate(entry["boxes"], 1)]
    if not marks:
        raise GlimpsesError(f"{where}: has no boxes; give some, or take the clip out")
    shown = _shown(where, marks, fps, clip)
    frames = len(shown) - 1
    keys = [
        _Key(min(_frame(mark, shown, fps), frames), mark["box"], mark.get("actor"))
        for mark in marks
    ]
    if all(key.frame == frames for key in keys):
        raise GlimpsesError(
            f"{where}: all of its boxes lie after the end of the video at {shown[-1]:.2f} s; give "
            "times in seconds"
        )
    keys.sort(key=lambda key: key.frame)
    return BoxAnnotation(
        shown=shown,
        size=_size(where, entry.get("size"), clip),
        span=(keys[0].frame, keys[-1].frame + 1),
        stretches=tuple(
            stretch
            for actor in {key.actor: None for key in keys}
            for stretch in _stretches([key for key in keys if key.actor == actor], frames)
            if stretch.first < stretch.end
        ),
    )


def _stretches(keys: Sequence[_Key], frames: int) -> list[BoxTrack]:
    """The boxes of one actor, or of all that have no name."""
    marked = sorted({key.frame for key in keys})
    following = dict(pairwise([*marked, min(marked[-1] + 1, frames)]))
    to = {key.frame: key.box for key in keys}
    alone = len(marked) == len(keys)
    return [
        BoxTrack(key.frame, end, key.box, (to.get(end) if alone else None) or key.box)
        for key in keys
        if key.box is not None
        for end in [following[key.frame]]
    ]


def _mark(where: str, mark: object) -> Mapping[str, Any]:
    """One of the boxes of an entry, looked at."""
    if not isinstance(mark, Mapping) or "box" not in mark or ("time" in mark) == ("frame" in mark):
        raise GlimpsesError(f"{where}: is {_short(mark)}; give it a box, and a time or a frame")
    box = mark["box"]
    if box is not None and not (
        isinstance(box, list)
        and len(box) == 4
        and all(map(_is_number, box))
        and box[0] < box[2]
        and box[1] < box[3]
    ):
        raise GlimpsesError(
            f"{where}: is {_short(box)}; give [left, top, right, bottom] in pixels, or null where "
            "the actor is not visible"
        )
    time, frame, actor = mark.get("time", 0), mark.get("frame", 1), mark.get("actor", "")
    if not (_is_number(time) and time >= 0):
        raise GlimpsesError(f"{where}: time is {_short(time)}; give seconds from the first frame")
    if not (_is_number(frame) and frame >= 1 and frame == int(frame)):
        raise GlimpsesError(f"{where}: frame is {_short(frame)}; give its number, from 1 on")
    if not isinstance(actor, str):
        raise GlimpsesError(f"{where}: actor is {_short(actor)}; give a name in quotes")
    return mark


def _shown(
    where: str, marks: Sequence[Mapping[str, Any]], fps: float | None, clip: Clip
) -> Float64[np.ndarray, " F+1"]:
    """When each frame appears, and the last disappears: the video's, or by the given rate."""
    if clip.path.is_file():
        return video.frame_times(clip.path)
    if fps is None:
        raise GlimpsesError(f"{where}: its video is not there to count frames in; give fps")
    count = max(
        max(mark["time"] * fps + 1 if "time" in mark else mark["frame"] for mark in marks), 1
    )
    if count > _MOST:
        raise GlimpsesError(f"{where}: a box lies at {count / fps:.0f} s; give times in seconds")
    return np.arange(math.ceil(count) + 1) / fps


def _frame(mark: Mapping[str, Any], shown: Float64[np.ndarray, " F+1"], fps: float | None) -> int:
    """Index of the frame in which a box is; F where that is after the last one."""
    if "time" not in mark and fps is None:
        return min(int(mark["frame"]) - 1, len(shown) - 1)
    time = mark["time"] if "time" in mark else (mark["frame"] - 1) / (fps or 1)
    return int(frames_at(shown, np.array([time]))[0])


def _size(where: str, size: object, clip: Clip) -> tuple[float, float]:
    if size is None:
        if not clip.path.is_file():
            raise GlimpsesError(f"{where}: its video is not there to measure; give size")
        info = video.probe(clip.path)
        return info.width, info.height
    if not (
        isinstance(size, list)
        and len(size) == 2
        and all(_is_number(side) and side > 0 for side in size)
    ):
        raise GlimpsesError(f"{where}: size is {_short(size)}; give [width, height] in pixels")
    return size[0], size[1]


def _is_number(value: object) -> bool:
    """Whether a value is a number that arithmetic can be done with."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e12


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"'{twice}' stands in it twice")
    return content


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number")
