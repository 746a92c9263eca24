"""Tests of atomic writes and of the checks made before writing."""

from __future__ import annotations

import shlex
import stat
from pathlib import Path

import pytest

from glimpses.utils.errors import GlimpsesError
from glimpses.utils.files import (
    atomic_write,
    check_free_space,
    check_writable,
    format_size,
    quote_path,
)


def test_a_written_file_replaces_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "new" / "scores.json"
    for text in ("old", "new"):
        with atomic_write(path) as part:
            assert part.suffix == ".json"
            part.write_text(text)
        assert path.read_text() == text
    assert list(path.parent.iterdir()) == [path]
    ordinary = tmp_path / "ordinary"
    ordinary.touch()
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(ordinary.stat().st_mode)


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "scores.json"
    path.write_text("old")

    def interrupt() -> None:
        with atomic_write(path) as part:
            part.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupt()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_cannot_be_written_is_a_one_line_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(GlimpsesError, match=r"file/scores\.json: cannot be written \("),
        atomic_write(tmp_path / "file" / "scores.json"),
    ):
        pass


def test_a_destination_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    check_writable(tmp_path / "new" / "folder")
    with pytest.raises(GlimpsesError, match=r"file: is a file; give --out a folder"):
        check_writable(tmp_path / "file" / "folder")


def test_too_little_free_space_is_refused(tmp_path: Path) -> None:
    check_free_space(tmp_path / "new", 0, "free some")
    with pytest.raises(GlimpsesError, match=r"would need about 1000000\.0 GB, but .*; free some$"):
        check_free_space(tmp_path / "new", 1e15, "free some")


def test_sizes_are_formatted_with_their_unit() -> None:
    assert [format_size(size) for size in (999, 1200, 3.4e6, 5.6e10)] == [
        "999 B", "1 kB", "3 MB", "56.0 GB",
    ]  # fmt: skip


def test_quoted_paths_are_one_word_and_no_option() -> None:
    for name in ("a b", "-x", "[1] a.mp4", "it's", "plain", "--out"):
        (word,) = shlex.split(quote_path(name))
        assert not word.startswith("-")
        assert Path(word) == Path(name)
