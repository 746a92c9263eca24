"""A folder of class folders: its clips, what they show, and which source each is from."""

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

#: Suffixes of files that tell where the action is in a clip; see `glimpses.datasets.annotations`.
ANNOTATIONS = (".npz", ".xgtf")

# Folders that stand beside or inside class folders and hold no clips.
_NO_CLASSES = frozenset({"annotation", "annotations", "splits"})

_SPLIT_FILES = {side: f"splits/{side}.txt" for side in ("train", "validation", "test")}


def recognise(_root: Path) -> bool:
    """Any folder may be one of class folders; what it lacks, `load` says."""
    return True


def load(root: Path) -> ActionDataset:
    """Read a folder with one folder of clips per action, as UCF-11 and most private sets are.

    Clips may lie in further folders inside their class's. Groups come from `groups.csv` (columns
    `clip,label,group`, `clip` relative to `root`) where it stands beside the class folders, else
    from the file names where they follow UCF's or HMDB's pattern; failing both, every clip counts
    as a source of its own. A label like `kiss|hug` gives a clip several actions, its folder's
    among them; then the whole data set is multi-label. Files `splits/train.txt`,
    `splits/validation.txt` and `splits/test.txt`, one clip id a line, are the split `listed`.
    Where the action is in a clip may be told by a file in `annotations/`; see docs/data.md.

    Args:
        root: the folder.

    Returns:
        The data set, classes and clips in alphabetical order.

    Raises:
        GlimpsesError: there is no class folder with a clip in it, or one of the lists contradicts
            the folders.
    """
    files = clip_files(root)
    classes = tuple(sorted({_class_of(file, root) for file in files}))
    _warn_of_empty_folders(root, classes)
    ids = [file.relative_to(root).as_posix() for file in files]
    groups, labels = read_groups(root, ids)
    classes = tuple(sorted({*classes, *(name for names in labels.values() for name in names)}))
    clips = tuple(
        Clip(
            id=id,
            path=file,
            labels=tuple(map(classes.index, labels.get(id, (_class_of(file, root),)))),
            group=groups.get(id, id),
            annotation=annotation_of(id, root),
        )
        for id, file in zip(ids, files, strict=True)
    )
    return ActionDataset(
        root=root,
        classes=classes,
        clips=clips,
        multi_label=any(len(clip.labels) > 1 for clip in clips),
        splits=_splits(root, frozenset(ids)),
        grouped=bool(groups),
    )


def clip_files(root: Path) -> list[Path]:
    """Every video file in the class folders of `root`, sorted; judged by suffix alone.

    Raises:
        GlimpsesError: `root` is no folder, or no class folder in it holds a video.
    """
    if not root.is_dir():
        raise GlimpsesError(f"{root}: no such folder; give the folder that holds the class folders")
    files = sorted(file for folder in class_folders(root) for file in clips_in(folder))
    if not files:
        loose = any(is_clip(file) for file in root.iterdir())
        found = "clips but no class folders" if loose else "no class folder with a video in it"
        raise GlimpsesError(
            f"{root}: {found}; put the clips of each action into a folder named after it, "
            f"as in {root.name}/<action>/<clip>.mp4"
        )
    return files


def class_folders(root: Path) -> list[Path]:
    """The folders of `root` that are named after an action, sorted."""
    return sorted(
        folder
        for folder in root.iterdir()
        if folder.is_dir()
        and not folder.name.startswith(".")
        and folder.name.lower() not in _NO_CLASSES
    )


def clips_in(folder: Path) -> Iterator[Path]:
    """Every video file in a folder and the folders in it, but for annotations and hidden ones."""
    for file in folder.rglob("*"):
        inside = file.relative_to(folder).parts[:-1]
        if is_clip(file) and not any(
            part.startswith(".") or part.lower() in _NO_CLASSES for part in inside
        ):
            yield file


def annotation_of(id: str, root: Path) -> Path | None:
    """The file that tells where the action is in a clip, if there is one.

    It is `annotations/<clip>.npz` or `.xgtf`, or, as in UCF-11, `<class>/Annotation/<name>.xgtf`.
    """
    own = root / "annotations" / id
    theirs = root / id.split("/")[0] / "Annotation" / id.split("/")[-1]
    places = [*map(own.with_suffix, ANNOTATIONS), theirs.with_suffix(".xgtf")]
    return next((file for file in places if file.is_file()), None)


def is_arranged(root: Path) -> bool:
    """Whether the owner of a folder says himself which clips belong together or test."""
    return any((root / name).is_file() for name in (GROUPS, *_SPLIT_FILES.values()))


def is_clip(file: Path) -> bool:
    """Whether a file calls itself a video; a hidden file (macOS writes `._clip.avi`) never does."""
    return file.suffix.lower() in SUFFIXES and not file.name.startswith(".") and file.is_file()


def _class_of(file: Path, root: Path) -> str:
    return file.relative_to(root).parts[0]


def _warn_of_empty_folders(root: Path, classes: Sequence[str]) -> None:
    for folder in class_folders(root):
        if folder.name not in classes:
            log.warning("%s: no video in this folder; it is left out of the classes", folder)


def _splits(root: Path, ids: frozenset[str]) -> dict[str, dict[str, frozenset[str]]]:
    splits: dict[str, frozenset[str]] = {}
    for name, place in _SPLIT_FILES.items():
        file = root / place
        if file.is_file():
            listed = frozenset(read_lines(file)) - {""}
            warn_unknown(file, listed - ids, ids)
            splits[name] = listed & ids
    for one, other in (("train", "test"), ("train", "validation"), ("validation", "test")):
        both = splits.get(one, frozenset()) & splits.get(other, frozenset())
        if both:
            raise GlimpsesError(
                f"{root / 'splits'}: {min(both)} is listed in both {one}.txt and {other}.txt"
            )
    return {"listed": splits} if splits else {}
