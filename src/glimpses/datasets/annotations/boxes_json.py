"""Boxes in a JSON file: one hand-written file for a whole data set."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np
from jaxtyping import Float64

from glimpses import video
from glimpses.datasets.annotations.boxes import BoxAnnotation, BoxTrack
from glimpses.datasets.base import Clip
from glimpses.utils.errors import GlimpsesError
from glimpses.utils.files import read_json
from glimpses.video import frames_displayed_at

# More frames than a film of a day has.
_MAX_FRAMES = 10_000_000


class _Keyframe(NamedTuple):
    frame: int
    box: Sequence[float] | None  # None if the actor is not visible
    actor: str | None


def read_boxes_file(file: Path) -> dict[str, Any]:
    """Read the unvalidated entries of a boxes file, by clip name."""
    try:
        content = read_json(
            file,
            parse_constant=_refuse_constant,
            object_pairs_hook=_refuse_duplicates,
        )
    except OSError as error:
        raise GlimpsesError(f"{file}: cannot be read ({error.strerror}); check its name") from error
    except ValueError as error:
        raise GlimpsesError(
            f"{file}: cannot be read as JSON ({error}); docs/data.md shows the format"
        ) from error
    if not isinstance(content, dict) or not content:
        example = '{"CLIP": {"boxes": [...]}, ...}'
        raise GlimpsesError(f"{file}: should be like {example}; docs/data.md shows the format")
    return content


def read_entry(file: Path, name: str, entry: object, clip: Clip) -> BoxAnnotation:
    """Convert the entry of a clip in a boxes file.

    An entry has `boxes`, a list of objects with `time` (seconds) or `frame` (from 1), `box` (left,
    top, right, bottom; null for not visible) and, optionally, `actor`. It may have `size` (width
    and height of the picture that the boxes refer to) and `fps` (frames per second that `frame`
    counts); both default to the video's own.

    Boxes of one actor are interpolated linearly. Several unnamed boxes in one frame cannot be
    matched with the next frame's; they stay in place until the next annotated frame.
    """
    where = f"{file}: {name}"
    if not isinstance(entry, Mapping) or not isinstance(entry.get("boxes"), list):
        raise GlimpsesError(f'{where}: should be like {{"boxes": [...]}}; docs/data.md shows it')
    fps = entry.get("fps")
    if fps is not None and not (_is_number(fps) and 0 < fps <= 1000):
        raise GlimpsesError(f"{where}: fps is {_short(fps)}; give frames per second, above 0")
    items = [
        _validated(f"{where}: box {number}", item) for number, item in enumerate(entry["boxes"], 1)
    ]
    if not items:
        raise GlimpsesError(f"{where}: has no boxes; add some, or remove the clip")
    edges = _frame_edges(where, items, fps, clip)
    frames = len(edges) - 1
    keyframes = [
        _Keyframe(min(_frame_of(item, edges, fps), frames), item["box"], item.get("actor"))
        for item in items
    ]
    keyframes.sort(key=lambda keyframe: keyframe.frame)
    if keyframes[0].frame == frames:
        raise GlimpsesError(
            f"{where}: all boxes are after the end of the video at {edges[-1]:.2f} s; give times "
            "in seconds"
        )
    return BoxAnnotation(
        edges=edges,
        size=_size(where, entry.get("size"), clip),
        span=(keyframes[0].frame, keyframes[-1].frame + 1),
        tracks=tuple(
            track
            for actor in {keyframe.actor: None for keyframe in keyframes}
            for track in _tracks([key for key in keyframes if key.actor == actor], frames)
            if track.first < track.end
        ),
    )


def _tracks(keyframes: Sequence[_Keyframe], frames: int) -> list[BoxTrack]:
    """Return the tracks of one actor, or of all unnamed boxes."""
    annotated = sorted({keyframe.frame for keyframe in keyframes})
    next_frame = dict(pairwise([*annotated, min(annotated[-1] + 1, frames)]))
    box_at = {keyframe.frame: keyframe.box for keyframe in keyframes}
    single = len(annotated) == len(keyframes)
    return [
        BoxTrack(key.frame, end, key.box, (box_at.get(end) if single else None) or key.box)
        for key in keyframes
        if key.box is not None
        for end in [next_frame[key.frame]]
    ]


def _validated(where: str, item: object) -> Mapping[str, Any]:
    """Return an item of `boxes`, or raise if it is malformed."""
    if not isinstance(item, Mapping) or "box" not in item or ("time" in item) == ("frame" in item):
        raise GlimpsesError(f"{where}: is {_short(item)}; give it a box, and a time or a frame")
    box = item["box"]
    is_box = isinstance(box, list) and len(box) == 4 and all(map(_is_number, box))
    if box is not None and not (is_box and box[0] < box[2] and box[1] < box[3]):
        raise GlimpsesError(
            f"{where}: is {_short(box)}; give [left, top, right, bottom] in pixels, or null where "
            "the actor is not visible"
        )
    time, frame, actor = item.get("time", 0), item.get("frame", 1), item.get("actor", "")
    if not (_is_number(time) and time >= 0):
        raise GlimpsesError(f"{where}: time is {_short(time)}; give seconds from the first frame")
    if not (_is_number(frame) and frame >= 1 and frame == int(frame)):
        raise GlimpsesError(f"{where}: frame is {_short(frame)}; give its number, from 1")
    if not isinstance(actor, str):
        raise GlimpsesError(f"{where}: actor is {_short(actor)}; give a name in quotes")
    return item


def _frame_edges(
    where: str, items: Sequence[Mapping[str, Any]], fps: float | None, clip: Clip
) -> Float64[np.ndarray, " F+1"]:
    """Return the frame edges of the video or, without a video, those at the given rate."""
    if clip.path.is_file():
        return video.frame_edges(clip.path)
    if fps is None:
        raise GlimpsesError(f"{where}: there is no video to count frames in; give fps")
    count = max(item["time"] * fps + 1 if "time" in item else item["frame"] for item in items)
    if count > _MAX_FRAMES:
        raise GlimpsesError(f"{where}: a box is at {count / fps:.0f} s; give times in seconds")
    return np.arange(math.ceil(count) + 1) / fps


def _frame_of(
    item: Mapping[str, Any], edges: Float64[np.ndarray, " F+1"], fps: float | None
) -> int:
    """Return the index of the frame that a box refers to; F if that is after the last one."""
    if "time" not in item and fps is None:
        return min(int(item["frame"]) - 1, len(edges) - 1)
    time = item["time"] if "time" in item else (item["frame"] - 1) / (fps or 1)
    return int(frames_displayed_at(edges, np.array([time]))[0])


def _size(where: str, size: Any, clip: Clip) -> tuple[float, float]:
    if size is None:
        if not clip.path.is_file():
            raise GlimpsesError(f"{where}: there is no video to measure; give size")
        info = video.probe(clip.path)
        return info.width, info.height
    is_pair = isinstance(size, list) and len(size) == 2
    if not (is_pair and all(_is_number(length) and length > 0 for length in size)):
        raise GlimpsesError(f"{where}: size is {_short(size)}; give [width, height] in pixels")
    return size[0], size[1]


def _is_number(value: object) -> bool:
    """Return whether a value is a number in a range that is safe to compute with."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e12


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _refuse_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    for name, count in Counter(name for name, _ in pairs).items():
        if count > 1:
            raise ValueError(f"'{name}' occurs twice")
    return dict(pairs)


def _refuse_constant(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a number")
