"""Model cards: they state what is in the run's files and no private path."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

import glimpses
from glimpses import backbones, evaluation, runs
from glimpses.evaluation import evaluate
from glimpses.runs import ClassScore, ScoreRecord, ScoreValue, model_card, read_scores
from glimpses.training import TrainedRun
from tests.configs import model_config, train
from tests.fakes import GreyBackbone, make_grey_run, make_moving_set

RECORD = ScoreRecord(
    data="clips", subset="test", metric="mAP", measures={"mAP": ScoreValue(0.25)}, chance=0.5,
    per_class={"back": ClassScore(1, 1, average_precision=ScoreValue(0.25))}, majority=None,
    recordings=2, grouped=True, labels={"back/a.avi": ("back",), "b.avi": ()},
)  # fmt: skip


@pytest.fixture(autouse=True)
def _grey(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backbones, "load", lambda *_, **__: GreyBackbone())


def trained(root: Path, **options: int | bool) -> TrainedRun:
    return train(
        root / "private" / "moves", out=root / "run", feature_dir=root / "private" / "store",
        block_length=4, hidden_size=8, num_layers=2, folds=3,
        **{"epochs": 2, "seed": 41, **options},
    )  # fmt: skip


def test_the_card_describes_the_run(tmp_path: Path) -> None:
    make_moving_set(tmp_path / "private" / "moves")
    result = trained(tmp_path)
    card = (tmp_path / "run" / "README.md").read_text()
    front = yaml.safe_load(card.split("---")[1])
    assert front["library_name"] == "glimpses"
    assert front["pipeline_tag"] == "video-classification"
    config = runs.read_config(tmp_path / "run")
    assert result.validation is not None
    counts = [len(config.clips[side]) for side in ("train", "validation", "test")]
    for text in (
        "2: back, forth",
        f"epoch {result.best_epoch} of 2, chosen by the validation clips",
        f"On the validation clips: {result.validation.headline}. This score is optimistic",
        "Not evaluated yet",
        "Trained on moves (layout folder, split folds): "
        "{} clips for training, {} for validation, {} for testing".format(*counts),
        "seed 41",
        f"torch {config.versions['torch']}",
        "10.0 frames a second",
    ):
        assert text in card
    assert "private" not in card
    assert str(tmp_path) not in card
    # Its Python code works.
    (name,) = re.findall(r"glimpses\.(\w+)\.load\(\"USER/NAME\"\)", card)
    assert hasattr(getattr(glimpses, name), "load")
    (block,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    video = next((tmp_path / "private").rglob("*.avi"))
    exec(block.replace('"."', repr(str(tmp_path / "run"))).replace("video.mp4", str(video)))


def test_evaluation_adds_scores_and_keeps_other_edits(tmp_path: Path) -> None:
    data = make_moving_set(tmp_path / "private" / "moves")
    trained(tmp_path)
    card = tmp_path / "run" / "README.md"
    card.write_text(card.read_text().replace("# run\n", "# Mine\nlicence: MIT, says its owner\n"))
    test = evaluate(tmp_path / "run")
    row = f"| accuracy | {test.measures['accuracy']} |"
    heading = f"### moves, test\n{len(test.clips)} test clips of "
    assert card.read_text().count(heading) == card.read_text().count(row) == 1
    other = evaluate(tmp_path / "run", data=make_moving_set(tmp_path / "others", length=9))
    evaluate(tmp_path / "run")
    text = card.read_text()
    assert text.count(heading) == 1
    assert row in text
    assert f"### others, all\n{len(other.clips)} clips of " in text
    assert f"| accuracy | {other.measures['accuracy']} |" in text
    assert "says its owner" in text
    assert "Not evaluated yet" not in text
    # The same training again changes nothing; a new training starts with a new card.
    trained(tmp_path)
    assert card.read_text() == text
    trained(tmp_path, seed=5, overwrite=True)
    assert "seed 5" in card.read_text()
    assert "says its owner" not in card.read_text()
    assert "Not evaluated yet" in card.read_text()
    assert data.is_dir()


def test_a_card_without_markers_is_not_changed(tmp_path: Path) -> None:
    run = make_grey_run(tmp_path / "run")
    (run / "README.md").write_text("nothing but mine")
    model_card.record_score(run, RECORD)
    assert (run / "README.md").read_text() == "nothing but mine"
    assert read_scores(run) == [RECORD]


def test_a_run_without_a_card_gets_one(tmp_path: Path) -> None:
    run = make_grey_run(tmp_path / "run")
    model_card.record_score(run, RECORD)
    card = (run / "README.md").read_text()
    assert "### clips, test\n2 test clips of 2 recordings. " in card
    assert "| mAP | 25.0% |" in card
    assert "| back | 1 | 1 | 25.0% |" in card


def test_scores_that_cannot_be_saved_are_still_returned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    make_moving_set(tmp_path / "private" / "moves")
    trained(tmp_path)
    (tmp_path / "run" / "scores.json").unlink()
    (tmp_path / "run" / "scores.json").mkdir()
    assert len(evaluation.evaluate(tmp_path / "run").clips) > 0
    assert "the scores are not saved" in caplog.text


def test_names_are_escaped(tmp_path: Path) -> None:
    hostile = ("<script>alert(1)</script>", "a|b\n# c", "`--`", "[x](http://x)", "---")
    run = make_grey_run(tmp_path / "a: b\n---", classes=hostile)
    card = model_card.read(run)
    assert yaml.safe_load(card.split("\n---\n")[0])["library_name"] == "glimpses"
    listed = next(line for line in card.splitlines() if line.startswith("5: "))
    for mark in "<>[]`|":
        assert listed.count(mark) == listed.count(f"\\{mark}")
    assert [line for line in card.splitlines() if line.startswith("# ")] == ["# a: b ---"]


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ("efficientnet_lite0:16:7", "Apache-2.0"),
        ("googlenet", "BSD-3-Clause"),
        ("googlenet_bvlc:16", "released for unrestricted use"),
        ("timm:resnet18.a1_in1k:16", "https://huggingface.co/timm/resnet18.a1_in1k"),
        ("authors:googlenet", "not known"),
    ],
)
def test_the_origin_of_the_weights_is_stated(spec: str, text: str) -> None:
    origin = backbones.weights_info(spec)
    assert text in f"{origin.weights} {origin.licence}"


def test_every_backbone_states_its_origin() -> None:
    for name in backbones.BACKBONES:
        assert all(vars(backbones.weights_info(name)).values())


def test_only_a_model_with_attention_is_said_to_show_it(tmp_path: Path) -> None:
    shape = {"num_classes": 2, "places": 4, "channels": 1, "hidden_size": 4, "num_layers": 1}
    for name, shows in (("attention", True), ("average", False)):
        run = make_grey_run(tmp_path / name, model=model_config(model=name, **shape))
        assert ("shows where it looks" in model_card.read(run)) == shows
