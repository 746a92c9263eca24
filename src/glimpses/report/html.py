"""Self-contained HTML pages: rendering, and embedding of images and videos."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from PIL import Image

from glimpses.utils.files import atomic_write
from glimpses.utils.templates import render
from glimpses.viz import Filmstrip, encode_figure


def write_page(out: Path, template: str, *, title: str, **context: Any) -> None:
    """Render a template to one HTML file; the same input gives the same bytes.

    Args:
        out: the file to write.
        template: name of a template that extends `base.html`.
        title: title of the page.
        context: variables of the template.

    Raises:
        GlimpsesError: the file cannot be written.
    """
    page = render(template, title=title, **context)
    with atomic_write(out) as part:
        part.write_text(page, encoding="utf-8")


def encode_retina(figure: Figure) -> bytes:
    """Encode a figure as PNG at 192 dpi, for displays with two pixels per CSS pixel."""
    return encode_figure(figure, dpi=192)


def embed_png(content: bytes) -> dict[str, Any]:
    """Return `source`, `width` and `height` of an `img` for the result of `encode_retina`."""
    with Image.open(io.BytesIO(content)) as image:
        width, height = image.size
    return {"source": data_uri("image/png", content), "width": width // 2, "height": height // 2}


def embed_strip(strip: Filmstrip) -> dict[str, Any]:
    """Return a film strip as the argument of the macro `strip_card`."""
    images = [data_uri("image/jpeg", frame.to_jpeg()) for frame in strip.frames]
    return {"strip": strip, "images": images}


def data_uri(mime_type: str, content: bytes) -> str:
    """Encode a file as a `data:` URI."""
    return f"data:{mime_type};base64,{base64.b64encode(content).decode('ascii')}"
