"""How every figure looks: drawn on white, so that it reads the same on any page.

Nothing here touches pyplot's global state, nor a reader's own Matplotlib settings.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import matplotlib
from matplotlib.figure import Figure
from matplotlib.text import Text

from glimpses.viz.fonts import font_for

INK, QUIET, FAINT = "#1f2430", "#5c6370", "#dfe2e8"
#: Okabe and Ito's colours that are dark enough for white paper.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")

# A reader's own Matplotlib settings must not change a report.
_STYLE: dict[Any, Any] = {
    "text.usetex": False,
    "font.family": ["DejaVu Sans"],
    "font.size": 10.0,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": FAINT,
    "axes.linewidth": 1.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": False,
    "axes.titlesize": 11.0,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 10.0,
    "grid.color": FAINT,
    "grid.linewidth": 0.8,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "legend.frameon": False,
    "figure.facecolor": "white",
    "figure.dpi": 100.0,
    "savefig.dpi": 100.0,
}


def encode(figure: Figure, kind: Literal["png", "svg", "pdf"] = "png", *, dpi: int = 144) -> bytes:
    """Turn a figure into the bytes of a file; equal figures give equal bytes.

    Args:
        figure: what was drawn in this style.
        kind: of file.
        dpi: pixels per inch, for `png`.
    """
    buffer = io.BytesIO()
    unstamped = {"png": {"Software": None}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}
    with matplotlib.rc_context({"svg.hashsalt": "glimpses"}):
        figure.savefig(
            buffer,
            format=kind,
            dpi=dpi,
            metadata=unstamped[kind],
            bbox_inches="tight",
            pad_inches=0.08,
        )
    return buffer.getvalue()


@contextmanager
def style() -> Iterator[None]:
    """Draw what the block draws in this look."""
    with matplotlib.rc_context(_STYLE):
        yield


def write(text: Text, *, size: float, colour: str = INK, weight: str = "normal") -> None:
    """Set a text that a user may have named: any script, and a dollar sign is a dollar sign."""
    text.set_parse_math(False)
    text.set_fontproperties(font_for(text.get_text(), bold=weight == "bold"))
    text.set_fontsize(size)
    text.set_color(colour)


def shortened(text: str, letters: int) -> str:
    """The text, or as much of it as has place."""
    return text if len(text) <= letters else text[: letters - 1].rstrip() + "…"
