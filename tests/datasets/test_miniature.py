"""The whole way, on miniatures of the paper's three data sets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fakes import GreyBackbone
from glimpses import backbones, datasets, runs
from glimpses.datasets import miniature, split
from glimpses.datasets.check import check
from glimpses.errors import GlimpsesError
from glimpses.evaluation import evaluate
from glimpses.features import extract
from glimpses.files import sha256
from glimpses.report import report
from glimpses.training import train

SHORT: dict[str, Any] = {"steps": 10, "hidden": 8, "layers": 1, "batch": 8, "epochs": 1}


@pytest.fixture(scope="module", params=["ucf11", "hmdb51", "hollywood2"])
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return miniature.make(request.param, tmp_path_factory.mktemp("made") / request.param)


def test_it_is_recognised_and_every_split_can_be_used(made: Path) -> None:
    data = datasets.load(made)
    assert data.layout == made.name
    assert 20 <= len(data.clips) <= 40
    for name in (*data.splits, "folds"):
        division = split(data, name)
        for side in (division.train, division.validation, division.test):
            assert {label for clip in side for label in clip.labels} == set(range(4))
    if data.multi_label:
        assert {len(clip.labels) for clip in data.clips} == {0, 1, 2}


def test_every_clip_is_whole_and_has_its_labels(made: Path) -> None:
    found = check(made)
    assert found.ok
    assert not found.copies
    shown = {clip.label for clip in found.clips}
    assert shown >= set(datasets.load(made).classes)
    assert {clip.seconds for clip in found.clips} <= {3.0, 2.983}
    assert {clip.codec for clip in found.clips} == {
        "mpeg1video" if made.name == "ucf11" else "mpeg4"
    }


def test_it_trains_is_scored_and_shown(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backbones, "load", lambda *_, **__: GreyBackbone())
    store = tmp_path / "store"
    run = train(made, out=tmp_path / "run", store=store, **SHORT).run
    config = runs.read_config(run)
    data = datasets.load(made)
    assert config.layout == made.name
    assert config.training["split"] == next(iter(data.splits))
    assert set(config.split["test"]) == data.splits[config.training["split"]]["test"]
    scores = evaluate(run, store=store)
    assert len(scores.clips) == len(config.split["test"])
    assert (scores.mAP is None) == (made.name != "hollywood2")
    assert 0 <= scores.value <= 1
    json.dumps(scores.to_json(), allow_nan=False)
    json.dumps(runs.read_curves(run), allow_nan=False)
    assert report(run, out=tmp_path / "report.html", store=store).page.is_file()
    features = extract(made, store=store)
    assert len(features.clips) == len(data.clips)


def test_the_layout_and_the_split_can_be_chosen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backbones, "load", lambda *_, **__: GreyBackbone())
    data = miniature.make("ucf11", tmp_path / "data")
    store = tmp_path / "store"
    folder = data / "UCF11_updated_mpg"
    for layout, name, used in (("folder", None, "folds"), ("ucf11", "group02", "group02")):
        run = tmp_path / layout
        train(folder, out=run, layout=layout, split=name, store=store, **SHORT)
        config = runs.read_config(run)
        assert (config.layout, config.training["split"]) == (layout, used)
        assert len(evaluate(run, store=store).clips) == len(config.split["test"])
    with pytest.raises(GlimpsesError, match="did you mean group02"):
        train(folder, out=tmp_path / "x", split="grup02", store=store, **SHORT)


def test_same_seed_same_bytes(made: Path, tmp_path: Path) -> None:
    plan = miniature._PLANS[made.name]().clips
    first = next(iter(plan))
    miniature._write(tmp_path / first, plan[first], 0)
    assert sha256(tmp_path / first) == sha256(made / first)
    miniature._write(tmp_path / first, plan[first], 1)
    assert sha256(tmp_path / first) != sha256(made / first)


def test_there_is_no_miniature_of_a_folder(tmp_path: Path) -> None:
    with pytest.raises(GlimpsesError, match="there are miniatures of ucf11, hmdb51, hollywood2"):
        miniature.make("folder", tmp_path)  # type: ignore[arg-type]
