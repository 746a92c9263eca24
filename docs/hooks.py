"""MkDocs hooks: the page of commands, equations as MathML, and a check for foreign requests.

MkDocs calls the functions that begin with `on_` during the build; see `hooks` in mkdocs.yml.
"""

from __future__ import annotations

import html
import importlib
import inspect
import logging
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

log = logging.getLogger("mkdocs.hooks.glimpses")

#: Sentence in commands.md that the site replaces by the commands.
PLACEHOLDER = "On the site, every command follows."

# HTML that arithmatex makes of $...$ and $$...$$.
_EQUATION = re.compile(
    r'<(?P<tag>span|div) class="arithmatex">\\[(\[](?P<tex>.*?)\\[)\]]</(?P=tag)>', re.DOTALL
)

# Names and options short enough for one line on a phone; site.css keeps them unbroken.
_SHORT = re.compile(r"<code>(?=[^<\n]{1,32}</code>)")

# HTML that Markdown makes of >>>, and the directives of Python's doctest.
_PROMPT = re.compile(r"<blockquote>\s*<blockquote>|doctest:")

# Every command has `--json`, so the page describes it once; some commands then have no options.
_JSON = re.compile(r"^\* `--json`.*\n", re.MULTILINE)
_NO_OPTIONS = re.compile(r"\*\*Parameters\*\*:\s*\Z")

# A page that a docstring mentions, outside code and existing links.
_MENTION = re.compile(r"<(code|pre|a)\b.*?</\1>|(?<![\w/])docs/(?P<page>[a-z-]+)\.md", re.DOTALL)

# Attributes whose address a browser fetches by itself.
_FETCHED = {"src", "srcset", "poster", "data"}


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Replace the placeholder by the commands."""
    return markdown.replace(PLACEHOLDER, commands()) if PLACEHOLDER in markdown else markdown


def on_page_content(content: str, **_: Any) -> str:
    """Convert equations to MathML, which browsers render natively; add links; mark short code."""
    content = _EQUATION.sub(lambda match: equation(match["tex"], match["tag"]), content)
    return _SHORT.sub('<code class="short">', link_pages(content))


def on_post_page(output: str, page: Any, **_: Any) -> str:
    """Warn of addresses on other hosts and of doctest prompts; a strict build then fails."""
    for address in foreign_addresses(output):
        log.warning("%s: the page would load %s from another host", page.file.src_uri, address)
    if has_prompt(output):
        log.warning("%s: a docstring has a >>> example; use a fenced block", page.file.src_uri)
    return output


def commands() -> str:
    """Return a section for every command as Markdown: description, arguments and options."""
    from glimpses.cli import commands

    # The first part is the title, the list of commands and the common options.
    written = commands._app.generate_docs().replace("STR|PATH", "PATH")
    _, *sections = written.split("\n## glimpses ")
    entries = zip(sections, commands.COMMANDS.values(), strict=True)
    return "\n".join(_command(section, *entry) for section, entry in entries)


def _command(section: str, function: str, summary: str) -> str:
    module, _, attribute = function.partition(":")
    documented = inspect.getdoc(getattr(importlib.import_module(module), attribute)) or ""
    # The docstring without its first line, which the summary replaces, and without its sections.
    body = re.split(r"\n\n(?=\w+:\n)", documented)[0].partition("\n\n")[2]
    section = section.replace(f"\n{summary}\n", f"\n{summary}\n\n{body}\n", 1)
    # Cyclopts keeps the source's line breaks in descriptions and indents the lines as code.
    section = re.sub(r"\n {4}(?=\S)", " ", section)
    return f"\n## glimpses {_NO_OPTIONS.sub('', _JSON.sub('', section))}"


def link_pages(content: str) -> str:
    """Turn mentions of other pages, such as docs/data.md in a docstring, into links."""

    def link(match: re.Match[str]) -> str:
        page = match["page"]
        if page is None:
            return match[0]
        if not Path(__file__).with_name(f"{page}.md").is_file():
            log.warning("a docstring mentions %s, which does not exist", match[0])
        return f'<a href="{page}.html">{match[0]}</a>'

    return _MENTION.sub(link, content)


def equation(tex: str, tag: str) -> str:
    """Convert an equation to MathML: inline for the tag `span`, displayed for `div`."""
    from latex2mathml.converter import convert

    display = "block" if tag == "div" else "inline"
    mathml = convert(html.unescape(tex).strip(), display=display)
    return f'<div class="equation">{mathml}</div>' if tag == "div" else mathml


def foreign_addresses(page: str) -> list[str]:
    """Return the addresses on other hosts that a browser loads with a page.

    Links do not count. Addresses inside style sheets and scripts are not seen.
    """
    parser = _AddressParser()
    parser.feed(page)
    return parser.addresses


def has_prompt(page: str) -> bool:
    """Return whether an example with Python's prompt was rendered as a nested quotation."""
    return bool(_PROMPT.search(page))


class _AddressParser(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            fetched = name in _FETCHED or (tag == "link" and name == "href")
            if fetched and re.match(r"\s*(https?:)?//", value or ""):
                self.addresses.append(str(value))
