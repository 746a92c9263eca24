"""Fonts for class names in any script."""

from __future__ import annotations

import logging
from functools import cache, lru_cache
from pathlib import Path

import matplotlib
from matplotlib.font_manager import fontManager
from matplotlib.ft2font import FT2Font

log = logging.getLogger(__name__)


@lru_cache(maxsize=256)
def font_for(text: str, *, bold: bool = False) -> Path:
    """Find the font file that covers most characters of a text.

    Prefers DejaVu Sans, which comes with Matplotlib, so that figures look the same everywhere; it
    covers Latin, Greek, Cyrillic, Arabic and more. For other scripts, searches the fonts of the
    system. Characters in no font are drawn as boxes, with one warning each.

    Args:
        text: the text to draw.
        bold: whether to use the bold face, where DejaVu Sans covers the text.

    Returns:
        Path of a TrueType or OpenType file.
    """
    fonts = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    default = fonts / ("DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf")
    characters = {ord(character) for character in text if not character.isspace()}
    if characters <= _coverage(default):
        return default
    others = sorted({Path(entry.fname) for entry in fontManager.ttflist})
    # `max` returns the first of equals, so the default wins ties.
    best = max([default, *others], key=lambda file: len(characters & _coverage(file)))
    for character in sorted(characters - _coverage(best)):
        _warn_missing(chr(character))
    return best


@cache
def _warn_missing(character: str) -> None:
    log.warning("no installed font has the character %s; install one, such as Noto Sans", character)


@cache
def _coverage(file: Path) -> frozenset[int]:
    # Matplotlib's font of last resort maps every character to a box.
    if file.name.startswith("LastResort"):
        return frozenset()
    try:
        return frozenset(FT2Font(str(file)).get_charmap())
    except (OSError, RuntimeError):  # removed or damaged since Matplotlib listed it
        return frozenset()
