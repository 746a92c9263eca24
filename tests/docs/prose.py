"""Check of the project's English: docstrings, comments, messages, names and pages.

`python -m tests.docs.prose` prints every violation and a count per part of the project, and fails
if there is one. The words are in `prose.txt`, with what to write instead.
"""

from __future__ import annotations

import ast
import io
import re
import sys
import tokenize
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
WORDS = Path(__file__).with_name("prose.txt")

# A docstring begins with a verb or a noun; it is not a question.
_QUESTION = re.compile(r"\s*(What|Whether|How|Where|Which|Who|Whose|Why|When)\b")

# Parts of a page that are not prose.
_NOT_PROSE = re.compile(
    r"^(?P<fence>```+|~~~+).*?^(?P=fence)|<!--.*?-->|`[^`]+`|\]\([^)]*\)|\$\$.*?\$\$|^::: .*?$",
    re.DOTALL | re.MULTILINE,
)

_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


@dataclass(frozen=True)
class Rule:
    """A pattern to avoid.

    Attributes:
        pattern: regular expression of whole words.
        advice: what to write instead.
    """

    pattern: re.Pattern[str]
    advice: str


@dataclass(frozen=True)
class Violation:
    """A place that breaks a rule.

    Attributes:
        file: the file.
        line: its line, from 1.
        excerpt: the words that break the rule.
        advice: what to write instead.
    """

    file: Path
    line: int
    excerpt: str
    advice: str

    @property
    def part(self) -> str:
        """Part of the project: a package, the tests of one, or a folder of pages."""
        return part_of(self.file)

    def __str__(self) -> str:
        return f'{self.file.relative_to(ROOT)}:{self.line}: "{self.excerpt}": {self.advice}'


@cache
def rules() -> dict[str, list[Rule]]:
    """Return the rules by section of `prose.txt`: "text" and "names"."""
    sections: dict[str, list[Rule]] = {}
    for line in WORDS.read_text("utf-8").splitlines():
        if line.startswith("["):
            section = sections.setdefault(line.strip("[]"), [])
        elif line and not line.startswith("#"):
            pattern, arrow, advice = line.partition(" -> ")
            if not arrow:
                raise ValueError(f"{WORDS.name}: {line!r} lacks ` -> `")
            section.append(_rule(pattern.strip(), advice.strip()))
    return sections


def _rule(pattern: str, advice: str) -> Rule:
    # A phrase may be broken over two lines.
    words = pattern.replace(" ", r"\s+")
    return Rule(re.compile(rf"(?:(?<![\w-])|(?=,))(?:{words})(?![\w-])", re.IGNORECASE), advice)


def files() -> list[Path]:
    """Return the files that are checked."""
    folders = ("src", "tests", "benchmarks", "docs")
    code = [file for folder in folders for file in (ROOT / folder).rglob("*.py")]
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]
    web = [file for suffix in ("html", "js") for file in (ROOT / "src").rglob(f"*.{suffix}")]
    return sorted({*code, *pages, *web})


def part_of(file: Path) -> str:
    """Return the part of the project that a file belongs to."""
    names = file.relative_to(ROOT).parts
    if names[0] == "src":
        return names[2] if len(names) > 3 else "glimpses"
    if names[0] == "tests":
        return f"tests/{names[1]}" if len(names) > 2 else "tests"
    return names[0]


def check(file: Path) -> list[Violation]:
    """Return the violations of a file, in order."""
    source = file.read_text("utf-8")
    if file.suffix != ".py":
        text = _NOT_PROSE.sub(_blank, source) if file.suffix == ".md" else source
        return _words(file, text, 1)
    tree = ast.parse(source)
    violations = [
        *_questions(file, tree),
        *_names(file, tree),
        *(v for line, text in texts(file, tree, source) for v in _words(file, text, line)),
    ]
    return sorted(violations, key=lambda violation: violation.line)


def texts(file: Path, tree: ast.Module, source: str) -> Iterator[tuple[int, str]]:
    """Yield the first line and the text of docstrings, comments and, in src/, messages."""
    messages = file.is_relative_to(ROOT / "src")
    documentation = {
        id(node.body[0].value)  # type: ignore[attr-defined]
        for node in ast.walk(tree)
        if isinstance(node, _DOCUMENTED) and ast.get_docstring(node)
    }
    for node in ast.walk(tree):
        if not isinstance(node, ast.Constant) or not isinstance(node.value, str):
            continue
        if id(node) in documentation or (messages and " " in node.value):
            yield node.lineno, node.value
    first, comment = 0, list[str]()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            if comment and token.start[0] != first + len(comment):
                yield first, "\n".join(comment)
                comment = []
            first = first if comment else token.start[0]
            comment.append(token.string.lstrip("#: "))
    yield first, "\n".join(comment)


def _questions(file: Path, tree: ast.Module) -> Iterator[Violation]:
    for node in ast.walk(tree):
        if not isinstance(node, _DOCUMENTED) or not ast.get_docstring(node):
            continue
        constant = node.body[0].value  # type: ignore[attr-defined]
        if match := _QUESTION.match(constant.value):
            excerpt = constant.value.strip().partition("\n")[0]
            advice = f'begins with "{match[1]}": begin with a verb or a noun'
            yield Violation(file, constant.lineno, excerpt, advice)


def _names(file: Path, tree: ast.Module) -> Iterator[Violation]:
    if file.is_relative_to(ROOT / "tests"):
        return
    for node in ast.walk(tree):
        match node:
            case ast.ClassDef(name=name) | ast.FunctionDef(name=name) | ast.arg(arg=name):
                pass
            case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
                pass
            case _:
                continue
        for rule in rules()["names"]:
            if rule.pattern.fullmatch(name.strip("_")):
                yield Violation(file, node.lineno, name, rule.advice)


def _words(file: Path, text: str, line: int) -> Iterator[Violation]:
    for rule in rules()["text"]:
        for match in rule.pattern.finditer(text):
            excerpt = " ".join(match[0].split())
            yield Violation(file, line + text.count("\n", 0, match.start()), excerpt, rule.advice)


def _blank(match: re.Match[str]) -> str:
    return re.sub(r"[^\n]", " ", match[0])


def main() -> int:
    """Print all violations and their count per part; return the exit code."""
    violations = [violation for file in files() for violation in check(file)]
    for violation in violations:
        print(violation)
    for part, number in Counter(violation.part for violation in violations).most_common():
        print(f"{number:5} {part}")
    return bool(violations)


if __name__ == "__main__":
    sys.exit(main())
