"""The project's English keeps the rules of prose.txt."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs import prose

PARTS = sorted({prose.part_of(file) for file in prose.files()})


@pytest.mark.parametrize("part", PARTS)
def test_a_part_of_the_project_keeps_the_rules(part: str) -> None:
    files = [file for file in prose.files() if prose.part_of(file) == part]
    violations = [str(violation) for file in files for violation in prose.check(file)]
    assert not violations, "\n".join(["", *violations])


def violations_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, text: str
) -> list[str]:
    monkeypatch.setattr(prose, "ROOT", tmp_path)
    file = tmp_path / name
    file.parent.mkdir(exist_ok=True)
    file.write_text(text)
    return [f"{violation.line} {violation.excerpt}" for violation in prose.check(file)]


def test_words_are_found_in_docstrings_comments_messages_and_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = '''"""Classify rightly."""

# It begins
# anew.
def run(name):
    """Where it is."""
    found = f"{name} lies in {name}"
'''
    assert violations_of(tmp_path, monkeypatch, "src/module.py", source) == [
        "1 rightly", "4 anew", "6 Where it is.", "7 found", "7 lies",
    ]  # fmt: skip


def test_a_phrase_may_be_broken_over_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "The score\nhangs\non it."
    assert violations_of(tmp_path, monkeypatch, "page.md", text) == ["2 hangs on"]


def test_code_on_a_page_is_no_prose(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "`rightly`\n\n```text\nrightly\n```\n<!-- not run: rightly -->\n[a](rightly.md)\n"
    assert violations_of(tmp_path, monkeypatch, "page.md", text) == []


def test_ground_truth_is_a_term(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "The ground truth and the ground\ntruth, but not the truth."
    assert violations_of(tmp_path, monkeypatch, "page.md", text) == ["2 truth"]
