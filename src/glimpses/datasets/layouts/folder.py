"""Layout with one folder of clips for each action."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

from glimpses.datasets.base import ActionDataset, Clip
from glimpses.datasets.groups import GROUPS, read_groups
from glimpses.datasets.layouts.list_files import read_lines, warn_unknown
from glimpses.utils.errors import GlimpsesError
from glimpses.video import SUFFIXES

log = logging.getLogger(__name__)

#: Suffixes of annotation files; see `glimpses.datasets.annotations`.
ANNOTATION_SUFFIXES = (".npz", ".xgtf")

# Folders beside or inside class folders that contain no clips.
_NOT_CLASSES = frozenset({"annotation", "annotations", "splits"})

_SPLIT_FILES = {subset: f"splits/{subset}.txt" for subset in ("train", "validation", "test")}


def matches(_root: Path) -> bool:
    """Return True: `load` reports what is missing in a folder."""
    return True


def load(root: Path) -> ActionDataset:
    """Read a folder with one folder of clips for each action.

    Clips may be in subfolders of their class folder. Groups come from `groups.csv` (columns
    `clip,label,group`, `clip` relative to `root`) beside the class folders, otherwise from file
    names that follow UCF's or HMDB's pattern; otherwise every clip is a group of its own. A label
    such as `kiss|hug` gives a clip several actions, among them that of its folder, and makes the
    data set multi-label. The files `splits/train.txt`, `splits/validation.txt` and
    `splits/test.txt`, with one clip id per line, define the split `listed`. Files in
    `annotations/` may annotate where the action is; see docs/data.md. Classes and clips are in
    alphabetical order.

    Raises:
        GlimpsesError: there is no class folder with a clip in it, or a list contradicts the
            folders.
    """
    files = clip_files(root)
    path_of = {file.relative_to(root).as_posix(): file for file in files}
    class_of = {id: id.split("/")[0] for id in path_of}
    for child in class_folders(root):
        if child.name not in class_of.values():
            log.warning("%s: no video in this folder; it does not count as a class", child)
    groups, listed = read_groups(root, list(path_of))
    labels = {id: listed.get(id, (name,)) for id, name in class_of.items()}
    classes = tuple(sorted({name for names in labels.values() for name in names}))
    clips = tuple(
        Clip(
            id=id,
            path=file,
            labels=tuple(map(classes.index, labels[id])),
            group=groups.get(id, id),
            annotation=annotation_file(id, root),
        )
        for id, file in path_of.items()
    )
    multi_label = any(len(clip.labels) > 1 for clip in clips)
    splits = _read_splits(root, frozenset(path_of))
    return ActionDataset(root, classes, clips, multi_label, splits, grouped=bool(groups))


def clip_files(root: Path) -> list[Path]:
    """Return every video file in the class folders of `root`, sorted, judged by suffix alone.

    A folder without any is refused.
    """
    if not root.is_dir():
        raise GlimpsesError(f"{root}: no such folder; give the folder with the class folders")
    files = sorted(file for folder in class_folders(root) for file in clips_in(folder))
    if not files:
        loose = any(is_clip(file) for file in root.iterdir())
        problem = "has clips but no class folders" if loose else "has no class folder with a video"
        raise GlimpsesError(
            f"{root}: {problem}; put the clips of each action into a folder named after it, "
            f"as in {root.name}/<action>/<clip>.mp4"
        )
    return files


def class_folders(root: Path) -> list[Path]:
    """Return the folders of `root` that are named after an action, sorted."""
    return sorted(path for path in root.iterdir() if path.is_dir() and _is_searched(path.name))


def clips_in(folder: Path) -> Iterator[Path]:
    """Yield every video file below a folder, except in annotation and hidden folders."""
    for file in folder.rglob("*"):
        parts = file.relative_to(folder).parts[:-1]
        if is_clip(file) and all(map(_is_searched, parts)):
            yield file


def annotation_file(id: str, root: Path) -> Path | None:
    """Return the annotation file of a clip, if there is one.

    It is `annotations/<clip>.npz` or `.xgtf` or, as in UCF-11, `<class>/Annotation/<name>.xgtf`.
    """
    separate = root / "annotations" / id
    ucf11 = root / id.split("/")[0] / "Annotation" / id.split("/")[-1]
    candidates = [*map(separate.with_suffix, ANNOTATION_SUFFIXES), ucf11.with_suffix(".xgtf")]
    return next((file for file in candidates if file.is_file()), None)


def has_user_lists(root: Path) -> bool:
    """Return whether a folder has groups or splits that its user defined."""
    return any((root / name).is_file() for name in (GROUPS, *_SPLIT_FILES.values()))


def is_clip(file: Path) -> bool:
    """Return whether a file has a video suffix and is not hidden (macOS writes `._clip.avi`)."""
    return file.suffix.lower() in SUFFIXES and not file.name.startswith(".") and file.is_file()


def _is_searched(folder: str) -> bool:
    return not folder.startswith(".") and folder.lower() not in _NOT_CLASSES


def _read_splits(root: Path, ids: frozenset[str]) -> dict[str, dict[str, frozenset[str]]]:
    subsets: dict[str, frozenset[str]] = {}
    for name, path in _SPLIT_FILES.items():
        file = root / path
        if file.is_file():
            listed = frozenset(read_lines(file)) - {""}
            warn_unknown(file, listed - ids, ids)
            subsets[name] = listed & ids
    for first, second in (("train", "test"), ("train", "validation"), ("validation", "test")):
        shared = subsets.get(first, frozenset()) & subsets.get(second, frozenset())
        if shared:
            raise GlimpsesError(
                f"{root / 'splits'}: {min(shared)} is listed in both {first}.txt and {second}.txt"
            )
    return {"listed": subsets} if subsets else {}
