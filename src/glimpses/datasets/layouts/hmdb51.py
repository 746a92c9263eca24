"""Layout of HMDB-51, as unpacked from hmdb51_org.rar and test_train_splits.rar."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from glimpses.datasets.base import ActionDataset, Clip
from glimpses.datasets.groups import group_from_name
from glimpses.datasets.layouts import folder
from glimpses.datasets.layouts.class_lists import folders_in, lists_in, read_splits
from glimpses.utils.errors import GlimpsesError

log = logging.getLogger(__name__)

_MARKS = {"0": "unused", "1": "train", "2": "test"}
# Training and test clips of each class, in every split.
_COUNTS = (70, 30)
# Depth below the root to which lists and class folders are searched.
_DEPTH = 3


@dataclass(frozen=True)
class _Tree:
    """Folder of class folders, folder of lists, and the lists by split and class."""

    clips: Path
    lists: Path
    files: Mapping[str, Mapping[str, Path]]


def matches(root: Path) -> bool:
    """Return whether lists `<class>_test_split<N>.txt` exist for most of the folders of clips.

    A folder with `groups.csv` or lists in `splits/` does not match: its user defined other splits.
    """
    tree = _find(root)
    if tree is None or folder.has_user_lists(tree.clips):
        return False
    listed = {label for files in tree.files.values() for label in files}
    classes = [child.name for child in folder.class_folders(tree.clips) if _has_clip(child)]
    return sum(name in listed for name in classes) > len(classes) / 2


def load(root: Path) -> ActionDataset:
    """Read HMDB-51: a folder of clips per class, and the official lists.

    The lists, `<class>_test_split<N>.txt` with lines `name.avi 1` (1 trains, 2 tests, 0 is unused
    in that split), are in any folder inside `root`, or in a folder beside it with `split` in its
    name. The splits are named after their numbers, `1`, `2` and `3`. A clip's group is the film in
    its name. The lists are used unchanged, although a few films have clips in both subsets.

    Only classes with a clip count, so a part of the set can be used. Listed clips that do not
    exist, and clips that a split does not list and therefore does not use, give one warning each.
    Lists that are damaged or missing could change the score and are refused.

    Args:
        root: the folder that contains class folders and lists, or the folder of class folders.

    Raises:
        GlimpsesError: there are no lists or no clips; a class with clips has no list in one of
            the splits; a line is malformed or contradicts another one.
    """
    tree = _find(root)
    if tree is None:
        raise GlimpsesError(
            f"{root}: does not have the layout of HMDB-51; it needs class folders with clips and, "
            "inside or beside it, a folder with the lists brush_hair_test_split1.txt and so on"
        )
    base = tree.clips
    files_of: dict[str, list[Path]] = defaultdict(list)
    for file in folder.clip_files(base):
        files_of[file.relative_to(base).parts[0]].append(file)
    classes = tuple(sorted(files_of))
    for label, split in product(classes, tree.files):
        if label not in tree.files[split]:
            raise GlimpsesError(
                f"{tree.lists / f'{label}_test_split{split}.txt'}: is missing, so the clips in "
                f"{base / label} have no subset; restore the list, or remove the folder"
            )
    ids = {file: file.relative_to(base).as_posix() for files in files_of.values() for file in files}
    splits, counts = read_splits(tree.lists, tree.files, files_of, ids, _MARKS)
    altered = [file for file, count in counts.items() if (count["train"], count["test"]) != _COUNTS]
    _warn_altered(tree, altered)
    clips = tuple(
        Clip(id, file, (classes.index(id.split("/")[0]),), group_from_name(id) or id)
        for file, id in sorted(ids.items(), key=lambda entry: entry[1])
    )
    all_lists = tuple(sorted(file for lists in tree.files.values() for file in lists.values()))
    return ActionDataset(base, classes, clips, splits=splits, lists=all_lists, layout="hmdb51")


def _warn_altered(tree: _Tree, altered: list[Path]) -> None:
    """Warn if lists are missing or differ from the distributor's."""
    missing = sorted({"1", "2", "3"} - tree.files.keys())
    if missing:
        log.warning(
            "%s: has no lists of split %s; scores are not means over the official three",
            tree.lists, ", ".join(missing),
        )  # fmt: skip
    if altered:
        log.warning(
            "%s: %d lists do not have 70 training and 30 test clips, as the distributor's do (%s)",
            tree.lists, len(altered), min(altered).name,
        )  # fmt: skip


def _find(root: Path) -> _Tree | None:
    """Search for lists, and for the topmost folder of class folders that they belong to."""
    if not root.is_dir():
        return None
    entries = list(lists_in(root, _DEPTH)) or [
        entry
        for beside in sorted(root.resolve().parent.glob("*[Ss]plit*/"))
        for entry in lists_in(beside, 1)
    ]
    by_folder: dict[Path, dict[str, dict[str, Path]]] = {}
    for file, label, split in entries:
        by_folder.setdefault(file.parent, {}).setdefault(split, {})[label] = file
    if not by_folder:
        return None
    lists = max(by_folder, key=lambda candidate: sum(map(len, by_folder[candidate].values())))
    labels = {label for files in by_folder[lists].values() for label in files}
    for base in folders_in(root, _DEPTH - 1):
        if any(child.name in labels and _has_clip(child) for child in folder.class_folders(base)):
            others = sorted(map(str, by_folder.keys() - {lists}))
            if others:
                log.warning("%s: using these lists instead of those in %s", lists, others[0])
            return _Tree(base, lists, by_folder[lists])
    return None


def _has_clip(class_folder: Path) -> bool:
    return any(True for _ in folder.clips_in(class_folder))
