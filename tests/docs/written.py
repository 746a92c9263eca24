"""The code blocks of the pages that users read: what is run, how small, and what says why not.

Comments right above a block, invisible to readers, say how it is treated:

    <!-- not run: REASON -->        it cannot be run here; it is pluralise as skipped
    <!-- needs: COMMAND [--OPTION] -->   skipped for as long as there is no such command or option
    <!-- quick: AS WRITTEN => SMALLER -->    what is put in place, but for the slow tests
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markdown_it import MarkdownIt

from glimpses import cli

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

#: Languages that are run, and those that only show something.
RUN, SHOWN = ("sh", "python"), ("text", "json", "diff")

_MARK = re.compile(r"<!-- (?P<kind>not run|needs|quick): (?P<what>.+?) -->", re.DOTALL)
_TITLE = re.compile(r'title="(.+?)"')
# What only a shell can do.
_SHELL = re.compile(r"[*?$|<>&;`~]")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page.

    Attributes:
        page: its file.
        line: of its first line of code, from 1.
        language: after the fence.
        text: the code.
        title: after the language, the file that the code is of; empty if none.
        marks: what the comments above it say: kind and content.
    """

    page: Path
    line: int
    language: str
    text: str
    title: str
    marks: tuple[tuple[str, str], ...]

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def reason(self) -> str | None:
        """Why it is not run; None if it is."""
        for kind, what in self.marks:
            if kind == "not run":
                return what
            if kind == "needs" and not _there(what):
                return f"there is no `glimpses {what}` yet"
        return None

    def sized(self, *, quick: bool) -> str:
        """The code as it is run."""
        text = self.text
        for kind, what in self.marks:
            if kind != "quick":
                continue
            written, arrow, smaller = what.partition(" => ")
            assert arrow, f"{self}: {what} lacks a =>"
            assert written in text, f"{self}: there is no {written} to be made smaller"
            text = text.replace(written, smaller) if quick else text
        return text


def blocks_of(page: Path) -> list[Block]:
    """The fenced blocks of a page, in order."""
    blocks, marks = [], []
    for token in MarkdownIt().enable("table").parse(page.read_text("utf-8")):
        if token.type == "html_block":
            marks += _MARK.findall(token.content)
        elif token.type == "fence":
            assert token.map is not None
            language = (token.info.split() or [""])[0]
            title = "".join(_TITLE.findall(token.info))
            line = token.map[0] + 2
            blocks.append(Block(page, line, language, token.content, title, tuple(marks)))
            marks = []
        elif marks:
            raise AssertionError(f"{page.name}: no block follows the comment {marks}")
    return blocks


def run(page: Path, folder: Path, *, quick: bool = True) -> None:
    """Run a page's blocks from top to bottom, as its reader would in `folder`.

    `folder` must be the working directory.
    """
    names: dict[str, Any] = {"__name__": page.stem}
    for block in blocks_of(page):
        if block.language not in RUN or block.reason is not None:
            continue
        text = block.sized(quick=quick)
        if block.language == "python":
            exec(compile("\n" * (block.line - 1) + text, str(page), "exec"), names)
        else:
            for line in lines_of(text):
                _shell(line, folder, block)


def follow(page: Path, checkout: Path) -> None:
    """Do in a checkout what a page's titled blocks say: write the files, make the changes."""
    for block in blocks_of(page):
        file = checkout / block.title
        if block.title and block.language == "diff":
            file.write_text(_changed(file.read_text("utf-8"), block), "utf-8")
        elif block.title:
            file.write_text(block.text, "utf-8")


def _changed(text: str, block: Block) -> str:
    """A file's text after a diff, whose places are apart by "..."."""
    for place in block.text.split("...\n"):
        lines = place.splitlines(keepends=True)
        before, after = (
            "".join(line[1:] for line in lines if line[0] in kept) for kept in (" -", " +")
        )
        assert text.count(before) == 1, f"{block}: {before!r} is not the place of one change"
        text = text.replace(before, after)
    return text


def lines_of(text: str) -> Iterator[str]:
    """The commands of a block: without comments, and with broken lines joined."""
    for line in text.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        if words:
            yield line if _SHELL.search(shlex.join(words)) else shlex.join(words)


def _shell(line: str, folder: Path, block: Block) -> None:
    words = shlex.split(line, comments=True)
    if words[0] == "glimpses" and not _SHELL.search(line):
        # What the program `glimpses` does, without the seconds that a new Python takes.
        assert cli.run(words[1:]) == 0, f"{block}: {line}"
        return
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    command = ["bash", "-euo", "pipefail", "-c", line]
    subprocess.run(command, cwd=folder, check=True, env={**os.environ, "PATH": path})


def _there(what: str) -> bool:
    """Whether the program has a command, and the command an option."""
    command, *options = what.split()
    if command not in cli.COMMANDS:
        return False
    arguments = cli.commands._app[command].assemble_argument_collection()
    names = {name for argument in arguments for name in argument.names}
    return names.issuperset(options)
