"""The model card tells what the run's files tell, and nothing that is nobody's business."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

import glimpses
from glimpses import backbones, evaluation, runs
from glimpses.evaluation import evaluate
from glimpses.runs import model_card
from glimpses.training import TrainedRun
from tests.configs import train
from tests.fakes import GreyBackbone, make_grey_run, make_moving_set


@pytest.fixture(autouse=True)
def _grey(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backbones, "load", lambda *_, **__: GreyBackbone())


def trained(root: Path, **options: int | bool) -> TrainedRun:
    return train(
        root / "private" / "moves", out=root / "run", feature_dir=root / "private" / "store", block_length=4,
        hidden_size=8, num_layers=2, folds=3, **{"epochs": 2, "seed": 41, **options},  # type: ignore[arg-type]
    )  # fmt: skip


def test_a_run_tells_what_it_is(tmp_path: Path) -> None:
    make_moving_set(tmp_path / "private" / "moves")
    result = trained(tmp_path)
    card = (tmp_path / "run" / "README.md").read_text()
    front = yaml.safe_load(card.split("---")[1])
    assert front["library_name"] == "glimpses"
    assert front["pipeline_tag"] == "video-classification"
    config = runs.read_config(tmp_path / "run")
    counts = [len(config.clips[side]) for side in ("train", "validation", "test")]
    for told in (
        "2: back, forth",
        f"accuracy {result.validation:.1%} on the validation clips, by which epoch "
        f"{result.best_epoch} of 2 was chosen",
        "Not tested yet",
        "Trained on moves (layout folder, split folds): "
        "{} clips trained it, {} chose the epoch, {} were kept".format(*counts),
        "seed 41",
        f"torch {config.versions['torch']}",
        "10.0 frames a second",
    ):
        assert told in card
    assert "private" not in card
    assert str(tmp_path) not in card
    # What it says of Python is so.
    for name in re.findall(r"glimpses\.(\w+)\.from_pretrained", card):
        assert hasattr(getattr(glimpses, name), "from_pretrained")
    (block,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    video = next((tmp_path / "private").rglob("*.avi"))
    exec(block.replace('"."', repr(str(tmp_path / "run"))).replace("video.mp4", str(video)))


def test_evaluation_tells_its_scores_and_leaves_the_rest(tmp_path: Path) -> None:
    data = make_moving_set(tmp_path / "private" / "moves")
    trained(tmp_path)
    card = tmp_path / "run" / "README.md"
    card.write_text(card.read_text().replace("# run\n", "# Mine\nlicence: MIT, says its owner\n"))
    test = evaluate(tmp_path / "run")
    row = f"| moves, test | {len(test.clips)} | accuracy {test.value:.1%} | 50.0% |"
    assert card.read_text().count(row) == 1
    other = evaluate(tmp_path / "run", data=make_moving_set(tmp_path / "others", length=9))
    evaluate(tmp_path / "run")
    told = card.read_text()
    assert told.count(row) == 1
    assert f"| others, all | {len(other.clips)} | accuracy {other.value:.1%} |" in told
    assert "says its owner" in told
    assert "Not tested yet" not in told
    # The same training again changes nothing; another one begins with a new card.
    trained(tmp_path)
    assert card.read_text() == told
    trained(tmp_path, seed=5, overwrite=True)
    assert "seed 5" in card.read_text()
    assert "says its owner" not in card.read_text()
    assert "Not tested yet" in card.read_text()
    assert data.is_dir()


def test_a_card_without_marks_is_left_alone(tmp_path: Path) -> None:
    run = make_grey_run(tmp_path / "run")
    (run / "README.md").write_text("nothing but mine")
    found = {"accuracy": 0.5, "side": "test", "n": 4, "chance": 0.5, "clips": []}
    model_card.record(run, tmp_path / "clips", found)
    assert (run / "README.md").read_text() == "nothing but mine"
    assert json.loads((run / "scores.json").read_text())["clips, test"]["accuracy"] == 0.5


def test_an_older_run_gets_its_card(tmp_path: Path) -> None:
    run = make_grey_run(tmp_path / "run")
    model_card.record(run, None, {"mAP": 0.25, "side": "test", "n": 4, "chance": 0.5})
    assert "| 4 | mAP 25.0% | 50.0% |" in (run / "README.md").read_text()


def test_scores_that_cannot_be_kept_are_shown_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    make_moving_set(tmp_path / "private" / "moves")
    trained(tmp_path)
    (tmp_path / "run" / "scores.json").mkdir()
    assert len(evaluation.evaluate(tmp_path / "run").clips) > 0
    assert "the scores are not kept" in caplog.text


def test_names_are_text_whatever_is_in_them(tmp_path: Path) -> None:
    hostile = ("<script>alert(1)</script>", "a|b\n# c", "`--`", "[x](http://x)", "---")
    run = make_grey_run(tmp_path / "a: b\n---", classes=hostile)
    card = model_card.read(run)
    assert yaml.safe_load(card.split("\n---\n")[0])["library_name"] == "glimpses"
    listed = next(line for line in card.splitlines() if line.startswith("5: "))
    for mark in "<>[]`|":
        assert listed.count(mark) == listed.count(f"\\{mark}")
    assert [line for line in card.splitlines() if line.startswith("# ")] == ["# a: b ---"]


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ("efficientnet_lite0:16:7", "Apache-2.0"),
        ("googlenet", "BSD-3-Clause"),
        ("timm:resnet18.a1_in1k:16", "https://huggingface.co/timm/resnet18.a1_in1k"),
        ("authors:googlenet", "not known"),
    ],
)
def test_weights_have_an_owner(spec: str, told: str) -> None:
    origin = backbones.weights_info(spec)
    assert told in f"{origin.weights} {origin.licence}"


def test_every_backbone_says_whose_it_is() -> None:
    for name in backbones.BACKBONES:
        assert all(vars(backbones.weights_info(name)).values())
