"""What every page of HTML is made with: one look, and everything in the one file."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from PIL import Image

from glimpses.utils.files import atomic_write
from glimpses.utils.templates import render
from glimpses.viz import Filmstrip, encode


def write_page(out: Path, template: str, *, title: str, **shown: Any) -> None:
    """Write a page as one HTML file; equal pages give equal files.

    Args:
        out: the file to write.
        template: name of one that extends `base.html`.
        title: of the page.
        shown: what the template is about.

    Raises:
        GlimpsesError: the file cannot be written.
    """
    page = render(template, title=title, **shown)
    with atomic_write(out) as part:
        part.write_text(page, encoding="utf-8")


def encode_sharp(figure: Figure) -> bytes:
    """A figure as PNG with twice the pixels of the usual 96 an inch, for today's displays."""
    return encode(figure, dpi=192)


def embed_png(content: bytes) -> dict[str, Any]:
    """What `encode_sharp` gave, as the `source`, `width` and `height` of an `img`."""
    with Image.open(io.BytesIO(content)) as picture:
        width, height = picture.size
    return {"source": data_uri("image/png", content), "width": width // 2, "height": height // 2}


def embed_strip(strip: Filmstrip) -> dict[str, Any]:
    """A strip as the macro `strip_card` takes it."""
    pictures = [data_uri("image/jpeg", glimpse.jpeg()) for glimpse in strip.glimpses]
    return {"strip": strip, "pictures": pictures}


def data_uri(kind: str, content: bytes) -> str:
    """A file's content as an address, so that a page need not fetch it."""
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"
