"""Layout with one folder of clips for each action."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
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
    `annotations/` may annotate where the action is; see docs/data.md.

    Args:
        root: the folder.

    Returns:
        The data set, with classes and clips in alphabetical order.

    Raises:
        GlimpsesError: there is no class folder with a clip in it, or a list contradicts the
            folders.
    """
    files = clip_files(root)
    classes = tuple(sorted({_class_of(file, root) for file in files}))
    _warn_empty_folders(root, classes)
    ids = [file.relative_to(root).as_posix() for file in files]
    groups, labels = read_groups(root, ids)
    classes = tuple(sorted({*classes, *(name for names in labels.values() for name in names)}))
    clips = tuple(
        Clip(
            id=id,
            path=file,
            labels=tuple(map(classes.index, labels.get(id, (_class_of(file, root),)))),
            group=groups.get(id, id),
            annotation=annotation_file(id, root),
        )
        for id, file in zip(ids, files, strict=True)
    )
    return ActionDataset(
        root=root,
        classes=classes,
        clips=clips,
        multi_label=any(len(clip.labels) > 1 for clip in clips),
        splits=_read_splits(root, frozenset(ids)),
        grouped=bool(groups),
    )


def clip_files(root: Path) -> list[Path]:
    """Return every video file in the class folders of `root`, sorted, judged by suffix alone.

    Raises:
        GlimpsesError: `root` is not a folder, or no class folder in it contains a video.
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
    return sorted(
        folder
        for folder in root.iterdir()
        if folder.is_dir()
        and not folder.name.startswith(".")
        and folder.name.lower() not in _NOT_CLASSES
    )


def clips_in(folder: Path) -> Iterator[Path]:
    """Yield every video file below a folder, except in annotation and hidden folders."""
    for file in folder.rglob("*"):
        inside = file.relative_to(folder).parts[:-1]
        if is_clip(file) and not any(
            part.startswith(".") or part.lower() in _NOT_CLASSES for part in inside
        ):
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


def _class_of(file: Path, root: Path) -> str:
    return file.relative_to(root).parts[0]


def _warn_empty_folders(root: Path, classes: Sequence[str]) -> None:
    for folder in class_folders(root):
        if folder.name not in classes:
            log.warning("%s: no video in this folder; it does not count as a class", folder)


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
