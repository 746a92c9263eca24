"""A font that can write the name of a class, whatever its script."""

from __future__ import annotations

import logging
from functools import cache
from pathlib import Path

import matplotlib
from matplotlib.font_manager import fontManager
from matplotlib.ft2font import FT2Font

log = logging.getLogger(__name__)


@cache
def font_for(text: str, *, bold: bool = False) -> Path:
    """Find a font file that has every letter of a text.

    DejaVu Sans comes with Matplotlib, so that pictures look the same everywhere; it covers Latin,
    Greek, Cyrillic, Arabic and more. For other scripts the system's fonts are searched; where
    none has all the letters, a warning says so once and DejaVu Sans draws boxes for them.

    Args:
        text: what is to be written.
        bold: whether the bold face is wanted, where DejaVu Sans covers the text.

    Returns:
        Path of a TrueType or OpenType file.
    """
    fonts = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    usual = fonts / ("DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf")
    letters = {ord(letter) for letter in text if not letter.isspace()}
    if letters <= _covered(usual):
        return usual
    for file in sorted({Path(entry.fname) for entry in fontManager.ttflist}):
        if letters <= _covered(file):
            return file
    log.warning("%r: no font here has all its letters; install one, such as Noto Sans", text)
    return usual


@cache
def _covered(file: Path) -> frozenset[int]:
    try:
        return frozenset(FT2Font(str(file)).get_charmap())
    except (OSError, RuntimeError):  # a font removed or broken since Matplotlib listed it
        return frozenset()
