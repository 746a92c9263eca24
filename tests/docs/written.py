"""Code blocks of the README and of docs/, and the comments that control how the tests run them.

Readers do not see these comments; each applies to the block below it:

    <!-- not run: REASON -->               skip the block; the tests report it as skipped
    <!-- needs: COMMAND [--OPTION] -->     skip the block until the command or option exists
    <!-- quick: AS WRITTEN => SMALLER -->  replace text to run faster, except in the slow tests
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

#: Languages that are run, and languages that only show something.
RUN, SHOWN = ("sh", "python"), ("text", "json", "diff")

_MARK = re.compile(r"<!-- (?P<kind>not run|needs|quick): (?P<what>.+?) -->", re.DOTALL)
_TITLE = re.compile(r'title="(.+?)"')
# Characters that need a shell.
_SHELL = re.compile(r"[*?$|<>&;`~]")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page.

    Attributes:
        page: file of the page.
        line: line number of the first line of code, from 1.
        language: word after the fence.
        text: code.
        title: file that the code belongs to, from `title=` after the language; may be empty.
        marks: kind and content of the comments above the block.
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
        """Reason not to run the block; None if it is run."""
        for kind, what in self.marks:
            if kind == "not run":
                return what
            if kind == "needs" and not _exists(what):
                return f"there is no `glimpses {what}` yet"
        return None

    def sized(self, *, quick: bool) -> str:
        """Return the code that is run: as written, or shortened for a quick run."""
        text = self.text
        for kind, what in self.marks:
            if kind != "quick":
                continue
            written, arrow, smaller = what.partition(" => ")
            assert arrow, f"{self}: {what} lacks a =>"
            assert written in text, f"{self}: {written} is not in the block"
            text = text.replace(written, smaller) if quick else text
        return text


def blocks_of(page: Path) -> list[Block]:
    """Return the fenced blocks of a page, in order."""
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
    """Run the blocks of a page in order, in `folder`, which must be the working directory."""
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
    """Apply the titled blocks of a page to a checkout: write the files, apply the diffs."""
    for block in blocks_of(page):
        file = checkout / block.title
        if block.title and block.language == "diff":
            file.write_text(_changed(file.read_text("utf-8"), block), "utf-8")
        elif block.title:
            file.write_text(block.text, "utf-8")


def _changed(text: str, block: Block) -> str:
    """Apply a diff to the text of a file; `...` separates the hunks of the diff."""
    for hunk in block.text.split("...\n"):
        lines = hunk.splitlines(keepends=True)
        before, after = (
            "".join(line[1:] for line in lines if line[0] in marks) for marks in (" -", " +")
        )
        assert text.count(before) == 1, f"{block}: {before!r} does not occur exactly once"
        text = text.replace(before, after)
    return text


def lines_of(text: str) -> Iterator[str]:
    """Yield the commands of a block, without comments and with continued lines joined."""
    for line in text.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        if words:
            yield line if _SHELL.search(shlex.join(words)) else shlex.join(words)


def _shell(line: str, folder: Path, block: Block) -> None:
    words = shlex.split(line, comments=True)
    if words[0] == "glimpses" and not _SHELL.search(line):
        # Call the command in this process: starting Python takes seconds.
        assert cli.run(words[1:]) == 0, f"{block}: {line}"
        return
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    command = ["bash", "-euo", "pipefail", "-c", line]
    subprocess.run(command, cwd=folder, check=True, env={**os.environ, "PATH": path})


def _exists(what: str) -> bool:
    """Return whether the program has a command with the options after it."""
    command, *options = what.split()
    if command not in cli.COMMANDS:
        return False
    arguments = cli.commands._app[command].assemble_argument_collection()
    names = {name for argument in arguments for name in argument.names}
    return names.issuperset(options)
