"""Layout of UCF-11, the YouTube Action data set, as unpacked from UCF11_updated_mpg.rar."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from pathlib import Path

from glimpses.datasets.base import ActionDataset, Clip
from glimpses.datasets.groups import group_from_name
from glimpses.datasets.layouts import folder
from glimpses.utils.errors import GlimpsesError, pluralise

log = logging.getLogger(__name__)

#: Prefix of the group names of each class.
PREFIXES: Mapping[str, str] = {
    "basketball": "v_shooting",
    "biking": "v_biking",
    "diving": "v_diving",
    "golf_swing": "v_golf",
    "horse_riding": "v_riding",
    "soccer_juggling": "v_juggle",
    "swing": "v_swing",
    "tennis_swing": "v_tennis",
    "trampoline_jumping": "v_jumping",
    "volleyball_spiking": "v_spiking",
    "walking": "v_walk_dog",
}

#: Test groups of the split `paper`. The paper trains on 975 clips and tests on 625, but the
#: authors' list is not public. Of all ranges of consecutive group numbers this is the only one
#: whose groups have exactly 625 of the 1600 clips; no recording is in both subsets.
PAPER_TEST_GROUPS = frozenset(range(5, 15))

_CLIP = re.compile(r"(?P<prefix>v_.+)_(?P<group>\d\d)_\d\d")


def matches(root: Path) -> bool:
    """Return whether a folder, or its only folder, has official classes and mostly such clips.

    A folder with `groups.csv` or lists in `splits/` does not match: its user defined other splits.
    """
    base = _base(root)
    if base is None or folder.has_user_lists(base):
        return False
    if base != root and len(folder.class_folders(root)) > 1:
        return False
    children = folder.class_folders(base)
    files = [file for child in children for file in folder.clips_in(child)]
    official = sum(_group_number(file, base) is not None for file in files)
    return all(child.name in PREFIXES for child in children) and official > len(files) / 2


def load(root: Path) -> ActionDataset:
    """Read UCF-11: `<class>/<v_prefix_GG>/<v_prefix_GG_CC>.mpg`, 1600 clips of 11 classes.

    The 25 groups of a class are recordings of one scene each; group 01 of one class is unrelated
    to that of another. Folders named `Annotation` contain boxes of the actor in VIPER's XML.

    The splits are `paper`, the closest possible to the paper's 975 training and 625 test clips
    (the authors' list is not public), and `group01` to `group25`, the distributor's
    leave-one-group-out protocol, for the groups that exist.

    Only classes with clips count. Files and folders without an official name are ignored with a
    warning.

    Args:
        root: the folder of class folders, or the folder that contains it.

    Raises:
        GlimpsesError: there is no official class folder with a clip.
    """
    base = _base(root)
    number_of = {} if base is None else {
        file: number
        for child in folder.class_folders(base) for file in folder.clips_in(child)
        if (number := _group_number(file, base)) is not None
    }  # fmt: skip
    if base is None or not number_of:
        raise GlimpsesError(
            f"{root}: does not have the layout of UCF-11, with clips such as "
            "basketball/v_shooting_01/v_shooting_01_01.mpg; give the folder UCF11_updated_mpg"
        )
    others = [file for file in folder.clip_files(base) if file not in number_of]
    if others:
        count, example = pluralise(len(others), "clip"), others[0].relative_to(base)
        log.warning("%s: ignored %s without an official name (%s)", base, count, example)
    classes = tuple(sorted({file.relative_to(base).parts[0] for file in number_of}))
    ids = {file: file.relative_to(base).as_posix() for file in sorted(number_of)}
    clips = tuple(
        Clip(id, file, (label,), group_from_name(id) or id, folder.annotation_file(id, base))
        for file, id in ids.items()
        for label in [classes.index(id.split("/")[0])]
    )
    all_ids = frozenset(ids.values())

    def subsets(test_groups: frozenset[int]) -> dict[str, frozenset[str]]:
        test = frozenset(id for file, id in ids.items() if number_of[file] in test_groups)
        return {"train": all_ids - test, "test": test}

    splits = {"paper": subsets(PAPER_TEST_GROUPS)}
    for number in sorted(set(number_of.values())):
        splits[f"group{number:02}"] = subsets(frozenset({number}))
    return ActionDataset(base, classes, clips, splits=splits, layout="ucf11")


def _base(root: Path) -> Path | None:
    """Return the folder of class folders: `root` or a folder in it."""
    for base in (root, *folder.class_folders(root)) if root.is_dir() else ():
        if any(child.name in PREFIXES for child in folder.class_folders(base)):
            return base
    return None


def _group_number(file: Path, base: Path) -> int | None:
    """Return the number of a clip's group; None without an official name and place."""
    label, *folders = file.relative_to(base).parts[:-1]
    match = _CLIP.fullmatch(file.stem)
    if match is None or match["prefix"] != PREFIXES.get(label):
        return None
    return int(match["group"]) if folders == [f"{match['prefix']}_{match['group']}"] else None
