"""Clips ready to be clicked: a few that the first run has not seen, one of each action."""

from __future__ import annotations

import io
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from PIL import Image

from glimpses import datasets, video
from glimpses.datasets import Clip
from glimpses.runs import RunConfig
from glimpses.utils.errors import GlimpsesError

log = logging.getLogger(__name__)

_COUNT = 6
_HEIGHT, _MOST_WIDTH = 144, 256

_Each = TypeVar("_Each")


@dataclass(frozen=True)
class Example:
    """A clip that is here already.

    Attributes:
        path: its file.
        name: of the file.
        shows: the actions in it, where known.
        picture: a frame of it, JPEG.
    """

    path: Path
    name: str
    shows: tuple[str, ...]
    picture: bytes


def examples_in(folder: Path, *, most_seconds: float) -> list[Example]:
    """Videos of a folder, or of its folders of actions; the first few that can be read.

    Raises:
        GlimpsesError: it is no folder, or holds no video.
    """
    if not folder.is_dir():
        raise GlimpsesError(f"{folder}: is no folder; give --examples a folder of videos")
    files = [
        path
        for path in sorted(folder.rglob("*"))
        if path.suffix.lower() in video.SUFFIXES and path.is_file()
    ]
    if not files:
        raise GlimpsesError(f"{folder}: holds no video; give --examples a folder of videos")
    by_folder: dict[Path, list[Path]] = {}
    for path in files:
        by_folder.setdefault(path.parent, []).append(path)
    turns = [path for turn in _turns(list(by_folder.values())) for path in turn]
    candidates = [
        (path, () if path.parent == folder else (path.relative_to(folder).parts[0],))
        for path in turns
    ]
    return _readable(candidates, most_seconds)


def examples_of(config: RunConfig, *, most_seconds: float) -> list[Example]:
    """Test clips of the data set a run was trained on; none where that is gone."""
    try:
        dataset = datasets.load(Path(config.data_dir), config.data.layout)
    except GlimpsesError:
        return []
    listed = set(config.clips.get("test", ()))
    by_label: dict[tuple[int, ...], list[Clip]] = {}
    for clip in dataset.clips:
        if clip.id in listed and clip.path.is_file():
            by_label.setdefault(clip.labels, []).append(clip)
    candidates = [
        (clip.path, tuple(dataset.classes[label] for label in clip.labels))
        for turn in _turns(list(by_label.values()))
        for clip in turn
    ]
    return _readable(candidates, most_seconds)


def _turns(groups: Sequence[Sequence[_Each]]) -> list[list[_Each]]:
    """The first of each group, then the second of each, and so on."""
    longest = max((len(group) for group in groups), default=0)
    return [[group[turn] for group in groups if turn < len(group)] for turn in range(longest)]


def _readable(
    candidates: Sequence[tuple[Path, tuple[str, ...]]], most_seconds: float
) -> list[Example]:
    found: list[Example] = []
    for path, shows in candidates:
        if len(found) == _COUNT:
            break
        try:
            info = video.probe(path)
            if info.seconds <= most_seconds:
                found.append(Example(path, path.name, shows, _picture(path, info)))
        except GlimpsesError as error:
            log.warning("%s; it is no example", error)
    return found


def _picture(path: Path, info: video.VideoInfo) -> bytes:
    """The frame in the middle, small."""
    scale = min(_HEIGHT / info.height, _MOST_WIDTH / info.width)
    size = max(2, round(info.width * scale)), max(2, round(info.height * scale))
    chosen = None
    for frame in video.FrameReader(path, fps="native", size=size):
        chosen = frame.pixels
        if frame.time >= info.seconds / 2:
            break
    assert chosen is not None, "a reader yields a frame or raises"
    buffer = io.BytesIO()
    Image.fromarray(chosen).save(buffer, "JPEG", quality=82)
    return buffer.getvalue()
