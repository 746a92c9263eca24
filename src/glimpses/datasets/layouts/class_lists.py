"""Official lists of HMDB-51 and J-HMDB: one file for each class and split."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from glimpses.datasets.layouts.list_files import by_key, read_marks, warn_missing, warn_unlisted
from glimpses.utils.errors import GlimpsesError

_LIST = re.compile(r"(?P<label>[^.].*)_test_split(?P<split>\d+)\.txt")


def read_splits(
    folder: Path,
    lists: Mapping[str, Mapping[str, Path]],
    files_of: Mapping[str, Sequence[Path]],
    ids: Mapping[Path, str],
    marks: Mapping[str, str],
) -> tuple[dict[str, dict[str, frozenset[str]]], dict[Path, Counter[str]]]:
    """Read the subsets of every split, and how many clips each list has in each subset.

    Listed clips that do not exist, and clips that a split does not list, give one warning each.

    Args:
        folder: the folder of the lists, for messages.
        lists: the lists by split and class.
        files_of: the clips of each class.
        ids: the id of each clip.
        marks: subset of each mark: "train", "test" or "unused".

    Raises:
        GlimpsesError: a list is empty; a line is malformed or contradicts another one.
    """
    by_label = {label: by_key(files) for label, files in files_of.items()}
    splits: dict[str, dict[str, frozenset[str]]] = {}
    counts: dict[Path, Counter[str]] = {}
    listed, missing, unlisted = set[str](), set[str](), set[str]()
    for name, files in sorted(lists.items(), key=lambda entry: int(entry[0])):
        subsets: dict[str, set[str]] = {"train": set(), "test": set(), "unused": set()}
        for label, file in sorted(files.items()):
            clips = by_label.get(label, {})
            mark_of = read_marks(file, marks, files=True)
            if clips and not mark_of:
                raise GlimpsesError(f"{file}: is empty; restore the distributor's list")
            counts[file] = Counter(marks[mark] for mark in mark_of.values())
            listed.update(f"{label}/{key}" for key in mark_of)
            missing.update(f"{label}/{key}" for key in mark_of.keys() - clips.keys())
            for key in mark_of.keys() & clips.keys():
                subsets[marks[mark_of[key]]].add(ids[clips[key]])
            unlisted.update(ids[clips[key]] for key in clips.keys() - mark_of.keys())
        splits[name] = {subset: frozenset(subsets[subset]) for subset in ("train", "test")}
    warn_missing(folder, missing, len(listed))
    warn_unlisted(folder, unlisted, "unused in such a split")
    return splits, counts


def lists_in(root: Path, depth: int) -> Iterator[tuple[Path, str, str]]:
    """Yield (file, class, split) of every list in a folder, down to a depth."""
    for parent in folders_in(root, depth):
        for file in sorted(parent.iterdir()):
            if (match := _LIST.fullmatch(file.name)) and file.is_file():
                yield file, match["label"], match["split"]


def folders_in(root: Path, depth: int) -> list[Path]:
    """Return a folder and its subfolders down to a depth, topmost first, without hidden ones."""
    folders = [root]
    for path, names, _ in os.walk(root):
        inside = Path(path)
        names[:] = sorted(name for name in names if not name.startswith("."))
        if len(inside.relative_to(root).parts) >= depth:
            names.clear()
        folders += [inside / name for name in names]
    return sorted(folders, key=lambda path: len(path.parts))
