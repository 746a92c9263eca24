"""Which motion capture takes each side of the split may use, so that none shares a style."""

from __future__ import annotations

import logging
import re
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from glimpses.utils.errors import GlimpsesError

log = logging.getLogger(__name__)

# Sides of the split and the share of the sources that each is to have.
_SHARES = {"train": 2 / 3, "test": 1 / 6, "validation": 1 / 6}

Takes = dict[str, tuple[Path, ...]]


def takes_in(folder: Path) -> dict[str, Takes]:
    """BVH files by action and side of the split.

    A style (`proud` in `walk_proud_002.bvh`) is on one side only, for all actions that have it:
    who has seen the proud walk has seen something of the proud bow. The takes of an action with
    fewer than three styles are dealt one by one. An action that cannot be on all sides is left
    out, with a warning.

    Args:
        folder: has one folder of BVH files per action.

    Raises:
        GlimpsesError: fewer than two actions are left.
    """
    sources: dict[str, dict[str, list[Path]]] = {}
    for place in sorted(folder.iterdir() if folder.is_dir() else ()):
        files = sorted(place.rglob("*.bvh")) if place.is_dir() else []
        if files:
            sources[place.name] = _sources(place, files)
    side_of = _deal(sources)
    takes = {}
    for action, own in sources.items():
        dealt: dict[str, list[Path]] = {side: [] for side in _SHARES}
        for source, files in own.items():
            dealt[side_of[source]] += files
        if all(dealt.values()):
            takes[action] = {side: tuple(files) for side, files in dealt.items()}
        else:
            log.warning("%s: left out; too few takes to train, validate and test", folder / action)
    if len(takes) < 2:
        raise GlimpsesError(
            f"{folder}: needs two or more folders named after actions, with three or more BVH "
            "files each"
        )
    return takes


def _sources(place: Path, files: list[Path]) -> dict[str, list[Path]]:
    """The takes of an action by what must not be divided: styles, or else single files."""
    styles: dict[str, list[Path]] = defaultdict(list)
    singles: dict[str, list[Path]] = {}
    for file in files:
        single = file.relative_to(place.parent).as_posix()
        styles[_style(file, place.name) or single].append(file)
        singles[single] = [file]
    return dict(styles) if len(styles) >= 3 else singles


def _style(file: Path, action: str) -> str | None:
    """The last word of a file's name that is neither its action nor a number."""
    words = [re.sub(r"[\d-]+$", "", word) for word in file.stem.lower().split("_")]
    return next((word for word in reversed(words) if word not in ("", action.lower())), None)


def _deal(sources: Mapping[str, Mapping[str, list[Path]]]) -> dict[str, str]:
    """A side for every source: first one where most of its actions have none yet."""
    users: dict[str, list[str]] = defaultdict(list)
    for action, own in sources.items():
        for source in own:
            users[source].append(action)
    side_of: dict[str, str] = {}
    lacking = {(action, side) for action in sources for side in _SHARES}
    for source in sorted(users, key=lambda source: (-len(users[source]), source)):
        sides = list(side_of.values())
        wanted = {
            side: (
                sum((action, side) in lacking for action in users[source]),
                share * (len(sides) + 1) - sides.count(side),
            )
            for side, share in _SHARES.items()
        }
        side_of[source] = max(wanted, key=wanted.__getitem__)
        lacking -= {(action, side_of[source]) for action in users[source]}
    return side_of
