"""Options of `glimpses train` on the command line."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from glimpses import cli
from glimpses.models import ModelOptions
from glimpses.runs import DataOptions, OptimOptions


@pytest.fixture(autouse=True)
def _clips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of clips: a missing one is refused before any option is read."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "clips").mkdir()


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    code = cli.run(words)
    return code, capsys.readouterr().err


def test_help_fits_on_two_screens() -> None:
    # In a process of its own, since the width of the first help is remembered.
    out = subprocess.run(
        [sys.executable, "-c", "from glimpses.cli import main; main()", "train", "--help"],
        capture_output=True, text=True, check=True, env={**os.environ, "COLUMNS": "100"},
    )  # fmt: skip
    lines = out.stdout.splitlines()
    assert len(lines) <= 135
    text = out.stdout
    common = text[text.index("Common options") : text.index("Data options")]
    for option in ("--out", "--model", "--backbone", "--split", "--epochs", "--batch-size", "--lr"):
        assert option in common
    for options in (DataOptions, OptimOptions):
        for field in fields(options):
            assert f"--{field.name.replace('_', '-')}" in text
    # The options of the authors' model have a page of their own.
    for field in fields(ModelOptions)[:-1]:
        assert f"--{field.name.replace('_', '-')}" in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--batch", "8"), "--batch-size"),
        (("--hidden", "8"), "--hidden-size"),
        (("--optimiser", "adam"), "--optimizer"),
    ],
)
def test_close_names_are_suggested(
    capsys: pytest.CaptureFixture[str], words: tuple[str, ...], message: str
) -> None:
    code, error = run(capsys, "train", "clips", "--out", "run", *words)
    assert code == 2
    assert message in error
    assert "glimpses train --help" in error


def test_a_missing_option_points_to_the_commands_help(capsys: pytest.CaptureFixture[str]) -> None:
    code, error = run(capsys, "train", "clips")
    assert code == 2
    assert "--out" in error
    assert "glimpses train --help" in error


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--lr", "0"), "--learning-rate 0.0: must be at least 1e-12"),
        (("--lr", "nan"), "--learning-rate nan"),
        (("--batch-size", "0"), "--batch-size 0: must be a whole number, at least 1"),
        (("--model", "lstm"), "--model lstm: "),
        (("--dropout", "1.5"), "--dropout 1.5: must be from 0 to 0.99"),
        (
            ("--block-length", "10", "--stride", "11"),
            "--stride 11: must be a whole number from 1 to 10",
        ),
        (("--model", "softmax", "--motion"), "--motion is not supported by --model softmax"),
        (("--recipe", "standard", "--stride", "11"), "--stride 11: must be a whole number"),
        (("--budget", "soon"), "--budget soon: write a time like 90s, 2m or 1h, or none"),
        (("--motion-only",), "--motion-only needs --motion"),
        (("--seed", "-1"), "--seed -1"),
    ],
)
def test_values_are_checked_before_any_work(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, words: tuple[str, ...], message: str
) -> None:
    code, error = run(capsys, "train", "clips", "--out", str(tmp_path / "run"), *words)
    assert code == 1
    assert error.startswith("error: ")
    assert message in error
    assert error.count("\n") == 1
