"""Which clips there are, what they show, and which of them train, validate and test."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Protocol

from glimpses.datasets.base import ActionDataset
from glimpses.datasets.layouts import feature_set, folder, hmdb51, hollywood2, ucf11
from glimpses.utils.errors import GlimpsesError

#: Ways in which a data set may lie on disk; "auto" finds out.
Layout = Literal["auto", "folder", "ucf11", "hmdb51", "hollywood2", "stored"]


class LayoutReader(Protocol):
    """What a layout's module has to offer."""

    def recognise(self, root: Path, /) -> bool:
        """Whether a folder is surely laid out like this."""

    def load(self, root: Path, /) -> ActionDataset:
        """Read it."""


#: Layouts by name. "auto" takes the first that recognises a folder, and `folder` last.
LAYOUTS: dict[str, LayoutReader] = {
    "stored": feature_set,
    "hollywood2": hollywood2,
    "hmdb51": hmdb51,
    "ucf11": ucf11,
    "folder": folder,
}


def load(root: Path, layout: str = "auto") -> ActionDataset:
    """Read a data set.

    Args:
        root: its folder.
        layout: how it lies on disk; "auto" takes for UCF-11, HMDB-51 or Hollywood2 what is laid
            out as its distributor ships it, for stored features what says so, and everything else
            for a folder with one folder of clips per action.

    Raises:
        GlimpsesError: there is no such layout, or the data set cannot be used; see `load` in the
            layout's module.
    """
    if layout == "auto":
        layout = layout_of(root)
    if layout not in LAYOUTS:
        raise GlimpsesError(f"layout '{layout}': there are auto, {', '.join(sorted(LAYOUTS))}")
    return LAYOUTS[layout].load(root)


def layout_of(root: Path) -> str:
    """Return the name of a folder's layout, "folder" if no other one recognises it."""
    others = (name for name in LAYOUTS if name != "folder")
    return next((name for name in others if LAYOUTS[name].recognise(root)), "folder")
