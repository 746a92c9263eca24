"""UCF-11, also called the YouTube Action data set, as unpacked from UCF11_updated_mpg.rar."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from pathlib import Path

from glimpses.datasets.base import ActionDataset, Clip
from glimpses.datasets.groups import source_in_name
from glimpses.datasets.layouts import folder
from glimpses.utils.errors import GlimpsesError, pluralise

log = logging.getLogger(__name__)

#: Classes, and what the names of their groups begin with.
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

#: Groups that test in the split `paper`. The paper trains on 975 clips and tests on 625, but the
#: authors' own list is not public. Of all runs of consecutive group numbers this is the only one
#: whose groups hold exactly 625 of the 1600 clips; no recording is on both sides.
PAPER_TEST_GROUPS = frozenset(range(5, 15))

_CLIP = re.compile(r"(?P<prefix>v_.+)_(?P<group>\d\d)_\d\d")


def recognise(root: Path) -> bool:
    """Whether a folder, or the only folder in it, has official classes and mostly official clips.

    A `groups.csv` or lists in `splits/` mean that its owner has other plans for it.
    """
    base = _base(root)
    if base is None or folder.is_arranged(base):
        return False
    if base != root and len(folder.class_folders(root)) > 1:
        return False
    classes = folder.class_folders(base)
    files = [file for one in classes for file in folder.clips_in(one)]
    return (
        all(one.name in PREFIXES for one in classes)
        and sum(_group(file, base) is not None for file in files) > len(files) / 2
    )


def load(root: Path) -> ActionDataset:
    """Read UCF-11: `<class>/<v_prefix_GG>/<v_prefix_GG_CC>.mpg`, 1600 clips of 11 classes.

    Folders called `Annotation` are no groups; they tell where the actor is in a clip, in VIPER's
    XML under the clip's name. The 25 groups of a class are recordings of one scene
    each; group 01 of one class has nothing to do with that of another. The splits are `paper`, the
    nearest there is to the paper's 975 clips for training and 625 for testing (the authors' own
    list is not public), and `group01` to `group25`, the distributor's leave-one-group-out in 25
    folds, as far as their groups are there.

    Only classes that are there count. Files and folders without an official name are left out with
    a warning.

    Args:
        root: the folder of class folders, or the folder that holds it.

    Raises:
        GlimpsesError: none of the official class folders with a clip is there.
    """
    base = _base(root)
    found = {} if base is None else {
        file: group
        for one in folder.class_folders(base)
        for file in folder.clips_in(one)
        if (group := _group(file, base)) is not None
    }  # fmt: skip
    if base is None or not found:
        raise GlimpsesError(
            f"{root}: is not laid out as UCF-11, with clips like "
            "basketball/v_shooting_01/v_shooting_01_01.mpg; give the folder UCF11_updated_mpg"
        )
    others = [file for file in folder.clip_files(base) if file not in found]
    if others:
        log.warning(
            "%s: left out for want of a name of UCF-11: %s (%s)",
            base,
            pluralise(len(others), "clip"),
            others[0].relative_to(base),
        )
    classes = tuple(sorted({file.relative_to(base).parts[0] for file in found}))
    ids = {file: file.relative_to(base).as_posix() for file in sorted(found)}
    clips = tuple(
        Clip(
            id=id,
            path=file,
            labels=(classes.index(id.split("/")[0]),),
            group=source_in_name(id) or id,
            annotation=folder.annotation_of(id, base),
        )
        for file, id in ids.items()
    )
    everyone = frozenset(ids.values())

    def tested_by(groups: frozenset[int]) -> dict[str, frozenset[str]]:
        test = frozenset(id for file, id in ids.items() if found[file] in groups)
        return {"train": everyone - test, "test": test}

    splits = {"paper": tested_by(PAPER_TEST_GROUPS)}
    for group in sorted(set(found.values())):
        splits[f"group{group:02}"] = tested_by(frozenset({group}))
    return ActionDataset(base, classes, clips, splits=splits, layout="ucf11")


def _base(root: Path) -> Path | None:
    """The folder of class folders: `root` or a folder in it."""
    if not root.is_dir():
        return None
    for base in (root, *folder.class_folders(root)):
        if any(one.name in PREFIXES for one in folder.class_folders(base)):
            return base
    return None


def _group(file: Path, base: Path) -> int | None:
    """Number of the group a clip is in; None if the clip has no official name and place."""
    label, *folders = file.relative_to(base).parts[:-1]
    known = _CLIP.fullmatch(file.stem)
    official = (
        known is not None
        and known["prefix"] == PREFIXES.get(label)
        and folders == [f"{known['prefix']}_{known['group']}"]
    )
    return int(known["group"]) if known is not None and official else None
