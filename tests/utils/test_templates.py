"""Tests of template filters and escaping."""

from __future__ import annotations

from glimpses.utils import templates


def test_html_is_escaped_and_names_in_backticks_become_code() -> None:
    text = templates._inline_code("<b> of `a<b>`")
    assert text == "&lt;b&gt; of <code>a&lt;b&gt;</code>"


def test_markdown_marks_are_escaped() -> None:
    assert templates._plain("a*b\n[c] <d>") == r"a\*b \[c\] \<d\>"
    assert templates._code("a`b\n c") == "`ab c`"
