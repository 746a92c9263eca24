"""Templates of pages and cards, filled in one way."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

_CODE = re.compile("`([^`]+)`")


def render(
    template: str, filters: dict[str, Callable[..., str]] | None = None, **known: Any
) -> str:
    """Fill a template of `glimpses/templates`.

    Args:
        template: its file's name; in one that ends in .html all text is escaped.
        filters: that it uses besides `percent` and `coded`.
        known: what it is about; a name that it uses and that is missing is an error.
    """
    html = template.endswith(".html")
    environment = Environment(
        loader=PackageLoader("glimpses", "utils/templates"),
        autoescape=html,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=not html,
    )
    environment.filters["percent"] = "{:.1%}".format
    environment.filters["coded"] = _coded
    environment.filters.update(filters or {})
    return environment.get_template(template).render(known)


def _coded(text: str) -> Markup:
    """A sentence for HTML, names between backticks set as code."""
    return Markup(_CODE.sub(r"<code>\1</code>", str(escape(text))))
