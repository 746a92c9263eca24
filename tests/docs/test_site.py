"""Tests of the hooks of the site; .ci/run builds the site with strict links."""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from collections.abc import Iterator
from dataclasses import is_dataclass
from types import ModuleType
from typing import Any, get_args, get_type_hints
from xml.etree import ElementTree

import pytest

from glimpses import cli
from tests.docs.written import ROOT

MATHML = "{http://www.w3.org/1998/Math/MathML}"


@pytest.fixture(scope="module")
def hooks() -> ModuleType:
    name = "glimpses_docs_hooks"
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / "hooks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def options_of(name: str, hint: Any) -> Iterator[str]:
    """Yield the option of a parameter; of a dataclass, the options of its fields.

    The help leaves out options that are dataclasses themselves, such as `--authors.selector`.
    """
    group = next((part for part in (hint, *get_args(hint)) if is_dataclass(part)), None)
    names = [name]
    if group is not None:
        hints = get_type_hints(group).items()
        names = [field for field, part in hints if not any(map(is_dataclass, get_args(part)))]
    yield from (option.replace("_", "-") for option in names)


def is_python_only(hint: Any) -> bool:
    return any(
        getattr(extra, "parse", None) is False for extra in getattr(hint, "__metadata__", ())
    )


def test_every_command_is_documented_with_all_its_options(hooks: ModuleType) -> None:
    section = re.compile(r"^## glimpses (\S+)\n(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
    sections = dict(section.findall(hooks.commands()))
    assert list(sections) == list(cli.COMMANDS)
    for name, (function, summary) in cli.COMMANDS.items():
        module, attribute = function.split(":")
        called = getattr(importlib.import_module(module), attribute)
        section_text = sections[name]
        assert summary in section_text
        hints = get_type_hints(called)
        annotated = get_type_hints(called, include_extras=True)
        for parameter in inspect.signature(called).parameters.values():
            if is_python_only(annotated[parameter.name]):
                continue
            if parameter.kind is not parameter.KEYWORD_ONLY:
                assert parameter.name.replace("_", "-").upper() in section_text
                continue
            for option in options_of(parameter.name, hints[parameter.name]):
                assert f"`--{option}" in section_text, f"{name}: {option}"


def test_a_command_has_the_body_of_its_docstring(hooks: ModuleType) -> None:
    train = hooks.commands().partition("## glimpses train\n")[2].partition("\n## ")[0]
    assert "the same call continues from the last whole epoch" in train
    assert "Raises" not in train


def test_a_command_without_options_has_no_heading_for_them(hooks: ModuleType) -> None:
    sections = hooks.commands().split("\n## ")
    assert not [section for section in sections if section.rstrip().endswith("**Parameters**:")]


def test_pages_that_a_docstring_mentions_are_linked(
    hooks: ModuleType, caplog: pytest.LogCaptureFixture
) -> None:
    assert hooks.link_pages("<p>see docs/data.md.</p>") == (
        '<p>see <a href="data.html">docs/data.md</a>.</p>'
    )
    unchanged = '<code>docs/data.md</code> <a href="x">docs/data.md</a> <p>mydocs/data.md</p>'
    assert hooks.link_pages(unchanged) == unchanged
    assert not caplog.messages
    hooks.link_pages("docs/nowhere.md")
    assert "docs/nowhere.md" in caplog.text


def test_short_names_are_marked(hooks: ModuleType) -> None:
    long = "<code>" + 33 * "x" + "</code>"
    assert hooks.on_page_content(f"<p><code>--model max</code> {long}</p>") == (
        f'<p><code class="short">--model max</code> {long}</p>'
    )


def test_the_placeholder_is_replaced_by_the_commands(hooks: ModuleType) -> None:
    page = (ROOT / "docs" / "commands.md").read_text("utf-8")
    assert page.count(hooks.PLACEHOLDER) == 1
    assert "## glimpses train" in hooks.on_page_markdown(page)
    assert hooks.on_page_markdown("another page") == "another page"


@pytest.mark.parametrize(
    "page",
    [
        '<script src="https://example.org/a.js"></script>',
        '<link rel="stylesheet" href="//example.org/a.css">',
        '<img alt="" src="http://example.org/a.png">',
        '<video poster="https://example.org/a.jpg"></video>',
        '<img srcset="https://example.org/a.png 2x">',
    ],
)
def test_addresses_on_other_hosts_are_found(hooks: ModuleType, page: str) -> None:
    (address,) = hooks.foreign_addresses(page)
    assert "example.org" in address


def test_links_and_local_files_are_not_foreign(hooks: ModuleType) -> None:
    page = (
        '<a href="https://example.org">a link</a><img src="figures/flow.svg">'
        '<link rel="stylesheet" href="assets/main.css"><script src="../a.js"></script>'
    )
    assert hooks.foreign_addresses(page) == []


def test_an_example_with_a_prompt_is_found(hooks: ModuleType) -> None:
    markdown = pytest.importorskip("markdown", reason="markdown is in the extra `docs`")
    assert hooks.has_prompt(markdown.markdown(">>> Recogniser.load(run)\n"))
    assert hooks.has_prompt("<code>Recogniser.load(run)  # doctest: +SKIP</code>")
    assert not hooks.has_prompt(markdown.markdown("> A quotation.\n\n```python\nload(run)\n```"))


def test_equations_become_mathml(hooks: ModuleType) -> None:
    pytest.importorskip("latex2mathml", reason="latex2mathml is in the extra `docs`")
    content = (
        'a <span class="arithmatex">\\(x &lt; 1\\)</span> b '
        '<div class="arithmatex">\\[\n\\frac{a}{b}\n\\]</div>'
    )
    inline, display = ElementTree.fromstring(f"<p>{hooks.on_page_content(content)}</p>").iter(
        f"{MATHML}math"
    )
    assert "".join(inline.itertext()) == "x<1"
    assert (inline.get("display"), display.get("display")) == ("inline", "block")
    (fraction,) = display.iter(f"{MATHML}mfrac")
    assert ["".join(part.itertext()) for part in fraction] == ["a", "b"]
