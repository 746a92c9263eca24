"""Jinja templates of the HTML pages and the Markdown model cards."""

from __future__ import annotations

import json
import re
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

# Characters that have a meaning in Markdown, or in HTML within it.
_MARKDOWN = str.maketrans({mark: f"\\{mark}" for mark in r"\`*_{}[]<>#|"})


def render(template: str, **context: Any) -> str:
    """Render a template of `glimpses/utils/templates`; a missing variable raises an error.

    Text is escaped in `.html` templates only. Filters are `percent`, in `.html` templates
    `inline_code`, and in `.md` templates `plain`, `code` and `json`.
    """
    html = template.endswith(".html")
    environment = Environment(
        loader=PackageLoader("glimpses", "utils/templates"), undefined=StrictUndefined,
        autoescape=html, keep_trailing_newline=not html, trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters["percent"] = "{:.1%}".format
    if html:
        environment.filters["inline_code"] = _inline_code
    else:
        environment.filters.update(plain=_plain, code=_code, json=json.dumps)
    return environment.get_template(template).render(context)


def _inline_code(text: str) -> Markup:
    """Escape text for HTML, and set names between backticks as code."""
    return Markup(re.sub("`([^`]+)`", r"<code>\1</code>", str(escape(text))))


def _plain(text: object) -> str:
    """Escape text for Markdown, on one line."""
    return " ".join(str(text).split()).translate(_MARKDOWN)


def _code(text: object) -> str:
    """Format text as Markdown code, on one line."""
    return f"`{' '.join(str(text).replace('`', '').split())}`"
