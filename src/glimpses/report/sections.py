"""Sections of words, pictures and strips, as a page and as files beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from glimpses.report.html import embed_png, embed_strip, encode_sharp, write_page
from glimpses.utils.files import atomic_write
from glimpses.utils.progress import bar
from glimpses.viz import Filmstrip, encode, filmstrip_figure


@dataclass(frozen=True)
class Picture:
    """A figure and what it means.

    Attributes:
        file: its name without suffix.
        figure: what is drawn.
        alt: what is to be seen, with the numbers, for those who cannot see it.
        words: what it says, a sentence or two.
    """

    file: str
    figure: Figure
    alt: str
    words: str = ""


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Attributes:
        heading: its title.
        words: a paragraph each.
        pictures: figures, side by side where there is room.
        table: rows of cells, the first the heads of the columns.
        strips: clips, each with what is to be said of it.
        strips_file: name of the picture that has them all, without suffix.
        seen: what is bright in the strips.
    """

    heading: str
    words: Sequence[str] = ()
    pictures: Sequence[Picture] = ()
    table: Sequence[Sequence[str]] = ()
    strips: Sequence[tuple[Filmstrip, str]] = ()
    strips_file: str = "strips"
    seen: str = "where the model looks"


def write_sections(
    folder: Path, page: str, *, title: str, summary: Sequence[str], sections: Sequence[Section]
) -> list[Path]:
    """Write the pictures as files, and the page that has everything inside it.

    Args:
        folder: where they go.
        page: name of the page's file.
        title: of the page.
        summary: what stands first, a paragraph each.
        sections: the rest; empty ones are left out.

    Returns:
        The page, then the pictures.

    Raises:
        GlimpsesError: something cannot be written.
    """
    shown = [each for each in sections if each.pictures or each.table or each.strips or each.words]
    files = {}
    embedded = []
    count = sum(len(section.pictures) + bool(section.strips) for section in shown)
    with bar("drawing the page", count, transient=True) as progress:
        for section in shown:
            pictures = []
            for picture in section.pictures:
                content = files[picture.file] = encode_sharp(picture.figure)
                pictures.append({**vars(picture), "image": embed_png(content)})
                progress.advance()
            if section.strips:
                strips = [strip for strip, _ in section.strips]
                names = [f"{strip.name}: {note}" for strip, note in section.strips]
                files[section.strips_file] = encode(filmstrip_figure(strips, names=names))
                progress.advance()
            cards = [{**embed_strip(strip), "note": note} for strip, note in section.strips]
            embedded.append({**vars(section), "pictures": pictures, "strips": cards})
    for name, content in files.items():
        with atomic_write(folder / f"{name}.png") as part:
            part.write_bytes(content)
    write_page(folder / page, "explanation.html", title=title, summary=summary, sections=embedded)
    return [folder / page, *(folder / f"{name}.png" for name in files)]
