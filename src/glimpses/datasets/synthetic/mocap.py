"""Assignment of motion capture takes to subsets that share no style."""

from __future__ import annotations

import logging
import re
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from glimpses.utils.errors import GlimpsesError

log = logging.getLogger(__name__)

# Target fraction of the sources in each subset.
_FRACTIONS = {"train": 2 / 3, "test": 1 / 6, "validation": 1 / 6}

Takes = dict[str, tuple[Path, ...]]


def assign_takes(folder: Path) -> dict[str, Takes]:
    """Return BVH files by action and subset.

    A style (`proud` in `walk_proud_002.bvh`) is in one subset only, for all actions: a model that
    has seen the proud walk has seen something of the proud bow. The takes of an action with fewer
    than three styles are assigned one by one. An action without a take for every subset is skipped
    with a warning; two must remain.

    Args:
        folder: with one folder of BVH files per action.
    """
    sources: dict[str, dict[str, list[Path]]] = {}
    for child in sorted(folder.iterdir() if folder.is_dir() else ()):
        files = sorted(child.rglob("*.bvh")) if child.is_dir() else []
        if files:
            sources[child.name] = _group_by_style(child, files)
    subset_of = _assign_subsets(sources)
    takes = {}
    for action, files_of in sources.items():
        subsets: dict[str, list[Path]] = {subset: [] for subset in _FRACTIONS}
        for source, files in files_of.items():
            subsets[subset_of[source]] += files
        if all(subsets.values()):
            takes[action] = {subset: tuple(files) for subset, files in subsets.items()}
        else:
            log.warning("%s: skipped; too few takes to train, validate and test", folder / action)
    if len(takes) < 2:
        raise GlimpsesError(
            f"{folder}: needs two or more folders named after actions, with three or more BVH "
            "files each"
        )
    return takes


def _group_by_style(folder: Path, files: list[Path]) -> dict[str, list[Path]]:
    """Return the takes of an action by style, or one by one if there are too few styles."""
    singles = {file.relative_to(folder.parent).as_posix(): [file] for file in files}
    styles: dict[str, list[Path]] = defaultdict(list)
    for single, file in zip(singles, files, strict=True):
        styles[_style(file, folder.name) or single].append(file)
    return styles if len(styles) >= 3 else singles


def _style(file: Path, action: str) -> str | None:
    """Return the last word of a file's name that is neither its action nor a number."""
    words = [re.sub(r"[\d-]+$", "", word) for word in file.stem.lower().split("_")]
    return next((word for word in reversed(words) if word not in ("", action.lower())), None)


def _assign_subsets(sources: Mapping[str, Mapping[str, list[Path]]]) -> dict[str, str]:
    """Return a subset for every source, first those that most of its actions still lack."""
    actions_of: dict[str, list[str]] = defaultdict(list)
    for action, files_of in sources.items():
        for source in files_of:
            actions_of[source].append(action)
    subset_of: dict[str, str] = {}
    missing = {(action, subset) for action in sources for subset in _FRACTIONS}
    for source in sorted(actions_of, key=lambda source: (-len(actions_of[source]), source)):
        assigned = list(subset_of.values())
        priority = {
            subset: (
                sum((action, subset) in missing for action in actions_of[source]),
                fraction * (len(assigned) + 1) - assigned.count(subset),
            )
            for subset, fraction in _FRACTIONS.items()
        }
        subset_of[source] = max(priority, key=priority.__getitem__)
        missing -= {(action, subset_of[source]) for action in actions_of[source]}
    return subset_of
