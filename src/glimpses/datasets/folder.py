"""A folder of class folders: its clips, what they show, and which source each is from."""

from __future__ import annotations

import csv
import logging
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from glimpses.datasets.base import ActionDataset, Clip
from glimpses.errors import GlimpsesError
from glimpses.video import SUFFIXES

log = logging.getLogger(__name__)

# Folders that stand beside or inside class folders and hold no clips.
_NO_CLASSES = frozenset({"annotation", "annotations", "splits"})

# How public data sets write the source of a clip into its file name.
_SOURCE_IN_NAME = (
    # UCF-101: v_Diving_g01_c02; UCF-11: v_shooting_01_02; the generated set: v_jump_01_02
    re.compile(r"(?P<group>v_.+_g?\d+)_c?\d+"),
    # HMDB-51: NAME_wave_u_cm_np1_fr_goo_0, where NAME is the film or video it was cut from
    re.compile(r"(?P<group>.+)_[fhlu]_(cm|nm)_np\d+_(ba|bo|fr|le|ri)_(goo|med|bad)_\d+"),
)


def load(root: Path) -> ActionDataset:
    """Read a folder with one folder of clips per action, as UCF-11 and most private sets are.

    Clips may lie in further folders inside their class's. Groups come from `groups.csv` (columns
    `clip,label,group`, `clip` relative to `root`) where it stands beside the class folders, else
    from the file names where they follow UCF's or HMDB's pattern; failing both, every clip counts
    as a source of its own. Files `splits/train.txt`, `splits/validation.txt` and
    `splits/test.txt`, one clip id a line, are used as they are.

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
    groups = _groups(root, ids)
    clips = tuple(
        Clip(
            id=id,
            path=file,
            labels=(classes.index(_class_of(file, root)),),
            group=groups.get(id, id),
            annotation=_annotation(root, id),
        )
        for id, file in zip(ids, files, strict=True)
    )
    return ActionDataset(
        root=root,
        classes=classes,
        clips=clips,
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
    files = sorted(
        file for folder in class_folders(root) for file in _visible(folder) if is_clip(file)
    )
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


def is_clip(file: Path) -> bool:
    """Whether a file calls itself a video; a hidden file (macOS writes `._clip.avi`) never does."""
    return file.suffix.lower() in SUFFIXES and not file.name.startswith(".") and file.is_file()


def _visible(folder: Path) -> Iterator[Path]:
    for file in folder.rglob("*"):
        inside = file.relative_to(folder).parts[:-1]
        if not any(part.startswith(".") or part.lower() in _NO_CLASSES for part in inside):
            yield file


def _class_of(file: Path, root: Path) -> str:
    return file.relative_to(root).parts[0]


def _warn_of_empty_folders(root: Path, classes: Sequence[str]) -> None:
    for folder in class_folders(root):
        if folder.name not in classes:
            log.warning("%s: no video in this folder; it is left out of the classes", folder)


def _groups(root: Path, ids: Sequence[str]) -> dict[str, str]:
    """Group of each clip that has a known one; empty where nothing tells."""
    listed = root / "groups.csv"
    if listed.is_file():
        return _listed_groups(listed, ids)
    groups = {id: group for id in ids if (group := _group_in_name(id)) is not None}
    # A pattern that fits only a few names by chance says nothing about the data set.
    return groups if len(groups) > len(ids) / 2 else {}


def _group_in_name(id: str) -> str | None:
    """Source of a clip by its file name; class and folder belong to it, as numbers are reused."""
    folder, _, name = id.rpartition("/")
    for pattern in _SOURCE_IN_NAME:
        found = pattern.fullmatch(Path(name).stem)
        if found:
            return f"{folder.split('/')[0]}/{found['group']}"
    return None


def _listed_groups(listed: Path, ids: Sequence[str]) -> dict[str, str]:
    try:
        with listed.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            rows = list(reader)
            columns = set(reader.fieldnames or ())
    except (UnicodeDecodeError, csv.Error) as error:
        raise GlimpsesError(f"{listed}: is no CSV file in UTF-8 ({error})") from error
    if not {"clip", "group"} <= columns:
        raise GlimpsesError(f"{listed}: needs the columns clip,label,group; has {sorted(columns)}")
    known = set(ids)
    groups: dict[str, str] = {}
    for number, row in enumerate(rows, start=2):
        id, label, group = (
            (row.get(column) or "").strip() for column in ("clip", "label", "group")
        )
        if not group:
            raise GlimpsesError(f"{listed}: line {number} has no group")
        if id in groups and groups[id] != group:
            raise GlimpsesError(
                f"{listed}: line {number} puts {id} into group {group}, "
                f"an earlier line into {groups[id]}"
            )
        if id in known and label and label != id.split("/")[0]:
            raise GlimpsesError(
                f"{listed}: line {number} calls {id} '{label}', but it lies in another class's "
                "folder"
            )
        groups[id] = group
    absent = sorted(set(groups) - known)
    if absent:
        log.warning("%s: %d listed clips are not there (%s, ...)", listed, len(absent), absent[0])
    unlisted = sorted(known - set(groups))
    if unlisted:
        log.warning(
            "%s: does not list %d clips (%s, ...); each counts as a source of its own",
            listed,
            len(unlisted),
            unlisted[0],
        )
    return {id: group for id, group in groups.items() if id in known}


def _splits(root: Path, ids: frozenset[str]) -> dict[str, frozenset[str]]:
    splits: dict[str, frozenset[str]] = {}
    for name in ("train", "validation", "test"):
        file = root / "splits" / f"{name}.txt"
        if file.is_file():
            listed = frozenset(file.read_text(encoding="utf-8").split("\n")) - {""}
            absent = sorted(listed - ids)
            if absent:
                log.warning("%s: %d listed clips are not there (%s)", file, len(absent), absent[0])
            splits[name] = listed & ids
    for one, other in (("train", "test"), ("train", "validation"), ("validation", "test")):
        both = splits.get(one, frozenset()) & splits.get(other, frozenset())
        if both:
            raise GlimpsesError(
                f"{root / 'splits'}: {min(both)} is listed in both {one}.txt and {other}.txt"
            )
    return splits


def _annotation(root: Path, id: str) -> Path | None:
    file = (root / "annotations" / id).with_suffix(".npz")
    return file if file.is_file() else None
