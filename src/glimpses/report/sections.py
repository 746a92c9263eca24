"""Sections of a page: paragraphs, figures, tables and film strips."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from glimpses.report.html import embed_png, embed_strip, encode_retina, write_page
from glimpses.utils.files import atomic_write
from glimpses.utils.progress import bar
from glimpses.viz import Filmstrip, encode_figure, filmstrip_figure


@dataclass(frozen=True)
class SectionFigure:
    """Figure with its caption.

    Attributes:
        file: file name without suffix.
        figure: the figure.
        alt: text alternative with the numbers, for screen readers.
        caption: interpretation in a sentence or two.
    """

    file: str
    figure: Figure
    alt: str
    caption: str = ""


@dataclass(frozen=True)
class Section:
    """Part of a page.

    Attributes:
        heading: its title.
        paragraphs: text.
        figures: figures, side by side where they fit.
        table: rows of cells; the first row holds the column heads.
        strips: film strips with a note each.
        strips_file: file name, without suffix, of the image of all strips.
        highlight: meaning of the bright regions in the strips.
    """

    heading: str
    paragraphs: Sequence[str] = ()
    figures: Sequence[SectionFigure] = ()
    table: Sequence[Sequence[str]] = ()
    strips: Sequence[tuple[Filmstrip, str]] = ()
    strips_file: str = "strips"
    highlight: str = "where the model looks"


def write_sections(
    folder: Path, page: str, *, title: str, summary: Sequence[str], sections: Sequence[Section]
) -> list[Path]:
    """Write the figures as PNG files, and a page that embeds everything.

    Args:
        folder: folder of all files.
        page: file name of the page.
        title: title of the page.
        summary: paragraphs at the top.
        sections: the sections; empty ones are left out.

    Returns:
        The page, then the images.

    Raises:
        GlimpsesError: a file cannot be written.
    """
    filled = [s for s in sections if s.figures or s.table or s.strips or s.paragraphs]
    images: dict[str, bytes] = {}
    embedded = []
    count = sum(len(section.figures) + bool(section.strips) for section in filled)
    with bar("drawing the page", count, transient=True) as progress:
        for section in filled:
            figures = []
            for figure in section.figures:
                content = images[figure.file] = encode_retina(figure.figure)
                figures.append({**vars(figure), "image": embed_png(content)})
                progress.advance()
            if section.strips:
                strips = [strip for strip, _ in section.strips]
                names = [f"{strip.name}: {note}" for strip, note in section.strips]
                images[section.strips_file] = encode_figure(filmstrip_figure(strips, names=names))
                progress.advance()
            cards = [{**embed_strip(strip), "note": note} for strip, note in section.strips]
            embedded.append({**vars(section), "figures": figures, "strips": cards})
    for name, content in images.items():
        with atomic_write(folder / f"{name}.png") as part:
            part.write_bytes(content)
    write_page(folder / page, "explanation.html", title=title, summary=summary, sections=embedded)
    return [folder / page, *(folder / f"{name}.png" for name in images)]
