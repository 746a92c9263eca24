"""Layout with the labels of clips in tables: CSV, lists, JSON or JSON Lines."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from glimpses.datasets.base import ActionDataset
from glimpses.datasets.groups import GROUPS, groups_from_names, read_groups
from glimpses.datasets.layouts import folder
from glimpses.datasets.layouts.subset_names import SUBSETS, own_split
from glimpses.datasets.layouts.table_entries import (
    Entry,
    check_contradictions,
    collect,
    drop_unlabelled,
    label_by_folder,
    name_classes,
    no_labels,
)
from glimpses.datasets.layouts.table_files import (
    ClipFiles,
    class_names,
    common_folder,
    subset_of_file,
    table_files,
)
from glimpses.datasets.layouts.table_rows import TABLE_SUFFIXES, Table, read_table
from glimpses.datasets.layouts.video_files import is_clip, tell_left_out
from glimpses.utils.errors import GlimpsesError

log = logging.getLogger(__name__)


def matches(root: Path) -> bool:
    """Return whether a file is a table, or a folder contains tables that label its clips.

    Raises:
        GlimpsesError: a folder has no class folders, and its tables cannot be read.
    """
    if root.is_file():
        return root.suffix.lower() in TABLE_SUFFIXES
    return bool(table_files(root)) and bool(_read_tables(root, ClipFiles(root)))


def load(root: Path) -> ActionDataset:
    """Read clips whose labels are in tables beside them, or in a table given by itself.

    A folder may have a table of all clips (such as `labels.csv`, `metadata.csv` or
    `annotations.jsonl`) or one for each subset, with its name in that of the file (such as
    `train.csv`, `val.csv` and `test.csv`). Tables are in the folder itself, in folders called
    `annotations`, `labels`, `lists` or `metadata`, or in those of subsets. Their rows are taken
    together. Columns are found by their names; see docs/data.md. If no table has labels, these
    come from class folders.

    Subsets, from a column or from the names of the tables, define the split `listed`. Groups come
    from a column, from the YouTube ids of Kinetics, from `groups.csv`, or from file names.

    Args:
        root: the folder of the tables, or one table.

    Raises:
        GlimpsesError: a table cannot be read; rows contradict each other; most of the listed
            files do not exist; or no listed clip is left.
    """
    if not root.exists():
        raise GlimpsesError(f"{root}: no such file or folder; check its name")
    root = Path(os.path.normpath(root.absolute()))
    base = root if root.is_dir() else _folder_of_clips(root.parent)
    clips = ClipFiles(base)
    tables = _read_tables(root, clips) if root.is_dir() else [read_table(root, clips.has)]
    if not tables:
        raise GlimpsesError(
            f"{root}: has no table of clips; write a labels.csv with the columns path,label"
        )
    entries = collect(tables, clips)
    listed = set(entries)
    if any(table.has_labels for table in tables):
        name_classes(entries, _class_names(root, clips))
        drop_unlabelled(entries, tables)
        check_contradictions(entries)
    else:
        label_by_folder(entries, clips)
        drop_unlabelled(entries, tables)
    if root.is_dir():
        tell_left_out(base, clips.files, listed | entries.keys(), "in no table")
    return _dataset(base, entries, tables)


def _dataset(base: Path, entries: Mapping[Path, Entry], tables: Sequence[Table]) -> ActionDataset:
    lists = tuple(table.file for table in tables)
    groups_file = base / GROUPS
    if any(base not in file.parents for file in entries):
        base = common_folder(entries)
    ids = {file.relative_to(base).as_posix(): file for file in entries}
    labels = {id: entries[file].labels for id, file in ids.items()}
    names = {label for texts in labels.values() for label in texts}
    numbered = all(map(str.isdecimal, names))
    groups: Mapping[str, str] = {
        id: group for id, file in ids.items() if (group := entries[file].group)
    }
    if not groups and groups_file.is_file():
        groups, _ = read_groups(groups_file.parent, dict.fromkeys(ids, ""))
    elif not groups:
        groups = groups_from_names({id: "|".join(texts) for id, texts in labels.items()})
    subsets = {
        name: [id for id, file in ids.items() if entries[file].subset == name] for name in SUBSETS
    }
    return folder.labelled(
        base, ids, labels, groups, own_split(subsets, base), layout="table", lists=lists,
        classes=tuple(sorted(names, key=int if numbered else None)),
    )  # fmt: skip


def _read_tables(root: Path, clips: ClipFiles) -> list[Table]:
    """Return the tables of a folder that state a label, subset or group.

    Files that are no such table are refused only if there are no class folders either.
    """
    tables, problems = [], []
    for file in table_files(root):
        try:
            if class_names(file, clips) is None:
                tables.append(read_table(file, clips.has))
        except GlimpsesError as error:
            problems.append(error)
    used = [
        table
        for table in tables
        if table.has_labels
        or subset_of_file(table.file)
        or any(row.subset or row.group for row in table.rows)
    ]
    if not used and (tables or problems) and not _has_class_folders(root):
        raise problems[0] if problems else no_labels(tables[0])
    for problem in problems:
        log.warning("%s; this file is left out", problem)
    return used


def _has_class_folders(root: Path) -> bool:
    return any(any(folder.clips_in(child)) for child in folder.class_folders(root))


def _class_names(root: Path, clips: ClipFiles) -> dict[str, str]:
    """Return the names of the classes by their numbers, from the first file that lists them."""
    folders = {clips.root, root.parent} if root.is_file() else {root}
    folders |= {file.parent for place in folders for file in table_files(place)}
    for file in sorted(file for place in folders for file in place.iterdir() if file.is_file()):
        try:
            if names := class_names(file, clips):
                return names
        except GlimpsesError as error:
            log.warning("%s; this file is left out", error)
    return {}


def _folder_of_clips(parent: Path) -> Path:
    """Return the folder of a table, or the one above if it has no clips, as in `annotations/`."""
    has_clips = any(map(is_clip, parent.iterdir())) or _has_class_folders(parent)
    return parent if has_clips else parent.parent
