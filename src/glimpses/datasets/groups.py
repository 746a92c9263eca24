"""Which recording each clip is from: said in `groups.csv`, or by the file names."""

from __future__ import annotations

import csv
import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from glimpses.datasets.base import ActionDataset
from glimpses.datasets.layouts.list_files import warn_unknown
from glimpses.utils.errors import GlimpsesError, pluralise

log = logging.getLogger(__name__)

#: The list, beside the class folders.
GROUPS = "groups.csv"

# UCF-101: v_Diving_g01_c02; UCF-11: v_shooting_01_02; the generated set: v_jump_01_02. Numbers
# start anew in every class, so the class belongs to the group.
_UCF = re.compile(r"(?P<group>v_.+_g?\d+)_c?\d+")
# HMDB-51: FILM_wave_u_cm_np1_fr_goo_0. One film may show several actions.
_HMDB = re.compile(r"(?P<film>.+)_[fhlu]_(cm|nm)_np\d+_(ba|bo|fr|le|ri)_(goo|med|bad)_\d+")


def read_groups(
    root: Path, ids: Sequence[str]
) -> tuple[Mapping[str, str], Mapping[str, tuple[str, ...]]]:
    """Group of each clip that has a known one, and labels of those that are listed with some.

    Raises:
        GlimpsesError: `groups.csv` is no such list, or contradicts the folders or itself.
    """
    listed = root / GROUPS
    if listed.is_file():
        return _listed(listed, ids)
    groups = {id: group for id in ids if (group := source_in_name(id)) is not None}
    # A pattern that fits only a few names by chance says nothing about the data set.
    return (groups if len(groups) > len(ids) / 2 else {}), {}


def warn_ungrouped(dataset: ActionDataset) -> None:
    """Say once where nothing tells which clips of a folder come from one recording."""
    # Hollywood2's lists keep films apart without saying which they are.
    if dataset.grouped or dataset.layout != "folder":
        return
    listed = dataset.root / GROUPS
    if listed.is_file():
        told, remedy = f"{listed}: lists none of the clips, so nothing tells", "list them"
    else:
        told, remedy = f"{dataset.root}: nothing tells", f"add a {GROUPS} (clip,label,group)"
    log.warning(
        "%s which clips come from one recording; each counts as its own source. If some share one, "
        "%s, or the scores will flatter",
        told,
        remedy,
    )


def source_in_name(id: str) -> str | None:
    """Source of a clip by its file name after UCF's or HMDB's manner; None if it tells none."""
    label, stem = id.split("/")[0], Path(id).stem
    if found := _UCF.fullmatch(stem):
        return f"{label}/{found['group']}"
    if found := _HMDB.fullmatch(stem):
        return found["film"].removesuffix(f"_{label}")
    return None


def _listed(
    listed: Path, ids: Sequence[str]
) -> tuple[Mapping[str, str], Mapping[str, tuple[str, ...]]]:
    known = set(ids)
    groups: dict[str, str] = {}
    labels: dict[str, tuple[str, ...]] = {}
    for number, row in enumerate(_rows(listed), start=2):
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
        groups[id] = group
        names = tuple(dict.fromkeys(name.strip() for name in label.split("|")))
        if id in known and label:
            if id.split("/")[0] not in names:
                raise GlimpsesError(
                    f"{listed}: line {number} calls {id} '{label}', but it lies in another "
                    "class's folder"
                )
            labels[id] = names
    absent = sorted(set(groups) - known)
    if absent:
        warn_unknown(listed, absent, known)
    unlisted = sorted(known - set(groups))
    if unlisted:
        log.warning(
            "%s: does not list %s (%s); each counts as a source of its own",
            listed,
            pluralise(len(unlisted), "clip"),
            unlisted[0],
        )
    return {id: group for id, group in groups.items() if id in known}, labels


def _rows(listed: Path) -> list[dict[str, str]]:
    try:
        with listed.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            rows = list(reader)
            columns = set(reader.fieldnames or ())
    except (UnicodeDecodeError, csv.Error) as error:
        raise GlimpsesError(f"{listed}: is no CSV file in UTF-8 ({error})") from error
    if not {"clip", "group"} <= columns:
        raise GlimpsesError(f"{listed}: needs the columns clip,label,group; has {sorted(columns)}")
    return rows
