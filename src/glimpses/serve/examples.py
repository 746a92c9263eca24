"""Example clips for the page, a few of each action."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import TypeVar

from PIL import Image

from glimpses import datasets, video
from glimpses.datasets import Clip
from glimpses.datasets.layouts.video_files import is_clip, walk
from glimpses.runs import RunConfig
from glimpses.utils.errors import GlimpsesError

log = logging.getLogger(__name__)

_COUNT = 6
_THUMBNAIL_WIDTH, _THUMBNAIL_HEIGHT = 256, 144

_T = TypeVar("_T")


@dataclass(frozen=True)
class Example:
    """An example clip, with its annotated actions, if known, and a frame as JPEG."""

    path: Path
    name: str
    labels: tuple[str, ...]
    picture: bytes


def examples_from_folder(folder: Path, *, max_seconds: float) -> list[Example]:
    """Return the first readable videos of a folder, or of its subfolders of actions.

    Raises:
        GlimpsesError: the folder does not exist or contains no video.
    """
    if not folder.is_dir():
        raise GlimpsesError(f"{folder}: is not a folder; give --examples a folder of videos")
    by_folder: dict[Path, list[Path]] = {}
    for path in sorted(walk(folder)):
        if is_clip(path):
            by_folder.setdefault(path.parent, []).append(path)
    if not by_folder:
        raise GlimpsesError(f"{folder}: contains no video; give --examples a folder of videos")
    candidates = [
        (path, () if path.parent == folder else (path.relative_to(folder).parts[0],))
        for path in _interleave(by_folder.values())
    ]
    return _load(candidates, max_seconds)


def examples_from_run(config: RunConfig, *, max_seconds: float) -> list[Example]:
    """Return test clips of the data set a run was trained on; empty if it is gone."""
    try:
        dataset = datasets.load(Path(config.data_dir), config.data.layout)
    except GlimpsesError:
        return []
    test_ids = set(config.clips.get("test", ()))
    by_labels: dict[tuple[int, ...], list[Clip]] = {}
    for clip in dataset.clips:
        if clip.id in test_ids and video.is_video(clip.path):
            by_labels.setdefault(clip.labels, []).append(clip)
    candidates = [
        (clip.path, tuple(dataset.classes[label] for label in clip.labels))
        for clip in _interleave(by_labels.values())
    ]
    if dataset.untrimmed:
        # A recording shows more than one of its segments.
        candidates = [(path, ()) for path in dict.fromkeys(path for path, _ in candidates)]
    return _load(candidates, max_seconds)


def _interleave(groups: Iterable[Sequence[_T]]) -> list[_T]:
    """Return the first item of each group, then the second of each, and so on."""
    return [item for row in zip_longest(*groups) for item in row if item is not None]


def _load(candidates: Sequence[tuple[Path, tuple[str, ...]]], max_seconds: float) -> list[Example]:
    examples: list[Example] = []
    for path, labels in candidates:
        if len(examples) == _COUNT:
            break
        try:
            info = video.probe(path)
            if info.seconds <= max_seconds:
                examples.append(Example(path, path.name, labels, _thumbnail(path, info)))
        except GlimpsesError as error:
            log.warning("%s; not used as an example", error)
    return examples


def _thumbnail(path: Path, info: video.VideoInfo) -> bytes:
    """Return the middle frame as a small JPEG."""
    scale = min(_THUMBNAIL_HEIGHT / info.height, _THUMBNAIL_WIDTH / info.width)
    size = max(2, round(info.width * scale)), max(2, round(info.height * scale))
    # A FrameReader yields a frame or raises.
    for frame in video.FrameReader(path, fps="native", size=size):
        if frame.time >= info.seconds / 2:
            break
    buffer = io.BytesIO()
    Image.fromarray(frame.pixels).save(buffer, "JPEG", quality=82)
    return buffer.getvalue()
