"""Groups of clips from one recording, from `groups.csv` or from file names."""

from __future__ import annotations

import csv
import io
import logging
import re
from collections.abc import Mapping
from pathlib import Path

from glimpses.datasets.base import ActionDataset
from glimpses.datasets.layouts.list_files import warn_unknown
from glimpses.utils.errors import GlimpsesError, pluralise
from glimpses.utils.files import read_text

log = logging.getLogger(__name__)

#: Name of the list, which is beside the class folders.
GROUPS = "groups.csv"

# UCF-101: v_Diving_g01_c02; UCF-11: v_shooting_01_02; the synthetic set: v_jump_01_02. Numbers
# start again in every class, so the class belongs to the group.
_UCF = re.compile(r"(?P<group>v_.+_g?\d+)_c?\d+")
# Kinetics: a YouTube id, start and end of the clip in seconds.
_KINETICS = re.compile(r"(?P<video>[\w-]{11})_\d{6}_\d{6}")
# HMDB-51: FILM_wave_u_cm_np1_fr_goo_0. One film may show several actions.
_HMDB = re.compile(r"(?P<film>.+)_[fhlu]_(cm|nm)_np\d+_(ba|bo|fr|le|ri)_(goo|med|bad)_\d+")


def read_groups(
    root: Path, class_of: Mapping[str, str]
) -> tuple[Mapping[str, str], Mapping[str, tuple[str, ...]]]:
    """Return the known groups, and the class names in `groups.csv`, both by clip id.

    Args:
        root: folder of `groups.csv`.
        class_of: class folder of every clip, by id; empty for a clip that is in none.

    Raises:
        GlimpsesError: `groups.csv` is malformed, or contradicts the folders or itself.
    """
    file = root / GROUPS
    if file.is_file():
        return _read_list(file, class_of)
    return groups_from_names(class_of), {}


def groups_from_names(class_of: Mapping[str, str]) -> Mapping[str, str]:
    """Return the groups in the file names of clips; none if most names follow no pattern."""
    groups = {
        id: group
        for id, label in class_of.items()
        if (group := group_from_name(id, label)) is not None
    }
    # A pattern that matches only a few names does so by chance.
    return groups if len(groups) > len(class_of) / 2 else {}


def warn_ungrouped(dataset: ActionDataset) -> None:
    """Warn if the groups of a user's clips are unknown."""
    # Hollywood2's lists keep films apart without naming them, as a user's own subsets may.
    users = dataset.layout == "folder" or (
        dataset.layout in {"subsets", "table"} and not dataset.splits
    )
    if dataset.grouped or not users:
        return
    file = dataset.root / GROUPS
    if file.is_file():
        problem, remedy = f"{file}: lists none of the clips", "list them"
    elif dataset.layout == "table":
        problem, remedy = f"{dataset.lists[0]}: has no column 'group'", "add it"
    else:
        problem, remedy = f"{dataset.root}: has no groups", f"add a {GROUPS} (clip,label,group)"
    log.warning(
        "%s, so each clip counts as its own group. If several clips come from one recording, %s; "
        "otherwise the scores will be too high and their intervals too narrow",
        problem,
        remedy,
    )


def group_from_name(id: str, label: str | None = None) -> str | None:
    """Return the group in a file name of UCF's, HMDB's or Kinetics' pattern; None for others.

    Args:
        id: id of the clip.
        label: its class; by default the first folder of `id`.
    """
    label, stem = id.split("/")[0] if label is None else label, Path(id).stem
    if match := _UCF.fullmatch(stem):
        return f"{label}/{match['group']}"
    if match := _HMDB.fullmatch(stem):
        return match["film"].removesuffix(f"_{label}")
    if match := _KINETICS.fullmatch(stem):
        return match["video"]
    return None


def _read_list(
    file: Path, class_of: Mapping[str, str]
) -> tuple[Mapping[str, str], Mapping[str, tuple[str, ...]]]:
    clips = class_of.keys()
    groups: dict[str, str] = {}
    labels: dict[str, tuple[str, ...]] = {}
    for number, row in enumerate(_rows(file), start=2):
        id, label, group = ((row.get(name) or "").strip() for name in ("clip", "label", "group"))
        if not group:
            raise GlimpsesError(f"{file}: line {number} has no group")
        if id in groups and groups[id] != group:
            raise GlimpsesError(
                f"{file}: line {number} puts {id} into group {group}, "
                f"an earlier line into {groups[id]}"
            )
        groups[id] = group
        names = tuple(dict.fromkeys(name.strip() for name in label.split("|")))
        if id in clips and label:
            if class_of[id] and class_of[id] not in names:
                raise GlimpsesError(
                    f"{file}: line {number} labels {id} '{label}', but the clip is in the folder "
                    "of another class"
                )
            labels[id] = names
    warn_unknown(file, groups.keys() - clips, clips)
    unlisted = sorted(clips - groups.keys())
    if unlisted:
        log.warning(
            "%s: does not list %s (%s); each counts as its own group",
            file,
            pluralise(len(unlisted), "clip"),
            unlisted[0],
        )
    return {id: group for id, group in groups.items() if id in clips}, labels


def _rows(file: Path) -> list[dict[str, str]]:
    try:
        reader = csv.DictReader(io.StringIO(read_text(file), newline=""))
        rows, columns = list(reader), set(reader.fieldnames or ())
    except (UnicodeDecodeError, csv.Error) as error:
        raise GlimpsesError(f"{file}: is not a CSV file in UTF-8 ({error})") from error
    if not {"clip", "group"} <= columns:
        raise GlimpsesError(f"{file}: needs the columns clip,label,group; has {sorted(columns)}")
    return rows
