"""Names that subsets have in folders, files and columns, and splits made of such subsets."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path

log = logging.getLogger(__name__)

#: Subsets of a split, in the order in which they are listed.
SUBSETS = ("train", "validation", "test")

_NAMES = {
    "train": "train", "training": "train",
    "val": "validation", "valid": "validation", "validate": "validation",
    "validation": "validation", "dev": "validation",
    "test": "test", "testing": "test",
}  # fmt: skip


def named_subset(name: str) -> str | None:
    """Return the subset that a folder, file or cell is named after; None if it is no such name."""
    return _NAMES.get(name.strip().lower())


def own_split(
    subsets: Mapping[str, Iterable[str]], source: Path
) -> dict[str, dict[str, frozenset[str]]]:
    """Return the split `listed` of a data set that states the subset of its clips.

    Without test clips, the validation clips are the test subset. Without training or test clips
    there is no split of the data set's own.
    """
    ids = {name: frozenset(subsets.get(name, ())) for name in SUBSETS}
    if not ids["test"] and ids["train"] and ids["validation"]:
        log.info(
            "%s: has no test subset, so its validation clips are the test subset, and validation "
            "clips are drawn from its training clips", source,
        )  # fmt: skip
        ids = {"train": ids["train"], "test": ids["validation"]}
    if not ids["train"] or not ids["test"]:
        return {}
    return {"listed": {name: clips for name, clips in ids.items() if clips}}
