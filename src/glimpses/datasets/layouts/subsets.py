"""Layout with a folder for each subset and, in each, one folder of clips for each action."""

from __future__ import annotations

import logging
from pathlib import Path

from glimpses.datasets.base import ActionDataset
from glimpses.datasets.groups import read_groups
from glimpses.datasets.layouts import folder
from glimpses.datasets.layouts.subset_names import SUBSETS, named_subset, own_split
from glimpses.datasets.layouts.video_files import tell_left_out, walk
from glimpses.utils.errors import GlimpsesError

log = logging.getLogger(__name__)


def matches(root: Path) -> bool:
    """Return whether a folder, or its only folder, has folders such as `train` and `test`.

    Either all folders with clips are named after subsets, or two of them are and contain a class
    folder of the same name.
    """
    return _base(root) is not None


def load(root: Path) -> ActionDataset:
    """Read `<subset>/<class>/<clip>`, the layout of torchvision's ImageFolder.

    Subsets are called `train` (or `training`), `val` (`valid`, `validation`, `dev`) and `test`
    (`testing`). They define the split `listed`. If there is no `val`, validation clips are drawn
    from the training clips; if there is no `test`, the clips of `val` are the test subset. The
    classes are those of all subsets together. Groups come from `groups.csv` beside the subsets, or
    from file names, as in the layout with class folders.

    Raises:
        GlimpsesError: there is no folder of a subset with a class folder in it; clips are in a
            subset, but in no class folder; or two folders stand for one subset.
    """
    base = _base(root)
    if base is None:
        raise GlimpsesError(
            f"{root}: has no folders train, val and test with class folders in them; arrange the "
            f"clips as in {root.resolve().name}/train/<action>/<clip>.mp4"
        )
    folders = _subset_folders(base)
    path_of: dict[str, Path] = {}
    class_of: dict[str, str] = {}
    subsets: dict[str, set[str]] = {name: set() for name in folders}
    for name, subset in folders.items():
        files = [file for child in folder.class_folders(subset) for file in folder.clips_in(child)]
        if not files and any(folder.clips_in(subset)):
            raise GlimpsesError(
                f"{subset}: has clips but no class folders; put the clips of each action into a "
                f"folder named after it, as in {subset.name}/<action>/<clip>.mp4, or write a "
                "labels.csv with the columns path,label beside them"
            )
        for file in files:
            id = file.relative_to(base).as_posix()
            path_of[id], class_of[id] = file, id.split("/")[1]
            subsets[name].add(id)
    tell_left_out(base, walk(base), dict.fromkeys(path_of.values()))
    _warn_incomplete(base, subsets, class_of)
    groups, listed = read_groups(base, class_of)
    labels = {id: listed.get(id, (name,)) for id, name in class_of.items()}
    return folder.labelled(
        base, path_of, labels, groups, own_split(subsets, base), layout="subsets"
    )


def _warn_incomplete(base: Path, subsets: dict[str, set[str]], class_of: dict[str, str]) -> None:
    classes = set(class_of.values())
    for name, ids in subsets.items():
        missing = sorted(classes - {class_of[id] for id in ids})
        if missing:
            names = ", ".join(missing[:5]) + (" ..." if missing[5:] else "")
            log.warning("%s: has no clips of %s among its %s clips", base, names, name)


def _base(root: Path) -> Path | None:
    """Return the folder of subset folders: `root` or its only folder."""
    if not root.is_dir():
        return None
    children = folder.class_folders(root)
    candidates = [root, *children] if len(children) == 1 else [root]
    return next(filter(_has_subsets, candidates), None)


def _has_subsets(base: Path) -> bool:
    children = [child for child in folder.class_folders(base) if any(folder.clips_in(child))]
    named = [child for child in children if named_subset(child.name)]
    if not named:
        return False
    if len(named) == len(children):
        return True
    classes: list[set[str]] = [
        {child.name for child in folder.class_folders(subset)} for subset in named
    ]
    return len(named) > 1 and bool(set.intersection(*classes))


def _subset_folders(base: Path) -> dict[str, Path]:
    """Return the folder of each subset, in the order of the subsets."""
    folders: dict[str, Path] = {}
    for child in folder.class_folders(base):
        if (name := named_subset(child.name)) is None:
            continue
        if name in folders:
            raise GlimpsesError(
                f"{child}: {folders[name].name} holds the {name} clips, too; merge the two folders"
            )
        folders[name] = child
    return {name: folders[name] for name in SUBSETS if name in folders}
