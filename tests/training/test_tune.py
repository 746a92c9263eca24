"""`--recipe auto` and `tune` on feature sets with a planted difference."""

from __future__ import annotations

import json
import math
import shlex
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import glimpses
from glimpses import runs
from glimpses.datasets.layouts import feature_set
from glimpses.features.store import CubeStore
from glimpses.models import ModelOptions
from glimpses.runs import DataOptions, OptimOptions
from glimpses.training import TrainOptions, recipes, resolve, selection, trial, tune
from glimpses.training.budget import parse_budget
from glimpses.utils.errors import GlimpsesError
from glimpses.utils.options import InvalidOptionError
from tests.configs import train
from tests.training import planted


def candidate(model: str, *, rate: float = 1e-2, **options: Any) -> TrainOptions:
    width = {} if model == "linear" else {"hidden_size": 8, "num_layers": 1, "dropout": 0.0}
    return TrainOptions(
        DataOptions(block_length=planted.FRAMES, last_steps=1 if model == "linear" else None),
        ModelOptions(model=model, **width, **options),
        OptimOptions(epochs=6, batch_size=16, learning_rate=rate, checkpoint="last"),
    )


CANDIDATES = {
    "linear": candidate("linear"),
    "attention": candidate("attention", motion=True, motion_bias=True),
    # It learns next to nothing.
    "average": candidate("average", rate=1e-6),
}


@pytest.fixture(autouse=True)
def _few_candidates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selection, "CANDIDATES", CANDIDATES)
    monkeypatch.setattr(trial, "_FOLDS", 3)


@pytest.mark.parametrize(
    ("make", "winner"),
    [
        (planted.diffuse, "linear"),
        (planted.moving_place, "attention"),
        (planted.everywhere, "attention"),
    ],
)
def test_the_right_model_is_chosen(tmp_path: Path, make: planted.Make, winner: str) -> None:
    data = planted.make_set(tmp_path / "data", make, groups=10)
    tuning = tune(data, budget="none")
    assert tuning.selection.recipe == winner
    assert tuning.options == CANDIDATES[winner]._replace(data=tuning.options.data)
    scores = {one.name: one for one in tuning.selection.candidates}
    assert scores[winner].accuracy > 0.9
    assert scores[winner].folds == 3
    low, high = scores[winner].low, scores[winner].high
    assert low is not None
    assert high is not None
    assert low <= scores[winner].accuracy <= high
    assert json.loads(json.dumps(tuning.to_json()))["recipe"] == winner
    assert "--recipe standard" in tuning.command
    assert f"--model {winner}" in tuning.command or winner == "attention"


def test_the_test_clips_never_matter(tmp_path: Path) -> None:
    data = planted.make_set(tmp_path / "data", planted.moving_place)
    before = tune(data, budget="none").selection
    train(data, out=tmp_path / "run", **{"epochs": 1, "hidden_size": 4, "num_layers": 1})
    tested = runs.read_config(tmp_path / "run").clips["test"]
    assert tested
    store, rng = CubeStore(data / feature_set.CUBES), np.random.default_rng(9)
    digests = {clip.id: clip.digest for clip in feature_set.read(data).clips}
    for id in tested:
        cubes = rng.normal(size=(planted.FRAMES, planted.GRID**2, planted.CHANNELS))
        store.write_part(digests[id], 0, (50 * cubes).astype(np.float16))
    after = tune(data, budget="none").selection
    for one, other in zip(before.candidates, after.candidates, strict=True):
        assert (one.accuracy, one.low, one.high) == (other.accuracy, other.low, other.high)
    assert (before.recipe, before.footage) == (after.recipe, after.footage)


def test_a_killed_training_continues_with_its_choice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = planted.make_set(tmp_path / "data", planted.moving_place)
    glimpses.train(data, out=tmp_path / "run", budget="none")
    config = runs.read_config(tmp_path / "run")
    assert config.recipe == "auto: attention"
    stored = json.loads((tmp_path / "run" / resolve.TUNING).read_text())
    assert [one["name"] for one in stored["candidates"]] == list(CANDIDATES)
    # Killed between the choice and the training.
    for file in (tmp_path / "run").iterdir():
        if file.name != resolve.TUNING:
            shutil.rmtree(file) if file.is_dir() else file.unlink()
    monkeypatch.setattr(selection, "_compare", None)
    glimpses.train(data, out=tmp_path / "run", budget="none")
    assert runs.read_config(tmp_path / "run").model == config.model
    with pytest.raises(GlimpsesError, match="is a run with other options"):
        glimpses.train(data, out=tmp_path / "run", optim=OptimOptions(batch_size=4))


def test_given_options_hold_for_every_candidate(tmp_path: Path) -> None:
    data = planted.make_set(tmp_path / "data", planted.everywhere)
    chosen = tune(data, budget="none", model=ModelOptions(hidden_size=4)).selection
    # The linear model has no hidden state.
    assert [one.name for one in chosen.candidates] == ["attention", "average"]
    assert chosen.options.model.hidden_size == 4
    alone = tune(data, model=ModelOptions(model="average"))
    assert not alone.selection.candidates
    assert alone.selection.recipe == "average"
    assert alone.options.model == CANDIDATES["average"].model
    other = tune(data, model=ModelOptions(model="softmax")).selection
    assert other.options.model == ModelOptions(model="softmax")
    with pytest.raises(InvalidOptionError, match="--stride 500"):
        tune(data, data=DataOptions(stride=500))


def test_the_command_quotes_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = planted.make_set(Path("-my [clips]"), planted.everywhere, groups=3, clips=1)
    command = shlex.split(tune(folder).command)
    assert command[:3] == ["glimpses", "train", "./-my [clips]"]
    assert command[3:7] == ["--out", "RUN", "--recipe", "standard"]


def test_few_recordings_are_not_compared(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = planted.make_set(tmp_path / "data", planted.everywhere, groups=3, clips=1)
    chosen = tune(data).selection
    assert chosen.recipe == "small"
    assert "too few to compare models" in chosen.reason
    assert chosen.options == recipes.RECIPES["small"].options


def test_without_time_the_recipe_follows_from_the_number_of_clips(tmp_path: Path) -> None:
    data = planted.make_set(tmp_path / "data", planted.everywhere)
    chosen = tune(data, budget="0s").selection
    assert chosen.recipe == "small"
    assert "too short" in chosen.reason


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("2m", 120), ("90s", 90), ("1.5h", 5400), ("30", 30), ("none", math.inf), (None, None)],
)
def test_budgets(text: str | None, seconds: float | None) -> None:
    assert parse_budget(text) == seconds


@pytest.mark.parametrize("text", ["", "m", "-1m", "two", "nan", "inf"])
def test_other_budgets_are_refused(text: str) -> None:
    with pytest.raises(InvalidOptionError, match="write a time like 90s, 2m or 1h, or none"):
        parse_budget(text)
