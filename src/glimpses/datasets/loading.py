"""Loading of data sets by layout."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Protocol

from glimpses.datasets.base import ActionDataset, Unlabelled
from glimpses.datasets.layouts import (
    feature_set,
    folder,
    hmdb51,
    hollywood2,
    jhmdb,
    segments,
    subsets,
    table,
    ucf11,
)
from glimpses.utils.errors import GlimpsesError, unknown_name

#: Layouts of a data set on disk; "auto" detects the layout.
Layout = Literal[
    "auto", "folder", "subsets", "table", "segments", "ucf11", "hmdb51", "jhmdb", "hollywood2",
    "features",
]  # fmt: skip


class LayoutReader(Protocol):
    """Interface of a layout's module."""

    def matches(self, root: Path, /) -> bool:
        """Return whether a folder certainly has this layout."""

    def load(self, root: Path, /) -> ActionDataset:
        """Read the data set."""


#: Layouts by name. "auto" takes the first that matches a folder, and `folder` last.
LAYOUTS: dict[str, LayoutReader] = {
    "features": feature_set, "hollywood2": hollywood2, "jhmdb": jhmdb, "hmdb51": hmdb51,
    "ucf11": ucf11, "segments": segments, "table": table, "subsets": subsets, "folder": folder,
}  # fmt: skip


def load(
    root: str | Path, layout: str = "auto", *, unlabelled: Unlabelled = "background"
) -> ActionDataset:
    """Read a data set.

    Args:
        root: its folder, or a table with the paths and labels of its clips.
        layout: its layout on disk. "auto" detects UCF-11, HMDB-51, J-HMDB and Hollywood2 as their
            distributors ship them, imported features, tables of segments, tables of labels, and
            folders of subsets; everything else is read as a folder with one folder of clips for
            each action.
        unlabelled: whether the unlabelled time of long recordings is background or left out.

    Raises:
        GlimpsesError: the layout is unknown, or the data set cannot be used; see `load` in the
            layout's module.
    """
    root = Path(root)
    require_data(root)
    if layout == "auto":
        layout = detect_layout(root)
    if layout not in LAYOUTS:
        raise unknown_name(f"unknown layout '{layout}'", layout, ["auto", *sorted(LAYOUTS)])
    if layout == "segments":
        return segments.load(root, unlabelled)
    return LAYOUTS[layout].load(root)


def require_data(root: Path) -> None:
    """Refuse a path that cannot be a data set, before any work is done.

    Raises:
        GlimpsesError: it does not exist, or is a file but not a table.
    """
    if not root.exists():
        raise GlimpsesError(f"{root}: no such folder or file; check its name")
    if root.is_file() and not (table.matches(root) or segments.matches(root)):
        raise GlimpsesError(
            f"{root}: is not a data set; give the folder with the class folders, or a table of "
            "labels such as labels.csv"
        )


def detect_layout(root: str | Path) -> str:
    """Return the name of a folder's layout; "folder" if no other one matches."""
    others = (name for name in LAYOUTS if name != "folder")
    return next((name for name in others if LAYOUTS[name].matches(Path(root))), "folder")
