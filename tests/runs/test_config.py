"""Configs of runs: written, read back, and refused where they are not valid."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from glimpses.models import MODELS, AuthorsOptions
from glimpses.runs import CONFIG, RunConfig, read_config, write_config
from glimpses.utils.errors import GlimpsesError
from tests.configs import model_config, run_config


def make_config(name: str = "attention", **changes: Any) -> RunConfig:
    options = {"hidden_size": 7, "authors": AuthorsOptions(output_size=3), "motion": True}
    shape = model_config(num_classes=2, model=name, places=4, channels=5, **options)
    values = {
        "classes": ("jump", "run"), "model": shape, "fps": 10, "feature_dir": Path("/store"),
        "clips": {"train": ("a.avi",), "test": ()}, "seen": ("d" * 64,), **changes,
    }  # fmt: skip
    return run_config(**values)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("changes", [{}, {"optim": None}, {"fps": "native"}], ids=str)
def test_a_config_is_read_as_it_was_written(
    name: str, changes: dict[str, Any], tmp_path: Path
) -> None:
    config = make_config(name, **changes)
    write_config(tmp_path, config)
    assert read_config(tmp_path) == config
    assert config.differences(read_config(tmp_path)) == []


def test_an_old_run_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / CONFIG).write_text(json.dumps({"format": 1, "classes": ["a"], "steps": 30}))
    with pytest.raises(GlimpsesError, match=r"has format 1, .* train the run again") as caught:
        read_config(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (
            ("data", "block_length"),
            "10",
            r"Expected `int`, got `str` - at `\$\.data\.block_length`",
        ),
        (("data", "aggregate"), "sum", "Invalid enum value"),
        (("data", "more"), 1, "unknown option data.more"),
        (("more",), 1, "unknown option more"),
        (("model", "options", "hidden_size"), 0, "--hidden-size 0"),
        (("model", "options", "model"), "lstm", "--model lstm: unknown name"),
        (("model", "num_classes"), 3, "classes are not the 3 names"),
        (("optim", "epochs"), 0, "--epochs 0"),
        (("clips", "train"), ["a", 1], "Expected `str`, got `int`"),
    ],
)
def test_invalid_values_are_refused(
    path: tuple[str, ...], value: Any, message: str, tmp_path: Path
) -> None:
    write_config(tmp_path, make_config())
    values = json.loads((tmp_path / CONFIG).read_text())
    part = values
    for name in path[:-1]:
        part = part[name]
    part[path[-1]] = value
    (tmp_path / CONFIG).write_text(json.dumps(values))
    with pytest.raises(GlimpsesError, match=message):
        read_config(tmp_path)


def test_differences_name_what_differs() -> None:
    config = make_config()
    assert config.differences(make_config(fps=5)) == ["fps (10, not 5)"]
    assert config.differences(make_config(feature_dir=None)) == []
