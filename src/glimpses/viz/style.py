"""Common style of all figures: drawn on white, independent of the user's Matplotlib settings."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import matplotlib
import numpy as np
from jaxtyping import UInt8
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from glimpses.viz.fonts import font_for

INK, QUIET, FAINT = "#1f2430", "#5c6370", "#dfe2e8"
#: The colours of Okabe and Ito that are dark enough for a white background.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")

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


def encode_jpeg(pixels: UInt8[np.ndarray, "H W 3"]) -> bytes:
    """Encode an RGB picture as JPEG."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=85)
    return buffer.getvalue()


def encode_figure(
    figure: Figure, file_format: Literal["png", "svg", "pdf"] = "png", *, dpi: int = 144
) -> bytes:
    """Encode a figure as the bytes of a file; the same figure gives the same bytes.

    Args:
        figure: a figure drawn within `figure_style`.
        file_format: format of the file.
        dpi: pixels per inch, for `png`.
    """
    buffer = io.BytesIO()
    # Keys set to None are left out, so that files carry no version and no date.
    metadata = {"png": {"Software": None}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}
    with matplotlib.rc_context({"svg.hashsalt": "glimpses"}):
        figure.savefig(
            buffer, format=file_format, dpi=dpi, metadata=metadata[file_format],
            bbox_inches="tight", pad_inches=0.08,
        )  # fmt: skip
    return buffer.getvalue()


@contextmanager
def figure_style() -> Iterator[None]:
    """Apply the style of all figures within a block, without changing global state."""
    with matplotlib.rc_context(_STYLE):
        yield


def style_text(text: Text, *, size: float, colour: str = INK, weight: str = "normal") -> None:
    """Style text that users may have named: any script, and no math mode for dollar signs."""
    text.set_parse_math(False)
    text.set_fontproperties(font_for(text.get_text(), bold=weight == "bold"))
    text.set_fontsize(size)
    text.set_color(colour)


def truncate(text: str, length: int) -> str:
    """Shorten a text to at most `length` characters, with an ellipsis."""
    return text if len(text) <= length else text[: length - 1].rstrip() + "…"
