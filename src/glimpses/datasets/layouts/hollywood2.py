"""Layout of Hollywood2's actions, as unpacked from Hollywood2-actions.tar.gz."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from glimpses.datasets.base import ActionDataset, Clip
from glimpses.datasets.layouts import folder
from glimpses.datasets.layouts.list_files import by_key, read_marks, warn_missing, warn_unlisted
from glimpses.utils.errors import GlimpsesError

log = logging.getLogger(__name__)

#: The twelve actions. The folder of lists may also contain those of scenes.
ACTIONS = (
    "AnswerPhone", "DriveCar", "Eat", "FightPerson", "GetOutCar", "HandShake", "HugPerson", "Kiss",
    "Run", "SitDown", "SitUp", "StandUp",
)  # fmt: skip

CLIPS, LISTS = "AVIClips", "ClipSets"
_SUBSETS = ("train", "test", "autotrain")
_SHOWN, _NOT_SHOWN = "1", "-1"


def matches(root: Path) -> bool:
    """Return whether a folder, or a folder in it, has `AVIClips` and action lists in `ClipSets`."""
    return _base(root) is not None


def load(root: Path) -> ActionDataset:
    """Read Hollywood2: clips with any number of the twelve actions, some with none.

    `ClipSets/<Action>_train.txt` and `<Action>_test.txt` have a line `<clip>  1` or `<clip>  -1`
    for every clip. They define the split `clean`, with 823 training and 884 test clips in the full
    set. If clips of the automatically labelled training set exist, the split `automatic` trains on
    those (`<Action>_autotrain.txt`) and tests on the same clips. The film of a clip is unknown,
    but no film is in both training and test.

    Classes are the actions that at least one clip shows. Other actions, listed clips that do not
    exist, and clips that no list names give one warning each; the latter are ignored, as is an
    action without any list. Lists that leave an action of a clip undefined are refused.

    Args:
        root: the folder that contains `AVIClips` and `ClipSets`, or the folder that contains it.

    Raises:
        GlimpsesError: there is no clip or no list; an action lacks one of its lists; a clip is
            missing in one list of a subset, or is in two subsets; a line is malformed or
            contradicts another one.
    """
    base = _base(root)
    if base is None:
        raise GlimpsesError(
            f"{root}: does not have the layout of Hollywood2; it needs the folders {CLIPS} and "
            f"{LISTS}, with AnswerPhone_train.txt and so on in the latter"
        )
    lists = base / LISTS
    files = by_key(sorted(folder.clips_in(base / CLIPS)))
    if not files:
        raise GlimpsesError(f"{base / CLIPS}: has no clip; unpack the data set's clips there")
    unlisted = [action for action in ACTIONS if not _has_list(lists, action)]
    if unlisted:
        log.warning(
            "%s: has no list of %s, which cannot be a class without one; restore the "
            "distributor's lists", lists, ", ".join(unlisted),
        )  # fmt: skip
    actions_of: dict[str, tuple[str, ...]] = {}
    subset_of: dict[str, str] = {}
    for subset in _SUBSETS:
        for key, actions in _read_subset(lists, subset, files).items():
            if key in subset_of:
                raise GlimpsesError(
                    f"{lists}: {key} is in lists of {subset_of[key]} and of {subset}; restore the "
                    "distributor's lists"
                )
            subset_of[key], actions_of[key] = subset, actions
    used = sorted(files.keys() & actions_of.keys())
    warn_missing(lists, actions_of.keys() - files.keys(), len(actions_of))
    warn_unlisted(lists, files.keys() - actions_of.keys(), "ignored")
    classes = tuple(action for action in ACTIONS if any(action in actions_of[key] for key in used))
    if not classes:
        raise GlimpsesError(f"{base}: no clip shows an action according to the lists; add clips")
    missing = [action for action in ACTIONS if action not in (*classes, *unlisted)]
    if missing:
        log.warning(
            "%s: %d of the %d actions are not classes, because no clip shows them (%s)",
            base, len(missing), len(ACTIONS), ", ".join(missing),
        )  # fmt: skip
    ids = {key: files[key].relative_to(base).as_posix() for key in used}
    clips = (
        Clip(ids[key], files[key], tuple(map(classes.index, actions_of[key])), ids[key])
        for key in used
    )
    ids_of = {
        subset: frozenset(ids[key] for key in used if subset_of[key] == subset)
        for subset in _SUBSETS
    }
    splits = {"clean": {"train": ids_of["train"], "test": ids_of["test"]}}
    if ids_of["autotrain"]:
        splits["automatic"] = {"train": ids_of["autotrain"], "test": ids_of["test"]}
    return ActionDataset(
        root=base,
        classes=classes,
        clips=tuple(sorted(clips, key=lambda clip: clip.id)),
        multi_label=True,
        splits=splits,
        grouped=False,
        lists=tuple(
            file
            for action in ACTIONS
            for subset in _SUBSETS
            if (file := lists / f"{action}_{subset}.txt").is_file()
        ),
        layout="hollywood2",
    )


def _read_subset(lists: Path, subset: str, files: Mapping[str, Path]) -> dict[str, tuple[str, ...]]:
    """Return the actions of every clip of a subset; refuse existing clips that lack a mark."""
    listed = [action for action in ACTIONS if _has_list(lists, action)]
    list_of = {action: lists / f"{action}_{subset}.txt" for action in listed}
    if subset == "autotrain" and not any(file.is_file() for file in list_of.values()):
        return {}
    marks = {action: read_marks(file, {_SHOWN, _NOT_SHOWN}) for action, file in list_of.items()}
    first_list = {key: list_of[action] for action in reversed(listed) for key in marks[action]}
    for action in listed:
        missing = sorted(first_list.keys() & files.keys() - marks[action].keys())
        if missing:
            raise GlimpsesError(
                f"{list_of[action]}: does not list {missing[0]}, although "
                f"{first_list[missing[0]].name} does ({len(missing)} clips like this); "
                "restore the distributor's list"
            )
    return {
        key: tuple(action for action in listed if marks[action].get(key) == _SHOWN)
        for key in sorted(first_list)
    }


def _has_list(lists: Path, action: str) -> bool:
    return any((lists / f"{action}_{subset}.txt").is_file() for subset in _SUBSETS)


def _base(root: Path) -> Path | None:
    """Return the folder with clips and lists: `root` or the only such folder in it."""
    bases = [
        base
        for base in ((root, *folder.class_folders(root)) if root.is_dir() else ())
        if (base / CLIPS).is_dir() and any(_has_list(base / LISTS, action) for action in ACTIONS)
    ]
    return bases[0] if bases and (bases[0] == root or len(bases) == 1) else None
