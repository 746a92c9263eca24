"""A font that can write the name of a class, whatever its script."""

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
    """Find the font file that has most of the letters of a text.

    DejaVu Sans comes with Matplotlib, so that pictures look the same everywhere; it covers Latin,
    Greek, Cyrillic, Arabic and more. For other scripts the system's fonts are searched. Letters
    that none has are drawn as boxes, and a warning names each once.

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
    others = sorted({Path(entry.fname) for entry in fontManager.ttflist})
    # Of equals `max` takes the first.
    best = max([usual, *others], key=lambda file: len(letters & _covered(file)))
    for letter in sorted(letters - _covered(best)):
        _warn(chr(letter))
    return best


@cache
def _warn(letter: str) -> None:
    log.warning("no font here has the letter %s; install one, such as Noto Sans", letter)


@cache
def _covered(file: Path) -> frozenset[int]:
    # Matplotlib's font of last resort has every letter there is, as a box.
    if file.name.startswith("LastResort"):
        return frozenset()
    try:
        return frozenset(FT2Font(str(file)).get_charmap())
    except (OSError, RuntimeError):  # a font removed or broken since Matplotlib listed it
        return frozenset()
