"""Tests of the helpers that write error messages."""

from __future__ import annotations

from glimpses.utils.errors import describe_error, pluralise, unknown_name


def test_unknown_name_suggests_the_closest_choice() -> None:
    error = unknown_name("trian: no such command", "trian", ["train", "report"])
    assert str(error) == "trian: no such command; did you mean train? there are train, report"


def test_unknown_name_lists_the_choices_when_none_is_close() -> None:
    error = unknown_name("xyz: no such command", "xyz", ["train", "report"])
    assert str(error) == "xyz: no such command; there are train, report"


def test_nouns_agree_with_their_count() -> None:
    assert [pluralise(count, "clip") for count in (0, 1, 2)] == ["0 clips", "1 clip", "2 clips"]


def test_an_error_is_described_by_its_first_line_or_its_type() -> None:
    assert describe_error(ValueError("\nno such layer\nTraceback")) == "no such layer"
    assert describe_error(ValueError()) == "ValueError"
