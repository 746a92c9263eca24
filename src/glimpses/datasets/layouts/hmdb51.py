"""HMDB-51, as unpacked from hmdb51_org.rar and test_train_splits.rar."""

from __future__ import annotations

import logging
import os
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from glimpses.datasets.base import ActionDataset, Clip
from glimpses.datasets.groups import source_in_name
from glimpses.datasets.layouts import folder
from glimpses.datasets.layouts.list_files import (
    by_key,
    read_marks,
    warn_missing,
    warn_unlisted,
)
from glimpses.utils.errors import GlimpsesError

log = logging.getLogger(__name__)

_LIST = re.compile(r"(?P<label>[^.].*)_test_split(?P<split>\d+)\.txt")
_MARKS = {"0": "unused", "1": "train", "2": "test"}
# Clips of a class that train and that test, in every split.
_COUNTS = (70, 30)
# How far below the root lists and class folders may lie.
_DEPTH = 3


@dataclass(frozen=True)
class _Place:
    """Where the clips lie, and the lists by split and class."""

    clips: Path
    lists: Path
    files: Mapping[str, Mapping[str, Path]]


def recognise(root: Path) -> bool:
    """Whether there are lists `<class>_test_split<N>.txt` for most of the folders of clips.

    A `groups.csv` or lists of another form mean that its owner has other plans for it.
    """
    place = _find(root)
    if place is None or folder.is_arranged(place.clips):
        return False
    listed = {label for files in place.files.values() for label in files}
    classes = [one.name for one in folder.class_folders(place.clips) if _has_clip(one)]
    return sum(name in listed for name in classes) > len(classes) / 2


def load(root: Path) -> ActionDataset:
    """Read HMDB-51: a folder of clips per class, and the official lists.

    The lists, `<class>_test_split<N>.txt` with lines `name.avi 1` (1 trains, 2 tests, 0 is unused
    in that split), lie in any folder inside `root` or in a folder beside it that is called
    something with `split`. The splits are named after their numbers, `1`, `2` and `3`. A clip's
    group is the film it was cut from, by its name. The lists are used as they are, even though a
    few films have clips on both sides.

    Only classes with a clip count, so a part of the set can be used. Listed clips that are not
    there, and clips that a split's lists do not name (they are on none of its sides), give one
    warning each. Lists that are damaged or missing could change the score and are refused.

    Args:
        root: the folder that holds class folders and lists, or the folder of class folders.

    Raises:
        GlimpsesError: there are no lists or no clips; a class with clips has no list in one of
            the splits; a line cannot be read or contradicts another one.
    """
    place = _find(root)
    if place is None:
        raise GlimpsesError(
            f"{root}: is not laid out as HMDB-51; it needs class folders with clips and, inside or "
            "beside, a folder with the lists brush_hair_test_split1.txt and so on"
        )
    base = place.clips
    of_class: dict[str, list[Path]] = defaultdict(list)
    for file in folder.clip_files(base):
        of_class[file.relative_to(base).parts[0]].append(file)
    classes = tuple(sorted(of_class))
    _require_lists(place, classes)
    there = {label: by_key(files) for label, files in of_class.items()}
    ids = {file: file.relative_to(base).as_posix() for files in of_class.values() for file in files}
    splits: dict[str, dict[str, frozenset[str]]] = {}
    listed: set[tuple[str, str]] = set()
    absent: set[tuple[str, str]] = set()
    unlisted: set[str] = set()
    altered: list[Path] = []
    for name, files in sorted(place.files.items(), key=lambda entry: int(entry[0])):
        sides: dict[str, set[str]] = {"train": set(), "test": set(), "unused": set()}
        for label, file in sorted(files.items()):
            own = there.get(label, {})
            marks = read_marks(file, _MARKS, files=True)
            if own and not marks:
                raise GlimpsesError(f"{file}: is empty; restore the distributor's list")
            marked = list(marks.values())
            if (marked.count("1"), marked.count("2")) != _COUNTS:
                altered.append(file)
            for key, mark in marks.items():
                listed.add((label, key))
                if key in own:
                    sides[_MARKS[mark]].add(ids[own[key]])
                else:
                    absent.add((label, key))
            unlisted.update(ids[own[key]] for key in own.keys() - marks.keys())
        splits[name] = {side: frozenset(sides[side]) for side in ("train", "test")}
    _warn_of_altered(place, altered)
    warn_missing(place.lists, {"/".join(clip) for clip in absent}, len(listed))
    warn_unlisted(place.lists, unlisted, "they neither train nor test in such a split")
    clips = tuple(
        Clip(id, file, (classes.index(id.split("/")[0]),), source_in_name(id) or id)
        for file, id in sorted(ids.items(), key=lambda entry: entry[1])
    )
    lists = tuple(sorted(file for files in place.files.values() for file in files.values()))
    return ActionDataset(base, classes, clips, splits=splits, lists=lists, layout="hmdb51")


def _require_lists(place: _Place, classes: tuple[str, ...]) -> None:
    for label in classes:
        for split, files in place.files.items():
            if label not in files:
                raise GlimpsesError(
                    f"{place.lists / f'{label}_test_split{split}.txt'}: is not there, so nothing "
                    f"says what the clips in {place.clips / label} are for; restore it, or take "
                    "that folder away"
                )


def _warn_of_altered(place: _Place, altered: list[Path]) -> None:
    """Say once if the lists are not all there, or do not hold what the distributor's do."""
    missing = sorted({"1", "2", "3"} - place.files.keys())
    if missing:
        log.warning(
            "%s: holds no lists of split %s; scores are not means over the official three",
            place.lists,
            ", ".join(missing),
        )
    if altered:
        log.warning(
            "%s: %d lists do not hold 70 clips for training and 30 for testing, as the "
            "distributor's do (%s)",
            place.lists,
            len(altered),
            min(altered).name,
        )


def _find(root: Path) -> _Place | None:
    """Look for lists, and for the topmost folder of class folders that they are about."""
    if not root.is_dir():
        return None
    files = list(_lists_in(root, _DEPTH)) or [
        file
        for beside in sorted(root.resolve().parent.glob("*[Ss]plit*/"))
        for file in _lists_in(beside, 1)
    ]
    by_folder: dict[Path, dict[str, dict[str, Path]]] = {}
    for file, label, split in files:
        by_folder.setdefault(file.parent, {}).setdefault(split, {})[label] = file
    if not by_folder:
        return None
    lists = max(by_folder, key=lambda one: sum(map(len, by_folder[one].values())))
    labels = {label for files in by_folder[lists].values() for label in files}
    for base in _folders_in(root, _DEPTH - 1):
        if any(one.name in labels and _has_clip(one) for one in folder.class_folders(base)):
            others = sorted(map(str, by_folder.keys() - {lists}))
            if others:
                log.warning("%s: these lists are used, and not those in %s", lists, others[0])
            return _Place(base, lists, by_folder[lists])
    return None


def _has_clip(one: Path) -> bool:
    return any(True for _ in folder.clips_in(one))


def _lists_in(root: Path, depth: int) -> Iterator[tuple[Path, str, str]]:
    """Lists in a folder and in those down to a depth: (file, class, split)."""
    for one in _folders_in(root, depth):
        for file in sorted(one.iterdir()):
            if (known := _LIST.fullmatch(file.name)) and file.is_file():
                yield file, known["label"], known["split"]


def _folders_in(root: Path, depth: int) -> list[Path]:
    """A folder and those in it down to a depth, the topmost first; hidden ones left out."""
    found = [root]
    for path, names, _ in os.walk(root):
        inside = Path(path)
        names[:] = sorted(name for name in names if not name.startswith("."))
        if len(inside.relative_to(root).parts) >= depth:
            names.clear()
        found += [inside / name for name in names]
    return sorted(found, key=lambda one: len(one.parts))
