"""Training learns, repeats, and survives being killed at any moment."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from glimpses import backbones, runs
from glimpses.evaluation import evaluate
from glimpses.features import extract
from glimpses.training import TrainedRun, trainer
from glimpses.utils.errors import GlimpsesError
from tests.configs import train
from tests.fakes import GreyBackbone, make_moving_set

SMALL: dict[str, Any] = {
    "block_length": 12,
    "hidden_size": 8,
    "num_layers": 1,
    "batch_size": 4,
    "epochs": 3,
    "folds": 3,
}

# Of an epoch.
BATCHES = 11

# Trains in a process of its own, which kills itself before training step sys.argv[3].
KILLED = """
import json, os, signal, sys
from pathlib import Path
from tests.fakes import GreyBackbone
from glimpses import backbones
from glimpses.training import trainer
from tests.configs import train
backbones.load = lambda *_, **__: GreyBackbone()
data, out, settings = Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[4])
original, count = trainer.Trainer._train_batch, 0
def step(self, batch):
    global count
    count += 1
    if count == int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)
    return original(self, batch)
trainer.Trainer._train_batch = step
train(data, out=out, feature_dir=data.parent / "store", **settings)
"""


@pytest.fixture(autouse=True)
def _grey(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backbones, "load", lambda *_, **__: GreyBackbone())


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return make_moving_set(tmp_path / "data")


def run(data: Path, out: Path, **changes: Any) -> TrainedRun:
    return train(data, out=out, feature_dir=data.parent / "store", **{**SMALL, **changes})


def same(one: Path, other: Path) -> bool:
    a, b = load_file(one / runs.WEIGHTS), load_file(other / runs.WEIGHTS)
    return all(torch.equal(a[name], b[name]) for name in a)


def test_learns_what_only_time_tells(tmp_path: Path) -> None:
    data = make_moving_set(tmp_path / "data", groups=12)
    trained = run(
        data, tmp_path / "run", attention="location", epochs=60, patience=60, hidden_size=24,
        dropout=0.0, learning_rate=1e-2, batch_size=8,
    )  # fmt: skip
    assert len(trained.curves["training loss"]) == 60
    assert trained.curves["training loss"][-1] < 0.3 * trained.curves["training loss"][0]
    assert evaluate(tmp_path / "run", feature_dir=tmp_path / "store").accuracy == 1


@pytest.mark.parametrize("alone", [False, True])
def test_glimpses_of_motion_are_standardised_by_the_training_clips(
    data: Path, tmp_path: Path, alone: bool
) -> None:
    run(data, tmp_path / "run", model="max", motion=True, motion_only=alone)
    cubes = extract(data, fps=10.0, feature_dir=tmp_path / "store").clips
    ids = runs.read_config(tmp_path / "run").clips["train"]
    kept = load_file(tmp_path / "run" / runs.WEIGHTS)
    seen = []
    for id in ids:
        features = (cubes[id].block(0, 12).float() - kept["channel_norm.mean"]) * kept[
            "channel_norm.scale"
        ]
        change = torch.cat((features[:1], features[:-1])).sub(features).abs()
        parts = (change,) if alone else (features, change)
        seen.append(torch.cat([part.amax(1) for part in parts], dim=1))
    frames = torch.cat(seen)
    torch.testing.assert_close(kept["glimpse_norm.mean"], frames.mean(0))
    deviation = frames.std(0, unbiased=False)
    torch.testing.assert_close(kept["glimpse_norm.scale"], 1 / deviation)


def test_seed_decides_everything(data: Path, tmp_path: Path) -> None:
    for name, seed in (("one", 0), ("two", 0), ("three", 1)):
        run(data, tmp_path / name, seed=seed)
    assert same(tmp_path / "one", tmp_path / "two")
    assert not same(tmp_path / "one", tmp_path / "three")


def test_sgd_is_the_textbook_step(data: Path, tmp_path: Path) -> None:
    """One batch from the same start: Adam's first step is the rate's size, SGD's the gradient's."""
    one_step = {
        "epochs": 1, "train_stride": 12, "batch_size": 1000, "weight_decay": 0.0, "seed": 3,
        "schedule": "constant",
    }  # fmt: skip
    rates = {"start": 1e-12, "small": 1e-3, "large": 2e-3}
    weights = {}
    for name, rate in rates.items():
        run(data, tmp_path / name, optimizer="sgd", learning_rate=rate, **one_step)
        weights[name] = load_file(tmp_path / name / runs.WEIGHTS)["head.1.weight"].double()
    small, large = (weights[name] - weights["start"] for name in ("small", "large"))
    assert small.abs().max() > 0
    torch.testing.assert_close(large, 2 * small, atol=1e-7, rtol=1e-3)
    run(data, tmp_path / "adam", learning_rate=1e-3, **one_step)
    adam = load_file(tmp_path / "adam" / runs.WEIGHTS)["head.1.weight"].double()
    assert (adam - weights["start"]).abs().max() == pytest.approx(1e-3, rel=0.01)
    # Eq. 7's last term, gamma times the sum of squares, pulls each weight by 2 gamma of itself.
    run(data, tmp_path / "decay", optimizer="sgd", learning_rate=1e-3,
        **{**one_step, "weight_decay": 50.0})  # fmt: skip
    decay = load_file(tmp_path / "decay" / runs.WEIGHTS)["head.1.weight"].double()
    torch.testing.assert_close(
        decay - weights["small"], -1e-3 * 2 * 50 * weights["start"], atol=1e-6, rtol=1e-3
    )


@pytest.mark.parametrize("schedule", ["one-cycle", "constant"])
def test_the_rate_goes_through_one_cycle(
    data: Path, tmp_path: Path, schedule: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates: list[float] = []
    step = torch.optim.Adam.step

    def listen(self: torch.optim.Adam, *arguments: Any, **named: Any) -> Any:
        rates.append(self.param_groups[0]["lr"])
        return step(self, *arguments, **named)

    monkeypatch.setattr(torch.optim.Adam, "step", listen)
    run(data, tmp_path / "run", learning_rate=1e-2, epochs=10, schedule=schedule)
    if schedule == "constant":
        assert set(rates) == {1e-2}
        return
    top = rates.index(max(rates))
    assert top == pytest.approx(0.1 * len(rates), abs=1)
    assert rates[top] == pytest.approx(1e-2, rel=0.05)
    assert rates[:top] == sorted(rates[:top])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert rates[-1] < 1e-5


def test_a_cycle_of_few_batches(data: Path, tmp_path: Path) -> None:
    """One epoch of few clips has ten batches, a tenth of which is a climb from one to itself."""
    assert run(data, tmp_path / "run", epochs=1, batch_size=6).best_epoch == 1


@pytest.mark.parametrize("epochs", [1, 2, 3])
def test_a_training_of_few_batches_needs_no_cycle(data: Path, tmp_path: Path, epochs: int) -> None:
    trained = run(data, tmp_path / "run", epochs=epochs, train_stride=12, batch_size=1000)
    assert len(trained.curves["training loss"]) == epochs


@pytest.mark.parametrize("glimpse", ["soft", "hard"])
def test_killed_moved_and_started_again_is_the_same(
    data: Path, tmp_path: Path, glimpse: str
) -> None:
    run(data, tmp_path / "whole", attention_mode=glimpse)
    # In the middle of the second epoch: there is a checkpoint, and work after it that is lost.
    arguments = [
        data,
        tmp_path / "there",
        BATCHES + 4,
        json.dumps({**SMALL, "attention_mode": glimpse}),
    ]
    dead = subprocess.run(
        [sys.executable, "-c", KILLED, *map(str, arguments)],
        env={"PYTHONPATH": os.pathsep.join(sys.path), "PATH": ""},
        capture_output=True,
    )
    assert dead.returncode == -signal.SIGKILL, dead.stderr.decode()
    killed = tmp_path / "here"
    shutil.move(tmp_path / "there", killed)
    assert (killed / "checkpoints" / "last.ckpt").exists()
    assert not (killed / runs.WEIGHTS).exists()
    with pytest.raises(GlimpsesError, match="has not finished"):
        evaluate(killed, feature_dir=data.parent / "store")
    again = run(data, killed, attention_mode=glimpse)
    assert len(again.curves["training loss"]) == SMALL["epochs"]
    assert same(tmp_path / "whole", killed)
    assert runs.read_curves(tmp_path / "whole") == runs.read_curves(killed)


def test_interrupted_by_hand_goes_on(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(data, tmp_path / "whole")
    # A shell that runs the tests in the background makes them ignore Ctrl-C.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    original, steps = trainer.Trainer._train_batch, iter(range(100))

    def interrupt(*arguments: Any) -> torch.Tensor:
        if next(steps) == BATCHES + 3:
            signal.raise_signal(signal.SIGINT)
        return original(*arguments)

    monkeypatch.setattr(trainer.Trainer, "_train_batch", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run(data, tmp_path / "stopped")
    assert signal.signal(signal.SIGINT, before) is signal.default_int_handler
    assert not [one for one in threading.enumerate() if one.name.startswith("reader")]
    run(data, tmp_path / "stopped")
    assert same(tmp_path / "whole", tmp_path / "stopped")


@pytest.mark.parametrize("precision", ["16-mixed", "bf16-mixed"])
def test_mixed_precision_trains_nearly_the_same(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    """By the arithmetic that a GPU has, on a CPU, where `train` itself refuses it as too slow."""
    whole = run(data, tmp_path / "whole")
    monkeypatch.setattr("glimpses.training.train_run.check_options", lambda *_: None)
    mixed = run(data, tmp_path / "mixed", precision=precision)
    assert not same(tmp_path / "whole", tmp_path / "mixed")
    for loss in ("training loss", "validation loss"):
        assert mixed.curves[loss] == pytest.approx(whole.curves[loss], rel=0.02)


def test_finished_run_is_not_trained_again(data: Path, tmp_path: Path) -> None:
    first = run(data, tmp_path / "run")
    before = (tmp_path / "run" / runs.WEIGHTS).stat().st_mtime_ns
    assert run(data, tmp_path / "run") == first
    assert (tmp_path / "run" / runs.WEIGHTS).stat().st_mtime_ns == before


def test_patience_ends_training_and_the_best_epoch_is_kept(data: Path, tmp_path: Path) -> None:
    settings = {"patience": 2, "learning_rate": 1e-2, "schedule": "constant"}
    trained = run(data, tmp_path / "run", epochs=300, **settings)
    scores = trained.curves["validation score"]
    assert trained.best_epoch == scores.index(max(scores)) + 1
    assert len(scores) == trained.best_epoch + 2 < 300
    # The weights are those of that epoch: training only so long ends with the same.
    run(data, tmp_path / "short", epochs=trained.best_epoch, **settings)
    assert same(tmp_path / "run", tmp_path / "short")


def test_the_last_epoch_is_kept_where_that_is_asked(data: Path, tmp_path: Path) -> None:
    settings = {"epochs": 6, "learning_rate": 1e-2, "schedule": "constant"}
    best = run(data, tmp_path / "best", **settings)
    last = run(data, tmp_path / "last", checkpoint="last", **settings)
    # Training is the same; another epoch's weights are taken from it.
    assert last.curves == best.curves
    assert last.best_epoch == 6
    assert last.validation is not None
    assert last.validation.value == last.curves["validation accuracy"][5]
    assert same(tmp_path / "best", tmp_path / "last") == (best.best_epoch == 6)
    state = torch.load(tmp_path / "last" / "checkpoints" / "last.ckpt", weights_only=True)
    for name, weight in state["best"].items():
        torch.testing.assert_close(weight, state["model"][name])


def test_other_settings_do_not_overwrite_a_run(data: Path, tmp_path: Path) -> None:
    run(data, tmp_path / "run")
    with pytest.raises(GlimpsesError, match=r"other options: hidden_size \(8, not 9\)"):
        run(data, tmp_path / "run", hidden_size=9)
    run(data, tmp_path / "run", hidden_size=9, overwrite=True)
    assert runs.read_config(tmp_path / "run").model.options.hidden_size == 9


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"fps": 5.0}, r"fps \(10.0, not 5.0\)"),
        ({"block_length": 6, "stride": 6}, r"block_length \(12, not 6\)"),
        ({"epochs": 4}, r"epochs \(3, not 4\)"),
        ({"model": "max"}, r"model \(attention, not max\)"),
        ({"split": "folds"}, r"split \(listed, not folds\)"),
    ],
)
def test_other_settings_are_refused_before_any_clip_is_read(
    data: Path, tmp_path: Path, changes: dict[str, Any], told: str
) -> None:
    (data / "splits").mkdir()
    ids = sorted(clip.relative_to(data).as_posix() for clip in data.glob("*/*.avi"))
    first = [id for id in ids if int(id[-9:-7]) < 4]
    for side, listed in {"train": first, "test": sorted({*ids} - {*first})}.items():
        (data / "splits" / f"{side}.txt").write_text("\n".join(listed))
    run(data, tmp_path / "run")
    with pytest.raises(GlimpsesError, match=told):
        train(data, out=tmp_path / "run", feature_dir=tmp_path / "none", **{**SMALL, **changes})
    assert not (tmp_path / "none").exists()


def test_a_run_whose_clips_changed_is_another(data: Path, tmp_path: Path) -> None:
    run(data, tmp_path / "run")
    (data / "back" / "v_back_00_01.avi").unlink()
    with pytest.raises(GlimpsesError, match=r"other options: .*clips"):
        run(data, tmp_path / "run")


def test_groups_stay_on_one_side(data: Path, tmp_path: Path) -> None:
    run(data, tmp_path / "run")
    split = runs.read_config(tmp_path / "run").clips
    groups = {side: {(id[:5], id[-9:-7]) for id in ids} for side, ids in split.items()}
    assert all(groups.values())
    for one, other in (("train", "test"), ("train", "validation"), ("validation", "test")):
        assert not groups[one] & groups[other]


def test_broken_clips_are_left_out_and_told(data: Path, tmp_path: Path) -> None:
    (data / "forth" / "v_forth_00_02.avi").write_bytes(b"no video")
    trained = run(data, tmp_path / "run")
    assert list(trained.failures) == ["forth/v_forth_00_02.avi"]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"block_length": 0}, "--block-length 0"),
        ({"epochs": -1}, "--epochs -1"),
        ({"hidden_size": 0}, "--hidden-size 0"),
        ({"dropout": 1.0}, "--dropout 1.0"),
        ({"learning_rate": 0.0}, "--learning-rate 0.0"),
        ({"weight_decay": -1.0}, "--weight-decay -1.0"),
        ({"attention_penalty": -1.0}, "--attention-penalty -1.0"),
        ({"fold": 3}, "fold"),
        ({"stride": 13}, "--stride 13: must be a whole number from 1 to 12"),
        ({"train_stride": 13}, "--train-stride 13"),
        ({"seed": -1}, "--seed -1"),
        ({"precision": "16-mixed"}, "needs a GPU"),
        ({"motion_only": True}, "--motion-only needs --motion"),
        (
            {"attention_mode": "hard", "attention_penalty": 1.0},
            "--attention-penalty: has no gradient",
        ),
    ],
)
def test_impossible_settings(
    data: Path, tmp_path: Path, wrong: dict[str, Any], message: str
) -> None:
    with pytest.raises(GlimpsesError, match=message):
        run(data, tmp_path / "run", **wrong)
    assert not (tmp_path / "run").exists()


def test_occupied_places_are_refused_before_any_work(data: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "me.jpg").touch()
    for name in ("file", "photos"):
        with pytest.raises(GlimpsesError, match=name):
            run(data, tmp_path / name)
    assert not (tmp_path / "store").exists()


def test_damaged_run_is_one_line(data: Path, tmp_path: Path) -> None:
    run(data, tmp_path / "run")
    weights = tmp_path / "run" / runs.WEIGHTS
    content = weights.read_bytes()
    for damaged in (b"", content[: len(content) // 2], b"\x80\x04pickle", b"{}" + content):
        weights.write_bytes(damaged)
        with pytest.raises(GlimpsesError, match="not the weights"):
            evaluate(tmp_path / "run", feature_dir=tmp_path / "store")
    config = tmp_path / "run" / runs.CONFIG
    text = config.read_text()
    for damaged_text in (
        "",
        "{",
        text.replace('"hidden_size": 8', '"hidden_size": "x"'),
        "[]",
        "null",
    ):
        config.write_text(damaged_text)
        with pytest.raises(GlimpsesError, match="damaged"):
            evaluate(tmp_path / "run", feature_dir=tmp_path / "store")


def test_diverged_training_is_no_run(data: Path, tmp_path: Path) -> None:
    with pytest.raises(GlimpsesError, match="diverged"):
        run(data, tmp_path / "run", learning_rate=1e38)
    assert not (tmp_path / "run" / runs.WEIGHTS).exists()


def test_a_score_that_is_no_number_never_wins() -> None:
    scores = [float("nan"), 0.2, 0.5, float("nan"), 0.5, float("nan")]
    assert runs.best_epoch(scores) == 3
    assert runs.kept_epoch(scores, "last") == 5


def test_training_loss_is_per_real_step(data: Path, tmp_path: Path) -> None:
    """Before anything is learned, a step of two classes costs log 2, however long the block."""
    for steps in (12, 48):
        out = tmp_path / str(steps)
        loss = run(
            data, out, block_length=steps, epochs=1, learning_rate=1e-9, attention_penalty=5.0
        )
        assert loss.curves["training loss"][0] == pytest.approx(0.693, abs=0.05)


def test_overwrite_goes_on_with_the_same_run(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(data, tmp_path / "run")
    before = (tmp_path / "run" / runs.WEIGHTS).stat().st_mtime_ns
    run(data, tmp_path / "run", overwrite=True)
    assert (tmp_path / "run" / runs.WEIGHTS).stat().st_mtime_ns == before


def test_damaged_checkpoint_is_one_line(data: Path, tmp_path: Path) -> None:
    run(data, tmp_path / "run")
    (tmp_path / "run" / runs.WEIGHTS).unlink()
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    content = last.read_bytes()
    for damaged in (b"", content[: len(content) // 2], b"\x80\x04K\x01.", b"no"):
        last.write_bytes(damaged)
        with pytest.raises(GlimpsesError, match=r"last\.ckpt: is damaged"):
            run(data, tmp_path / "run")
    last.unlink()
    run(data, tmp_path / "run")


def test_several_labels_end_to_end(data: Path, tmp_path: Path) -> None:
    rows = ["clip,label,group"]
    for clip in sorted(data.rglob("*.avi")):
        id = clip.relative_to(data).as_posix()
        both = "|flash" if clip.stem[-5:-3] in ("00", "03", "05") else ""
        rows.append(f"{id},{id.split('/')[0]}{both},{clip.stem[-5:-3]}")
    (data / "groups.csv").write_text("\n".join(rows))
    trained = run(data, tmp_path / "run", folds=2)
    scores = evaluate(tmp_path / "run", feature_dir=data.parent / "store")
    assert runs.read_config(tmp_path / "run").multi_label
    assert scores.classes == ("back", "flash", "forth")
    assert scores.accuracy is None
    precisions = [one.average_precision for one in scores.per_class.values()]
    assert scores.mAP == pytest.approx(sum(one.value for one in precisions if one) / 3)
    assert trained.validation is not None
    assert (trained.validation.metric, 0 < trained.validation.value <= 1) == ("mAP", True)


def test_paths_may_be_strings(data: Path, tmp_path: Path) -> None:
    import glimpses

    out, store = str(tmp_path / "run"), str(data.parent / "store")
    train(str(data), out=str(out), feature_dir=str(store), **SMALL)  # type: ignore[arg-type]
    assert glimpses.evaluate(out, feature_dir=store).accuracy is not None  # type: ignore[arg-type]
    assert glimpses.extract(str(data), feature_dir=store).ok  # type: ignore[arg-type]
