"""Hollywood2's actions, as unpacked from Hollywood2-actions.tar.gz."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from glimpses.datasets.base import ActionDataset, Clip
from glimpses.datasets.layouts import folder
from glimpses.datasets.layouts.list_files import (
    by_key,
    read_marks,
    warn_missing,
    warn_unlisted,
)
from glimpses.utils.errors import GlimpsesError

log = logging.getLogger(__name__)

#: The twelve actions. The folder of lists may also hold those of scenes, which are no actions.
ACTIONS = (
    "AnswerPhone", "DriveCar", "Eat", "FightPerson", "GetOutCar", "HandShake", "HugPerson", "Kiss",
    "Run", "SitDown", "SitUp", "StandUp",
)  # fmt: skip

CLIPS, LISTS = "AVIClips", "ClipSets"
_SIDES = ("train", "test", "autotrain")
_SHOWN, _NOT_SHOWN = "1", "-1"


def recognise(root: Path) -> bool:
    """Whether a folder, or a folder in it, has `AVIClips` and lists of actions in `ClipSets`."""
    return _base(root) is not None


def load(root: Path) -> ActionDataset:
    """Read Hollywood2: clips with any number of the twelve actions, some with none.

    `ClipSets/<Action>_train.txt` and `<Action>_test.txt` have a line `<clip>  1` or `<clip>  -1`
    for every clip. They make the split `clean`, 823 clips for training and 884 for testing in the
    whole set. Where clips of the automatically labelled training set are there too, the split
    `automatic` trains on those (`<Action>_autotrain.txt`) and tests on the same clips. Nothing
    tells from which film a clip is, but no film is both in training and in testing.

    Classes are the actions that some clip here shows; the others give one warning, as do listed
    clips that are not there, and clips that no list names (they are left out). Wherever an action
    of a clip would be unknown, the lists are refused. An action without any list is left out with
    a warning.

    Args:
        root: the folder that holds `AVIClips` and `ClipSets`, or the folder that holds that one.

    Raises:
        GlimpsesError: there is no clip or no list; an action lacks one of its lists; a clip is
            missing in one of a side's lists, or is on two sides; a line cannot be read or
            contradicts another one.
    """
    base = _base(root)
    if base is None:
        raise GlimpsesError(
            f"{root}: is not laid out as Hollywood2; it needs the folders {CLIPS} and {LISTS}, "
            "with AnswerPhone_train.txt and so on in the latter"
        )
    lists = base / LISTS
    files = by_key(sorted(folder.clips_in(base / CLIPS)))
    if not files:
        raise GlimpsesError(f"{base / CLIPS}: holds no clip; unpack the data set's clips there")
    unlisted = [action for action in ACTIONS if not _has_list(lists, action)]
    if unlisted:
        log.warning(
            "%s: holds no list of %s, so that nothing tells which clips show it and it is left "
            "out; restore the distributor's lists",
            lists,
            ", ".join(unlisted),
        )
    shows: dict[str, tuple[str, ...]] = {}
    side_of: dict[str, str] = {}
    for side in _SIDES:
        for key, actions in _read_side(lists, side, files).items():
            if key in side_of:
                raise GlimpsesError(
                    f"{lists}: {key} is in lists of {side_of[key]} and of {side}; restore the "
                    "distributor's lists"
                )
            side_of[key], shows[key] = side, actions
    used = sorted(files.keys() & shows.keys())
    warn_missing(lists, shows.keys() - files.keys(), len(shows))
    warn_unlisted(lists, files.keys() - shows.keys(), "they are left out")
    classes = tuple(action for action in ACTIONS if any(action in shows[key] for key in used))
    if not classes:
        raise GlimpsesError(f"{base}: no clip here shows an action by the lists; add clips")
    lacking = [action for action in ACTIONS if action not in (*classes, *unlisted)]
    if lacking:
        log.warning(
            "%s: %d of the %d actions are left out, since no clip here shows them (%s)",
            base,
            len(lacking),
            len(ACTIONS),
            ", ".join(lacking),
        )
    ids = {key: files[key].relative_to(base).as_posix() for key in used}
    clips = (
        Clip(ids[key], files[key], tuple(map(classes.index, shows[key])), ids[key]) for key in used
    )
    of_side = {side: frozenset(ids[k] for k in used if side_of[k] == side) for side in _SIDES}
    splits = {"clean": {"train": of_side["train"], "test": of_side["test"]}}
    if of_side["autotrain"]:
        splits["automatic"] = {"train": of_side["autotrain"], "test": of_side["test"]}
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
            for side in _SIDES
            if (file := lists / f"{action}_{side}.txt").is_file()
        ),
        layout="hollywood2",
    )


def _read_side(lists: Path, side: str, files: Mapping[str, Path]) -> dict[str, tuple[str, ...]]:
    """Actions of every clip on a side; of clips that are there, all of them are known."""
    listed = [action for action in ACTIONS if _has_list(lists, action)]
    named = {action: lists / f"{action}_{side}.txt" for action in listed}
    if side == "autotrain" and not any(file.is_file() for file in named.values()):
        return {}
    marks = {action: read_marks(file, {_SHOWN, _NOT_SHOWN}) for action, file in named.items()}
    everyone = {key: action for action in reversed(listed) for key in marks[action]}
    for action in listed:
        lacking = sorted(everyone.keys() & files.keys() - marks[action].keys())
        if lacking:
            raise GlimpsesError(
                f"{named[action]}: does not say whether {lacking[0]} shows {action}, although "
                f"{named[everyone[lacking[0]]].name} lists it ({len(lacking)} clips like this); "
                "restore the distributor's list"
            )
    return {
        key: tuple(action for action in listed if marks[action].get(key) == _SHOWN)
        for key in sorted(everyone)
    }


def _has_list(lists: Path, action: str) -> bool:
    return any((lists / f"{action}_{side}.txt").is_file() for side in _SIDES)


def _base(root: Path) -> Path | None:
    """The folder with clips and lists: `root` or the only such folder in it."""
    if not root.is_dir():
        return None
    found = [base for base in (root, *folder.class_folders(root)) if _is_base(base)]
    return found[0] if found and (found[0] == root or len(found) == 1) else None


def _is_base(base: Path) -> bool:
    return (base / CLIPS).is_dir() and any(_has_list(base / LISTS, action) for action in ACTIONS)
