"""What the site does beyond MkDocs: the page of commands, equations, and no foreign requests.

MkDocs calls the functions that begin with `on_` while it builds; see `hooks` in mkdocs.yml.
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

#: Stands in commands.md where the commands go.
PLACE = "On the site every command follows, made from the program itself."

# What arithmatex leaves of $...$ and $$...$$.
_EQUATION = re.compile(
    r'<(?P<tag>span|div) class="arithmatex">\\[(\[](?P<tex>.*?)\\[)\]]</(?P=tag)>', re.DOTALL
)

# Names and options that fit in a phone's line whole, so that site.css need not break them.
_SHORT = re.compile(r"<code>(?=[^<\n]{1,32}</code>)")

# What Markdown makes of >>>, and what stands behind it for Python's doctest.
_PROMPT = re.compile(r"<blockquote>\s*<blockquote>|doctest:")

# Every command has it, so it is told once; without it some have no options.
_JSON = re.compile(r"^\* `--json`.*\n", re.MULTILINE)
_NO_OPTIONS = re.compile(r"\*\*Parameters\*\*:\s*\Z")

# A page that a docstring names, but where it is code or leads somewhere already.
_NAMED = re.compile(r"<(code|pre|a)\b.*?</\1>|(?<![\w/])docs/(?P<page>[a-z-]+)\.md", re.DOTALL)

# Elements that make a browser ask for what they name, by the attribute that names it.
_ASKING = {"src", "srcset", "poster", "data"}


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Put the commands in their place."""
    return markdown.replace(PLACE, commands()) if PLACE in markdown else markdown


def on_page_content(content: str, **_: Any) -> str:
    """Turn equations into MathML, which browsers draw by themselves; mend links and names."""
    content = _EQUATION.sub(lambda found: equation(found["tex"], found["tag"]), content)
    return _SHORT.sub('<code class="short">', linked(content))


def on_post_page(output: str, page: Any, **_: Any) -> str:
    """Warn of what a browser would fetch from another host, and of prompts; strict builds fail."""
    for address in foreign(output):
        log.warning("%s: its readers' browsers would ask %s", page.file.src_uri, address)
    if prompts(output):
        log.warning("%s: has a docstring's >>> in it; write a fenced block", page.file.src_uri)
    return output


def commands() -> str:
    """A section for each command: what it does, its arguments and options, as Markdown."""
    from glimpses.cli import commands

    # First come a title, a list of the commands and the options that all have.
    _, *sections = commands._app.generate_docs().split("\n## glimpses ")
    entries = zip(sections, commands.COMMANDS.values(), strict=True)
    return "\n".join(_command(section, *entry) for section, entry in entries)


def _command(section: str, function: str, summary: str) -> str:
    module, _, attribute = function.partition(":")
    documented = inspect.getdoc(getattr(importlib.import_module(module), attribute)) or ""
    # Below the docstring's first line, for which the summary stands, and above its sections.
    body = re.split(r"\n\n(?=\w+:\n)", documented)[0].partition("\n\n")[2]
    section = section.replace(f"\n{summary}\n", f"\n{summary}\n\n{body}\n", 1)
    # Cyclopts breaks the lines of descriptions where the source does and indents them as code.
    section = re.sub(r"\n {4}(?=\S)", " ", section)
    return f"\n## glimpses {_NO_OPTIONS.sub('', _JSON.sub('', section))}"


def linked(content: str) -> str:
    """A page's HTML with links where the text names other pages, as docstrings do."""

    def link(found: re.Match[str]) -> str:
        page = found["page"]
        if page is None:
            return found[0]
        if not Path(__file__).with_name(f"{page}.md").is_file():
            log.warning("%s is named, and there is no such page", found[0])
        return f'<a href="{page}.html">{found[0]}</a>'

    return _NAMED.sub(link, content)


def equation(tex: str, tag: str) -> str:
    """An equation as MathML: a `span` within a line, or a `div` of its own."""
    from latex2mathml.converter import convert

    display = "block" if tag == "div" else "inline"
    made = convert(html.unescape(tex).strip(), display=display)
    return f'<div class="equation">{made}</div>' if tag == "div" else made


def foreign(page: str) -> list[str]:
    """Addresses on other hosts that a browser fetches when it shows a page.

    Links to be clicked are none of them, nor what a style sheet or a script names.
    """
    finder = _Finder()
    finder.feed(page)
    return finder.found


def prompts(page: str) -> bool:
    """Whether an example with Python's prompt was taken for a quotation of a quotation."""
    return bool(_PROMPT.search(page))


class _Finder(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            asks = name in _ASKING or (tag == "link" and name == "href")
            if asks and re.match(r"\s*(https?:)?//", value or ""):
                self.found.append(str(value))
