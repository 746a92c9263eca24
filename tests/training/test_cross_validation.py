"""Cross-validation tests every clip once, resumes, and trains a run on all clips."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import glimpses
from glimpses import DataOptions, ModelOptions, OptimOptions, backbones, runs
from glimpses.cli import commands
from glimpses.evaluation import evaluate
from glimpses.training import CrossValidation, train, trainer
from glimpses.utils.errors import GlimpsesError
from tests.fakes import GreyBackbone, make_moving_set


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with clips and a finished cross-validation of them."""
    folder = tmp_path_factory.mktemp("crossvalidated")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backbones, "load", lambda *_, **__: GreyBackbone())
        make_moving_set(folder / "data")
        yield folder


def run(root: Path, name: str = "run", *, folds: int = 3, **changes: Any) -> CrossValidation:
    values: dict[str, Any] = {"epochs": 3, "batch_size": 4, **changes}
    own = {key: values.pop(key) for key in ("overwrite", "seed") if key in values}
    return glimpses.crossvalidate(
        root / "data", out=root / name, recipe="standard",
        data=DataOptions(block_length=12, folds=folds, feature_dir=root / "store"),
        model=ModelOptions(hidden_size=8, num_layers=1), optim=OptimOptions(**values), **own,
    )  # fmt: skip


@pytest.fixture(scope="module")
def result(root: Path) -> CrossValidation:
    return run(root)


def test_every_clip_is_tested_once_by_a_run_that_did_not_see_its_recording(
    root: Path, result: CrossValidation
) -> None:
    ids = sorted(clip.relative_to(root / "data").as_posix() for clip in root.glob("data/*/*.avi"))
    assert sorted(clip.id for clip in result.scores.clips) == ids
    assert len(result.folds) == 3
    by_id = {clip.id: clip for clip in result.scores.clips}
    for fold in result.folds:
        config = runs.read_config(fold.trained.run)
        recordings = [
            {id.rpartition("_")[0] for id in config.clips[subset]}
            for subset in ("train", "validation", "test")
        ]
        assert not recordings[2] & (recordings[0] | recordings[1])
        correct = [by_id[id].correct for id in config.clips["test"]]
        assert fold.score.value == pytest.approx(np.mean(correct))
    assert result.scores.accuracy == np.mean([clip.correct for clip in result.scores.clips])


def test_the_final_run_is_trained_on_all_clips_as_long_as_the_folds(
    root: Path, result: CrossValidation
) -> None:
    config = runs.read_config(root / "run")
    assert [len(config.clips[name]) for name in ("train", "validation", "test")] == [12, 0, 0]
    epochs = [fold.trained.best_epoch for fold in result.folds]
    assert config.checkpoint == round(np.mean(epochs)) == result.trained.best_epoch
    assert config.optim is not None
    assert config.optim.epochs == 3  # the schedule of the folds
    (record,) = runs.read_scores(root / "run")
    assert (record.subset, record.folds, record.n) == ("cross-validated", 3, 12)
    assert record.measures == result.scores.measures
    card = (root / "run" / "README.md").read_text()
    assert "12 clips of 12 recordings, in 3 folds" in card
    assert config.calibration is not None
    assert (config.calibration.clips, config.calibration.recordings) == (12, 12)
    with pytest.raises(GlimpsesError, match="was trained on all clips of its data set"):
        evaluate(root / "run", feature_dir=root / "store")


def test_a_finished_cross_validation_is_not_trained_again(
    root: Path, result: CrossValidation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer.Trainer, "train_epoch", None)
    assert run(root).to_json() == result.to_json()


def test_an_interrupted_cross_validation_continues(
    root: Path, result: CrossValidation, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, epochs = trainer.Trainer.train_epoch, iter(range(100))

    def interrupt(*arguments: Any) -> dict[str, float]:
        if next(epochs) == 4:  # in the second fold
            raise KeyboardInterrupt
        return original(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(trainer.Trainer, "train_epoch", interrupt)
        with pytest.raises(KeyboardInterrupt):
            run(root, "again")
    assert (root / "again" / "folds" / "fold-0" / runs.WEIGHTS).exists()
    assert not (root / "again" / runs.CONFIG).exists()
    assert run(root, "again").scores.to_json() == result.scores.to_json()


def test_it_prints_folds_interval_and_next_command(
    root: Path, result: CrossValidation, capsys: pytest.CaptureFixture[str]
) -> None:
    commands._show(result, as_json=False)
    shown = capsys.readouterr().out
    assert f"cross-validated accuracy {result.scores.value:.1%} (95% interval" in shown
    assert "on 12 clips of 12 recordings, in 3 folds" in shown
    assert "most frequent class: 50.0%" in shown
    assert "next:" in shown
    commands._show(result, as_json=True)
    values = json.loads(capsys.readouterr().out)
    assert [fold["n"] for fold in values["folds"]] == [4, 4, 4]
    assert values["scores"]["accuracy"] == result.scores.accuracy


def test_other_options_and_other_runs_are_refused(root: Path, result: CrossValidation) -> None:
    with pytest.raises(GlimpsesError, match=r"other options: epochs \(3, not 4\)"):
        run(root, epochs=4)
    with pytest.raises(GlimpsesError, match="other options: folds"):
        run(root, folds=2)
    with pytest.raises(GlimpsesError, match="is a run of glimpses train"):
        run(root, "run/folds/fold-0")
    for options, message in (({"fold": 1}, "--fold 1"), ({"split": "listed"}, "--split listed")):
        with pytest.raises(GlimpsesError, match=message):
            glimpses.crossvalidate(root / "data", out=root / "x", data=DataOptions(**options))
    assert not (root / "x").exists()
    assert result.run == root / "run"


def test_an_epoch_can_be_kept_by_its_number(root: Path) -> None:
    """The run equals that of a longer training up to this epoch."""
    options: dict[str, Any] = {
        "data": DataOptions(block_length=12, folds=3, feature_dir=root / "store"),
        "model": ModelOptions(hidden_size=8, num_layers=1),
    }
    whole = train(root / "data", out=root / "w", optim=OptimOptions(epochs=4), **options)
    short = train(
        root / "data", out=root / "s", optim=OptimOptions(epochs=4, checkpoint=2), **options
    )
    assert short.best_epoch == 2
    for name, values in short.curves.items():
        assert values == whole.curves[name][:2]
    with pytest.raises(GlimpsesError, match="--checkpoint 5: must be a whole number from 1 to 4"):
        OptimOptions(epochs=4, checkpoint=5)
