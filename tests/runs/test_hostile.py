"""Tests of hostile run folders: each is refused in one line, quickly."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch

from glimpses import cli, models, runs
from glimpses.utils.errors import GlimpsesError, escape_controls
from glimpses.utils.files import read_bytes, read_json
from tests.configs import model_config, run_config


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder, config = (
        tmp_path / "run",
        run_config(
            classes=("jump", "run"), model=model_config(num_classes=2, places=4, channels=6)
        ),
    )
    runs.write_config(folder, config)
    runs.save_model(folder, models.build_model(config.model))
    return folder


def replace_by_pipe(file: Path) -> None:
    file.unlink(missing_ok=True)
    os.mkfifo(file)


def replace_by_device(file: Path) -> None:
    file.unlink(missing_ok=True)
    file.symlink_to("/dev/zero")


def replace_by_folder(file: Path) -> None:
    file.unlink(missing_ok=True)
    file.mkdir()


def replace_by_huge(file: Path) -> None:
    with file.open("wb") as opened:
        opened.truncate(2**40)


def replace_by_deep(file: Path) -> None:
    file.write_text("[" * 200_000)


@pytest.mark.skipif(os.name != "posix", reason="pipes and devices are those of POSIX")
@pytest.mark.parametrize(
    "replace",
    [replace_by_pipe, replace_by_device, replace_by_folder, replace_by_huge, replace_by_deep],
)
@pytest.mark.parametrize("name", [runs.CONFIG, runs.WEIGHTS, runs.CURVES, runs.SCORES])
def test_other_things_than_files_are_refused(
    run: Path, name: str, replace: Callable[[Path], None]
) -> None:
    replace(run / name)
    read = {runs.CURVES: runs.read_curves, runs.SCORES: runs.read_scores}.get(name, runs.load_model)
    with pytest.raises(GlimpsesError, match=name) as caught:
        read(run)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(
    run: Path, value: float, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = safetensors.torch.load_file(run / runs.WEIGHTS)
    next(tensor for tensor in weights.values() if tensor.is_floating_point()).view(-1)[0] = value
    (run / runs.WEIGHTS).write_bytes(safetensors.torch.save(weights))
    assert cli.run(["predict", str(run), "clip.mp4", "--json"]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "not finite" in captured.err
    assert captured.err.count("\n") == 1


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("frame_size",), 2**31), (("frame_size",), 8000), (("data", "fps"), 1000),
        (("data", "block_length"), 2**31), (("model", "options", "hidden_size"), 2**31),
        (("model", "cube", "channels"), 2**31), (("model", "num_classes"), 2**31),
    ],
)  # fmt: skip
def test_absurd_sizes_are_refused(run: Path, path: tuple[str, ...], value: int) -> None:
    content = json.loads((run / runs.CONFIG).read_text())
    inner = content
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    (run / runs.CONFIG).write_text(json.dumps(content))
    with pytest.raises(GlimpsesError, match=runs.CONFIG):
        runs.read_config(run)


def test_control_characters_are_escaped() -> None:
    assert escape_controls("a\x1b[2J\x07\x9b\u202e\nb ü") == "a\\x1b[2J\\x07\\x9b\\u202e\nb ü"


def test_readers_bound_what_they_read(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    file.write_text("[1, 2]")
    assert read_json(file) == [1, 2]
    with pytest.raises(OSError, match="more than 3 B"):
        read_bytes(file, 3)
