"""`refit`: a run on the training and validation clips, calibrated by one without the latter."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

import glimpses
from glimpses import datasets, runs
from glimpses.models import ModelOptions
from glimpses.runs import DataOptions, OptimOptions
from glimpses.training import TrainOptions
from glimpses.training.train_run import HELD_OUT_DIR, train_split
from glimpses.utils.errors import GlimpsesError
from tests.training import planted

DATA = DataOptions(block_length=planted.FRAMES)
MODEL = ModelOptions(hidden_size=4, num_layers=1, dropout=0.0)
OPTIM = OptimOptions(epochs=3, batch_size=16, checkpoint="last", refit=True)


def train(clips: Path, out: Path, optim: OptimOptions = OPTIM) -> glimpses.training.TrainedRun:
    return glimpses.train(clips, out=out, recipe="standard", data=DATA, model=MODEL, optim=optim)


def test_a_refitted_run_has_all_clips_and_the_calibration_of_the_held_out_run(
    tmp_path: Path,
) -> None:
    clips = planted.make_set(tmp_path / "clips", planted.everywhere)
    trained = train(clips, tmp_path / "run")
    first, last = (runs.read_config(tmp_path / "run" / one) for one in (HELD_OUT_DIR, "."))
    assert first.clips["validation"]
    assert not last.clips["validation"]
    assert set(last.clips["train"]) == {*first.clips["train"], *first.clips["validation"]}
    assert last.clips["test"] == first.clips["test"]
    assert last.calibration == first.calibration == trained.calibration is not None
    assert trained.validation is not None
    assert trained.validation.n == len(first.clips["validation"])
    assert "that is the score of a model that was trained without the validation" in str(trained)

    dataset = datasets.load(clips)
    chosen = {clip.id: clip for clip in dataset.clips}
    every = datasets.Split(
        tuple(chosen[id] for id in sorted(last.clips["train"])), (),
        tuple(chosen[id] for id in last.clips["test"]),
    )  # fmt: skip
    once = OptimOptions(epochs=3, batch_size=16, checkpoint="last")
    train_split(
        dataset, every, out=tmp_path / "every", data_dir=clips,
        options=TrainOptions(DATA, MODEL, once), seed=0, device="cpu", overwrite=False,
    )  # fmt: skip
    ours, theirs = (
        runs.load_model(one)[1].state_dict() for one in (tmp_path / "run", tmp_path / "every")
    )
    for name, weight in ours.items():
        torch.testing.assert_close(weight, theirs[name], rtol=0, atol=0)


def test_a_refitted_run_continues_and_repeats(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clips = planted.make_set(tmp_path / "clips", planted.everywhere)
    before = train(clips, tmp_path / "run")
    weights = (tmp_path / "run" / runs.WEIGHTS).read_bytes()
    after = train(clips, tmp_path / "run")
    assert (after.validation, after.calibration) == (before.validation, before.calibration)
    # Killed after the first of the two trainings.
    for file in (tmp_path / "run").iterdir():
        if file.name != HELD_OUT_DIR:
            shutil.rmtree(file) if file.is_dir() else file.unlink()
    train(clips, tmp_path / "run")
    assert (tmp_path / "run" / runs.WEIGHTS).read_bytes() == weights


def test_another_run_is_refused_before_any_training(tmp_path: Path) -> None:
    clips = planted.make_set(tmp_path / "clips", planted.everywhere)
    train(clips, tmp_path / "run", OptimOptions(epochs=1, batch_size=16))
    with pytest.raises(GlimpsesError, match="is a run with other options"):
        train(clips, tmp_path / "run")
    assert not (tmp_path / "run" / HELD_OUT_DIR).exists()
