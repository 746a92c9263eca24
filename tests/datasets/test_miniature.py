"""Tests of training and evaluation on miniatures of the paper's three data sets."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from glimpses import backbones, datasets, runs
from glimpses.check import check
from glimpses.datasets import split
from glimpses.datasets.annotations import annotations_for
from glimpses.datasets.synthetic import make_miniature, miniature
from glimpses.evaluation import evaluate, evaluate_clips
from glimpses.features import extract
from glimpses.report import report
from glimpses.utils.errors import GlimpsesError
from glimpses.utils.files import sha256
from tests.configs import train
from tests.fakes import GreyBackbone

SHORT: dict[str, Any] = {
    "block_length": 10,
    "hidden_size": 8,
    "num_layers": 1,
    "batch_size": 8,
    "epochs": 1,
}


@pytest.fixture(scope="module")
def miniatures(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    root = tmp_path_factory.mktemp("made")
    return cache(lambda layout: make_miniature(layout, root / layout))


@pytest.fixture(scope="module", params=["ucf11", "hmdb51", "jhmdb", "hollywood2"])
def made(request: pytest.FixtureRequest, miniatures: Callable[[str], Path]) -> Path:
    return miniatures(request.param)


def test_layout_is_detected_and_every_split_works(made: Path) -> None:
    data = datasets.load(made)
    assert data.layout == made.name
    assert 20 <= len(data.clips) <= 40
    for name in (*data.splits, "folds"):
        division = split(data, name)
        for side in (division.train, division.validation, division.test):
            assert {label for clip in side for label in clip.labels} == set(range(4))
    if data.multi_label:
        assert {len(clip.labels) for clip in data.clips} == {0, 1, 2}


def test_every_clip_is_intact_and_labelled(made: Path) -> None:
    found = check(made)
    assert found.ok
    assert not found.duplicates
    shown = {clip.label for clip in found.clips}
    assert shown >= set(datasets.load(made).classes)
    form = ("mpeg1video", 90, 30.0) if made.name == "ucf11" else ("mpeg4", 30, 10.0)
    assert {(clip.codec, clip.frames, clip.fps) for clip in found.clips} == {form}


def test_ucf11_has_boxes_of_the_actors(miniatures: Callable[[str], Path]) -> None:
    """The second take of a group is mirrored, and so are its boxes."""
    data = datasets.load(miniatures("ucf11"))
    known = annotations_for(data.clips)
    assert set(known) == {clip.id for clip in data.clips}
    times = np.arange(30) / 10
    for id, truth in known.items():
        assert truth.annotated(times).all()
        share = truth.occupancy(times, 16)
        assert 0.02 < share.mean() < 0.5
        if id.endswith("_02.mpg"):
            first = known[id.replace("_02.mpg", "_01.mpg")].occupancy(times, 16)
            np.testing.assert_allclose(share, first[..., ::-1], atol=1e-12)


def test_trains_evaluates_and_reports(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backbones, "load", lambda *_, **__: GreyBackbone())
    store = tmp_path / "store"
    run = train(made, out=tmp_path / "run", feature_dir=store, **SHORT).run
    config = runs.read_config(run)
    data = datasets.load(made)
    assert config.data.layout == made.name
    assert config.data.split == next(iter(data.splits))
    assert set(config.clips["test"]) == data.splits[config.data.split]["test"]
    scores = evaluate(run, feature_dir=store)
    assert len(scores.clips) == len(config.clips["test"])
    assert (scores.mAP is None) == (made.name != "hollywood2")
    assert 0 <= scores.value <= 1
    json.dumps(scores.to_json(), allow_nan=False)
    json.dumps(runs.read_curves(run), allow_nan=False)
    localisation = evaluate_clips(run, feature_dir=store).localisation()
    assert (localisation.steps > 0) == (made.name in ("ucf11", "jhmdb"))
    if data.multi_label:
        assert report(run, out=tmp_path / "report.html", feature_dir=store).page.is_file()
    assert len(extract(made, feature_dir=store).clips) == len(data.clips)


def test_the_layout_and_the_split_can_be_chosen(
    miniatures: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backbones, "load", lambda *_, **__: GreyBackbone())
    data, run, store = tmp_path / "data", tmp_path / "run", tmp_path / "store"
    shutil.copytree(miniatures("hmdb51"), data)
    clips = data / "hmdb51_org"
    with pytest.raises(GlimpsesError, match="has the splits 1, 2, 3, folds; did you mean folds"):
        train(clips, out=run, split="fold", feature_dir=store, **SHORT)
    train(clips, out=run, layout="folder", split="folds", fold=1, feature_dir=store, **SHORT)
    config = runs.read_config(run)
    assert (config.data.layout, config.data.split) == ("folder", "folds")
    # It is read again as it was then, although it would now be taken for a damaged HMDB-51.
    (data / "testTrainMulti_7030_splits/clap_test_split1.txt").unlink()
    with pytest.raises(GlimpsesError, match="clap_test_split1"):
        datasets.load(clips)
    scores = evaluate(run, feature_dir=store)
    assert {clip.id for clip in scores.clips} == set(config.clips["test"])


def test_same_seed_same_bytes(made: Path, tmp_path: Path) -> None:
    plan = miniature._PLANS[made.name](0).clips
    first = next(iter(plan))
    miniature._write(tmp_path / first, plan[first], 0)
    assert sha256(tmp_path / first) == sha256(made / first)
    miniature._write(tmp_path / first, plan[first], 1)
    assert sha256(tmp_path / first) != sha256(made / first)


def test_there_is_no_miniature_of_a_folder(tmp_path: Path) -> None:
    with pytest.raises(
        GlimpsesError, match="there are miniatures of ucf11, hmdb51, jhmdb, hollywood2"
    ):
        make_miniature("folder", tmp_path)  # type: ignore[arg-type]


@pytest.mark.parametrize("layout", ["ucf11", "hmdb51", "jhmdb", "hollywood2"])
def test_extra_clips_are_for_training(
    layout: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(path: Path, *_: object) -> np.ndarray:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        return np.ones((3, 8, 8), bool)

    monkeypatch.setattr(miniature, "_write", write)
    usual = datasets.load(make_miniature(layout, tmp_path / "usual"), layout)
    larger = datasets.load(make_miniature(layout, tmp_path / "larger", extra=2), layout)
    # Only the lists of HMDB-51 and J-HMDB have several official splits.
    for name in list(usual.splits)[: 3 if "hmdb" in layout else 1]:
        sizes = [{k: len(v) for k, v in d.splits[name].items()} for d in (usual, larger)]
        assert sizes[1]["train"] - sizes[0]["train"] == 2 * len(usual.classes)
        assert sizes[1]["test"] == sizes[0]["test"]
