"""Entries of clips, merged from the rows of all tables that list them."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from glimpses.datasets.layouts.subset_names import named_subset
from glimpses.datasets.layouts.table_files import ClipFiles, subset_of_file
from glimpses.datasets.layouts.table_rows import Row, Table
from glimpses.utils.errors import GlimpsesError, pluralise

log = logging.getLogger(__name__)

# Fewer clips with rows of different labels are mistakes, more are clips of several labels.
_CONTRADICTIONS = 0.05


@dataclass
class Entry:
    """Merged rows of all tables about one clip.

    Attributes:
        rows: the rows.
        labels: names of its classes.
        subset: its subset, if any.
        group: its group, if any.
    """

    rows: list[Row] = field(default_factory=list)
    labels: tuple[str, ...] = ()
    subset: str | None = None
    group: str | None = None

    def add(self, row: Row) -> None:
        """Merge a row into the entry.

        Raises:
            GlimpsesError: it contradicts an earlier row.
        """
        for other in self.rows:
            where = f"line {other.line} of {other.table.name}"
            if None not in (row.span, other.span) and row.span != other.span:
                raise GlimpsesError(
                    f"{row.place}: {row.name} has another start or end in {where}; cut the video "
                    "into a clip for each row"
                )
            for kind, value, earlier in (
                ("subset", row.subset, other.subset), ("group", row.group, other.group),
            ):  # fmt: skip
                if value and earlier and value != earlier:
                    raise GlimpsesError(
                        f"{row.place}: {row.name} is in {kind} {value}, but in {earlier} in "
                        f"{where}; correct one of them"
                    )
        self.rows.append(row)
        self.labels = tuple(dict.fromkeys((*self.labels, *row.labels)))
        self.subset = self.subset or row.subset
        self.group = self.group or row.group


def collect(tables: Sequence[Table], clips: ClipFiles) -> dict[Path, Entry]:
    """Return the entry of every clip that exists, sorted by path; warn about missing ones.

    Raises:
        GlimpsesError: rows contradict each other, or most of the listed files do not exist.
    """
    entries: defaultdict[Path, Entry] = defaultdict(Entry)
    for table in tables:
        missing, seen, repeated = [], set[Path](), []
        subset = subset_of_file(table.file)
        for row in table.rows:
            file = clips.find(row)
            if file is None:
                missing.append(row)
                continue
            entries[file].add(replace(row, subset=row.subset or subset))
            if file in seen:
                repeated.append(row)
            seen.add(file)
        if repeated:
            log.info(
                "%s: clips with more than one row: %s (line %d: %s)", table.file,
                pluralise(len(repeated), "more row"), repeated[0].line, repeated[0].name,
            )  # fmt: skip
        _report_missing(table, missing)
    if not entries:
        raise GlimpsesError(
            f"{tables[0].file}: none of the listed clips is below {clips.root}; correct the "
            "names, or remove the table"
        )
    return dict(sorted(entries.items()))


def _report_missing(table: Table, missing: Sequence[Row]) -> None:
    if not missing:
        return
    some = f"{len(missing)} of {pluralise(len(table.rows), 'row')}"
    example = f"line {missing[0].line}: {missing[0].name}"
    # Lists of ids are those of public sets, of which most people have a part.
    if len(missing) > len(table.rows) / 2 and not table.by_id:
        raise GlimpsesError(
            f"{table.file}: {some} name no video that exists ({example}); write paths relative to "
            "the table or to the folder of the data set, or absolute ones"
        )
    log.warning("%s: %s name no video that exists (%s); left out", table.file, some, example)


def label_by_folder(entries: dict[Path, Entry], clips: ClipFiles) -> None:
    """Label all clips of a folder by their class folders, for tables without labels."""
    for id, file in clips.videos.items():
        folders = id.split("/")[:-1]
        if len(folders) > 1 and named_subset(folders[0]):
            folders = folders[1:]
        if folders:
            entries.setdefault(file, Entry()).labels = (folders[0],)


def drop_unlabelled(entries: dict[Path, Entry], tables: Sequence[Table]) -> None:
    """Remove the clips without a label, with a warning.

    Raises:
        GlimpsesError: none is left.
    """
    unlabelled = [file for file, entry in entries.items() if not entry.labels]
    if len(unlabelled) == len(entries):
        raise no_labels(tables[0])
    if unlabelled:
        row = entries[unlabelled[0]].rows[0]
        log.warning(
            "%s: %s no label (line %d: %s); left out", row.table,
            "1 clip has" if len(unlabelled) == 1 else f"{len(unlabelled)} clips have",
            row.line, row.name,
        )  # fmt: skip
    for file in unlabelled:
        del entries[file]


def no_labels(table: Table) -> GlimpsesError:
    """Return the error for a table that labels no clip."""
    return GlimpsesError(
        f"{table.file}: labels no clip (columns: {', '.join(table.columns[:8])}); call the column "
        "of the classes label"
    )


def check_contradictions(entries: Mapping[Path, Entry]) -> None:
    """Refuse a few clips with rows of different labels, unless clips have several labels anyway.

    Raises:
        GlimpsesError: rows of different labels are so few that they look like mistakes.
    """
    several = [entry for entry in entries.values() if len(entry.labels) > 1]
    if not several:
        return
    by_rows = all(len(row.labels) < 2 for entry in several for row in entry.rows)
    if by_rows and len(several) < _CONTRADICTIONS * len(entries):
        first = several[0].rows[0]
        other = next(row for row in several[0].rows if row.labels not in ((), first.labels))
        labels = " and ".join(f"'{label}'" for label in several[0].labels[:3])
        raise GlimpsesError(
            f"{other.place}: {other.name} is labelled {labels} (line {first.line} of "
            f"{first.table.name}); correct it, or write {'|'.join(several[0].labels[:3])} if the "
            "clip shows both"
        )
    log.info(
        "%s: %d of %d clips have several labels, so every class gets a probability of its own",
        several[0].rows[0].table, len(several), len(entries),
    )  # fmt: skip


def name_classes(entries: Mapping[Path, Entry], names: Mapping[str, str]) -> None:
    """Replace the numbers of classes by names, as far as these are known.

    Names come from other tables, from a list of names, or from folders if each class has its own.

    Raises:
        GlimpsesError: the list of names lacks a number.
    """
    for entry in entries.values():
        texts = tuple(label for label in entry.labels if not label.isdecimal())
        if texts and len({row.table for row in entry.rows}) > 1:
            entry.labels = texts
    labels = {label for entry in entries.values() for label in entry.labels}
    if not labels or not all(map(str.isdecimal, labels)):
        return
    if names and (unknown := sorted(labels - names.keys())):
        row = next(
            row for entry in entries.values() for row in entry.rows if unknown[0] in row.labels
        )
        raise GlimpsesError(
            f"{row.place} has class {unknown[0]}, but the list of {len(names)} class names has no "
            "such number; complete the list"
        )
    names = names or _folder_names(entries)
    for entry in entries.values():
        entry.labels = tuple(names.get(label, label) for label in entry.labels)


def _folder_names(entries: Mapping[Path, Entry]) -> dict[str, str]:
    """Return the folder of each class; empty if not every class has a folder of its own."""
    pairs = {(label, file.parent.name) for file, entry in entries.items() for label in entry.labels}
    names = dict(pairs)
    return names if len(names) == len(pairs) == len({*names.values()}) else {}
