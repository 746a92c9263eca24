"""Everything at once: every kind of model, every kind of data."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from glimpses import backbones, models, video
from glimpses.evaluation import open_run
from glimpses.evaluation.block_runner import BlockRunner
from glimpses.evaluation.explain import explain_opened, explain_run
from glimpses.evaluation.pixel_deletion import spread
from glimpses.evaluation.saliency_baselines import motion_energy, motion_of
from glimpses.report import compare
from glimpses.utils.errors import GlimpsesError
from tests.configs import model_config, train
from tests.evaluation.known import opened
from tests.fakes import GreyBackbone, make_moving_set

KINDS: dict[str, dict[str, Any]] = {
    "content": {},
    "location": {"attention": "location"},
    "hard": {"attention_mode": "hard"},
    "two stages": {"channels": 5 + 4 * 3, "fine_channels": 3, "fine_ratio": 2},
    "authors": {"model": "authors", "num_layers": 1},
    "average": {"model": "average"},
    "max": {"model": "max"},
    "softmax": {"model": "softmax"},
}


def made(**options: Any) -> Any:
    """An untrained model on clips shorter and longer than its blocks, features only."""
    config = model_config(
        **{"num_classes": 3, "places": 4, "channels": 5, "hidden_size": 6, **options}
    )
    cubes = [torch.randn(frames, 4, config.cube.channels) for frames in (4, 9, 3, 4, 1, 5)]
    groups = ["x", "x", "y", "y", "z", "z"]
    return models.build_model(config), cubes, [0, 1, 2, 0, 1, 2], groups


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_model_on_features_only(kind: str) -> None:
    model, cubes, labels, groups = made(**KINDS[kind])
    found = explain_opened(opened(model, cubes, labels, groups=groups), pixels=3)
    attends = kind not in ("average", "max", "softmax")
    assert found.maps == ("attention" if attends else "Grad-CAM")
    assert found.pixel_deletion is None  # there are no videos
    assert found.where == {}
    assert np.isnan(found.pointing).all()
    assert set(found.frozen) == (
        {"own", "uniform", "shuffled in time", "swapped between clips"} if attends else set()
    )
    assert set(found.moves) == (
        {"entropy", "coverage", "travel", "agreement"} if attends else set()
    )
    if kind == "hard":
        assert found.moves["entropy"].value == pytest.approx(0)
    if kind == "location":
        # Knows nothing of what it looks at but through its state.
        assert 0.9 < found.moves["entropy"].value <= 1
    grid = 4 if kind == "two stages" else 2
    assert [p.attention.shape for p in found.predictions if p.attention is not None] == [
        (len(each), grid, grid) for each in cubes
    ]
    assert found.deletion.curves["random"].value[[0, -1]] == pytest.approx(
        found.deletion.curves["most attended first"].value[[0, -1]]
    )
    assert len(found.faithfulness) == 6
    text = json.dumps(found.to_json(), allow_nan=False)
    again = explain_opened(opened(model, cubes, labels, groups=groups), pixels=3)
    assert json.dumps(again.to_json()) == text


def test_several_actions_a_clip() -> None:
    """Right is who names one of them; a clip that shows none is neither right nor wrong."""
    model, cubes, _, groups = made()
    labels = [(0, 1, 2), (0, 1, 2), (), (0, 1, 2), (), (0, 1, 2)]
    found = explain_opened(opened(model, cubes, labels, groups=groups, multi_label=True))
    assert (found.accuracy.value, found.accuracy.clips) == (1, 4)
    # Independent probabilities: at nothing removed, the largest sigmoid of each clip.
    most = [prediction.probabilities.max() for prediction in found.predictions]
    assert found.deletion.curves["random"].value[0] == pytest.approx(np.mean(most), abs=1e-5)


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two trained runs and boxes that say that the actor is in the upper left quarter."""
    root = tmp_path_factory.mktemp("explain")
    make_moving_set(root / "data")
    small: dict[str, Any] = {
        "block_length": 6, "hidden_size": 8, "num_layers": 1, "batch_size": 4, "epochs": 1,
        "folds": 3,
    }  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backbones, "load", lambda *_, **__: GreyBackbone())
        for name, model in (("looks", "attention"), ("pools", "average")):
            train(root / "data", out=root / name, feature_dir=root / "store", model=model, **small)
    boxes = {
        f"{action}/v_{action}_{group:02}_01.avi": {
            "size": [32, 32],
            "boxes": [{"time": 0.0, "box": [0, 0, 16, 16]}, {"time": 1.1, "box": [0, 0, 16, 16]}],
        }
        for action in ("forth", "back")
        for group in range(6)
    }
    (root / "boxes.json").write_text(json.dumps(boxes))
    return root


@pytest.fixture
def _grey(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backbones, "load", lambda *_, **__: GreyBackbone())


@pytest.mark.usefixtures("_grey")
def test_a_run_on_videos_with_boxes(videos: Path) -> None:
    found = explain_run(
        videos / "looks", boxes=videos / "boxes.json", pooled=videos / "pools", pixels=2
    )
    assert list(found.where) == [
        "attention", "uniform", "centre prior", "motion energy", "Grad-CAM"
    ]  # fmt: skip
    assert found.where["uniform"].pointing.value == pytest.approx(1 / 4)
    assert found.where["uniform"].auc.value == 0.5
    # The light is for half of the time in the left half, over all of its height.
    assert found.where["motion energy"].energy.value == pytest.approx(1 / 4, abs=0.06)
    assert found.clips == tuple(sorted(found.clips))
    assert found.side == "test"
    assert found.pixel_deletion is not None
    assert found.pixel_deletion.gain.clips == 2
    assert set(found.by_clip) >= {"accuracy", "pointing", "lost: uniform", "pixel deletion gain"}
    json.dumps(found.to_json(), allow_nan=False)


@pytest.mark.usefixtures("_grey")
def test_a_video_that_broke_since_costs_only_its_pixels(
    videos: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = open_run(videos / "looks")
    broken = videos / "broken.avi"
    broken.write_bytes(b"no video")
    clips = (replace(run.clips[0], path=broken), *run.clips[1:])
    found = explain_opened(replace(run, clips=clips), pixels=2)
    assert caplog.text.count("broken.avi") == 1
    assert found.pixel_deletion is not None
    assert found.pixel_deletion.gain.clips == 1
    motion = motion_energy(BlockRunner(replace(run, clips=clips)), 2)
    assert motion is not None
    assert np.isnan(motion[0][0]).all()
    assert all(np.isfinite(block).all() for clip in motion[1:] for block in clip)


def test_a_missing_captum_is_told_before_any_work(
    videos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Backbones are not replaced here: work would fail for other reasons.
    monkeypatch.setitem(sys.modules, "captum", None)
    for ask in (
        lambda: compare(videos / "looks", videos / "pools", out=videos / "beside"),
        lambda: explain_run(videos / "pools"),
    ):
        with pytest.raises(GlimpsesError, match=r"pip install 'glimpses\[explain\]'"):
            ask()


@pytest.mark.usefixtures("_grey")
def test_a_rival_that_needs_captum_is_told_before_attention_is_measured(
    videos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "captum", None)
    monkeypatch.setattr("glimpses.evaluation.explain.look", None)
    with pytest.raises(GlimpsesError, match=r"pip install 'glimpses\[explain\]'"):
        explain_run(videos / "looks", boxes=videos / "boxes.json", pooled=videos / "pools")


@pytest.mark.usefixtures("_grey")
def test_runs_that_cannot_be_rivals_are_refused(videos: Path) -> None:
    with pytest.raises(GlimpsesError, match="--model average, max or softmax"):
        explain_run(
            videos / "looks", boxes=videos / "boxes.json", pooled=videos / "looks", pixels=0
        )
    with pytest.raises(GlimpsesError, match="has none; leave it out"):
        explain_run(videos / "pools", pooled=videos / "pools", pixels=0)
    with pytest.raises(GlimpsesError, match="--pixels -1"):
        explain_run(videos / "looks", pixels=-1)


def test_motion_is_where_something_moves(tmp_path: Path) -> None:
    """A square that blinks in one corner of a still picture, whose first frame is the second's."""
    frames = np.full((6, 64, 64, 3), 90, np.uint8)
    frames[1::2, :16, 48:] = 250
    video.write(tmp_path / "blink.mp4", frames, fps=10)
    motion = motion_of(tmp_path / "blink.mp4", 10.0, 4)
    assert motion.shape == (6, 16)
    np.testing.assert_allclose(motion.sum(1), 1)
    assert (motion[:, 3] > 0.95).all()
    video.write(tmp_path / "still.mp4", frames[:1].repeat(4, 0), fps=10)
    np.testing.assert_allclose(motion_of(tmp_path / "still.mp4", 10.0, 4), 1 / 16, atol=1e-6)


def test_clips_for_pixels_are_spread_over_the_classes(tmp_path: Path) -> None:
    model, cubes, _, groups = made()
    file = tmp_path / "there.avi"
    file.write_bytes(b"x")
    clips = opened(model, cubes, [0, 0, 0, 1, 1, 2], groups=groups).clips
    assert spread(clips, 3) == []
    there = [replace(clip, path=file) for clip in clips]
    assert spread(there, 4) == [0, 3, 5, 1]
    assert spread(there, 0) == []
    scenes = [replace(clip, group=group) for clip, group in zip(there, "xyxxyx", strict=True)]
    assert spread(scenes, 3) == [0, 4, 5]
