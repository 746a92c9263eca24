"""The command line: one function a command, one line an error, an honest exit code."""

from __future__ import annotations

import importlib
import inspect
import json
import subprocess
import sys
from pathlib import Path

import pytest

from glimpses import cli
from glimpses.datasets.synthetic import SyntheticSet


def function_of(command: str) -> object:
    module, name = cli.COMMANDS[command][0].split(":")
    return getattr(importlib.import_module(module), name)


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_every_option_is_explained(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    function = function_of(command)
    documented = inspect.getdoc(function) or ""
    for parameter in inspect.signature(function).parameters:  # type: ignore[arg-type]
        assert f"\n    {parameter}: " in documented, f"{command}: {parameter} is not documented"
    assert cli.run([command, "--help"]) == 0
    shown = capsys.readouterr().out
    assert "Usage: glimpses" in shown


def test_help_lists_the_commands_without_loading_pytorch() -> None:
    program = (
        "import sys; from glimpses.cli import run; run(['--help']); "
        "print('torch' in sys.modules, 'numpy' in sys.modules)"
    )
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert all(command in shown.stdout for command in cli.COMMANDS)
    assert shown.stdout.splitlines()[-1] == "False False"


@pytest.mark.parametrize("command", ["check", "extract", "train"])
def test_a_missing_data_set_is_told_before_pytorch_is_loaded(command: str) -> None:
    program = (
        f"import sys; from glimpses.cli import run; run(['{command}', 'nowhere', '--out', 'x']);"
        "print('torch' in sys.modules, 'numpy' in sys.modules)"
    )
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert shown.stderr == "error: nowhere: no such folder or file; check its name\n"
    assert shown.stdout == "False False\n"


def test_printed_commands_quote_paths() -> None:
    data = SyntheticSet(Path("my clips"), ("run",), {"train": 1})
    assert "  glimpses check 'my clips'\n  glimpses train 'my clips' --out" in str(data)


def test_predicting_and_training_load_nothing_that_only_others_need() -> None:
    """Each of these takes most of a second; what draws or scores loads them when it does."""
    heavy = ("matplotlib", "scipy", "sklearn", "torch._dynamo", "torchmetrics")
    code = (
        "import sys, glimpses.inference.batch, glimpses.training;"
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "[]\n"


@pytest.mark.parametrize(
    ("arguments", "message", "code"),
    [
        (["train", "nowhere", "--out", "run"], "nowhere: no such folder", 1),
        (["extract", "nowhere"], "nowhere: no such folder", 1),
        (["check", "nowhere"], "nowhere", 1),
        (["evaluate", "nowhere"], "nowhere: is not a run", 1),
        (["predict", "nowhere", "clip.mp4"], "nowhere: is not a run", 1),
        (["predict", "nowhere", "[720p] a.mp4"], "nowhere: is not a run", 1),
        (["predict"], "RUN", 2),
        (["train", "data"], "--out", 2),
        (["train", "data", "--out", "run", "--block-length", "many"], "--block-length", 2),
        (["train", "data", "--out", "run", "--block-length", "0"], "--block-length 0: must be", 1),
        (["trian"], "trian", 2),
    ],
)
def test_errors_are_one_line_on_standard_error(
    arguments: list[str],
    message: str,
    code: int,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("data").mkdir()
    assert cli.run(arguments) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert line.startswith("error: ")
    assert message in line
    assert list(tmp_path.iterdir()) == [tmp_path / "data"]


class Outcome:
    """A result as commands give it."""

    ok = True

    def __str__(self) -> str:
        return "for [people]"

    def to_json(self) -> dict[str, str]:
        return {"for": "programs"}


@pytest.fixture
def outcome(monkeypatch: pytest.MonkeyPatch) -> Outcome:
    """Replace `glimpses check` by a function that gives this outcome."""
    import glimpses.check

    result = Outcome()
    monkeypatch.setattr(glimpses.check, "check", lambda path: result)
    return result


def test_people_and_programs_are_served(
    outcome: Outcome, capsys: pytest.CaptureFixture[str]
) -> None:
    cli.commands._show(outcome, as_json=False)
    assert capsys.readouterr().out == "for [people]\n"
    cli.commands._show(outcome, as_json=True)
    assert json.loads(capsys.readouterr().out) == {"for": "programs"}


def test_interruption_says_that_the_work_is_kept(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "clip.avi").touch()

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli.commands, "_show", interrupt)
    assert cli.run(["check", str(tmp_path)]) == 130
    assert "finished work is kept" in capsys.readouterr().err
