"""Explanations end to end: all kinds of models and data."""

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
from glimpses.evaluation.explain import explain_opened_run, explain_run
from glimpses.evaluation.pixel_deletion import spread_over_classes
from glimpses.evaluation.saliency_baselines import motion_energy, video_motion_energy
from glimpses.report import compare
from glimpses.utils.errors import GlimpsesError
from tests.configs import model_config, train
from tests.evaluation.fake_runs import fake_run
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


def untrained(**options: Any) -> Any:
    """Return a model with cubes, labels and groups of clips shorter and longer than its blocks."""
    config = model_config(
        **{"num_classes": 3, "places": 4, "channels": 5, "hidden_size": 6, **options}
    )
    cubes = [torch.randn(frames, 4, config.cube.channels) for frames in (4, 9, 3, 4, 1, 5)]
    groups = ["x", "x", "y", "y", "z", "z"]
    return models.build_model(config), cubes, [0, 1, 2, 0, 1, 2], groups


@pytest.mark.parametrize("kind", KINDS)
def test_all_kinds_of_models_on_features_only(kind: str) -> None:
    model, cubes, labels, groups = untrained(**KINDS[kind])
    result = explain_opened_run(fake_run(model, cubes, labels, groups=groups), pixels=3)
    attends = kind not in ("average", "max", "softmax")
    assert result.map_name == ("attention" if attends else "Grad-CAM")
    assert result.pixel_deletion is None  # there are no videos
    assert result.localisation == {}
    assert np.isnan(result.pointing).all()
    assert set(result.attention_ablation) == (
        {"original", "uniform", "shuffled in time", "swapped between clips"} if attends else set()
    )
    assert set(result.attention_stats) == (
        {"entropy", "coverage", "centroid_shift", "overlap"} if attends else set()
    )
    if kind == "hard":
        assert result.attention_stats["entropy"].value == pytest.approx(0)
    if kind == "location":
        # Depends on the input only through its state.
        assert 0.9 < result.attention_stats["entropy"].value <= 1
    grid = 4 if kind == "two stages" else 2
    assert [p.attention.shape for p in result.predictions if p.attention is not None] == [
        (len(each), grid, grid) for each in cubes
    ]
    assert result.deletion.curves["random"].value[[0, -1]] == pytest.approx(
        result.deletion.curves["most attended first"].value[[0, -1]]
    )
    assert len(result.faithfulness) == 6
    text = json.dumps(result.to_json(), allow_nan=False)
    again = explain_opened_run(fake_run(model, cubes, labels, groups=groups), pixels=3)
    assert json.dumps(again.to_json()) == text


def test_multi_label_clips() -> None:
    """A prediction is correct if it is one of the labels; clips without labels do not count."""
    model, cubes, _, groups = untrained()
    labels = [(0, 1, 2), (0, 1, 2), (), (0, 1, 2), (), (0, 1, 2)]
    result = explain_opened_run(fake_run(model, cubes, labels, groups=groups, multi_label=True))
    assert (result.accuracy.value, result.accuracy.clips) == (1, 4)
    # With no place removed, the probability is the largest sigmoid of each clip.
    most = [prediction.probabilities.max() for prediction in result.predictions]
    assert result.deletion.curves["random"].value[0] == pytest.approx(np.mean(most), abs=1e-5)


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two trained runs, and annotations of an actor in the upper left quarter."""
    root = tmp_path_factory.mktemp("explain")
    make_moving_set(root / "data")
    small: dict[str, Any] = {
        "block_length": 6, "hidden_size": 8, "num_layers": 1, "batch_size": 4, "epochs": 1,
        "folds": 3,
    }  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backbones, "load", lambda *_, **__: GreyBackbone())
        for name, model in (("attention", "attention"), ("average", "average")):
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
def test_a_run_on_annotated_videos(videos: Path) -> None:
    result = explain_run(
        videos / "attention",
        annotations=videos / "boxes.json",
        gradcam_run=videos / "average",
        pixels=2,
    )
    assert list(result.localisation) == [
        "attention", "uniform", "centre prior", "motion energy", "Grad-CAM"
    ]  # fmt: skip
    assert result.localisation["uniform"].pointing.value == pytest.approx(1 / 4)
    assert result.localisation["uniform"].auc.value == 0.5
    # The light is in the left half for half of the time, over the full height.
    assert result.localisation["motion energy"].energy.value == pytest.approx(1 / 4, abs=0.06)
    assert result.clips == tuple(sorted(result.clips))
    assert result.subset == "test"
    assert result.pixel_deletion is not None
    assert result.pixel_deletion.gain.clips == 2
    assert set(result.by_clip) >= {
        "accuracy",
        "pointing",
        "accuracy drop: uniform",
        "pixel deletion gain",
    }
    json.dumps(result.to_json(), allow_nan=False)


@pytest.mark.usefixtures("_grey")
def test_a_video_damaged_after_training_is_skipped_on_pixels(
    videos: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = open_run(videos / "attention")
    broken = videos / "broken.avi"
    broken.write_bytes(b"no video")
    clips = (replace(run.clips[0], path=broken), *run.clips[1:])
    result = explain_opened_run(replace(run, clips=clips), pixels=2)
    assert caplog.text.count("broken.avi") == 1
    assert result.pixel_deletion is not None
    assert result.pixel_deletion.gain.clips == 1
    motion = motion_energy(BlockRunner(replace(run, clips=clips)), 2)
    assert motion is not None
    assert np.isnan(motion[0][0]).all()
    assert all(np.isfinite(block).all() for clip in motion[1:] for block in clip)


def test_a_missing_captum_is_reported_before_any_work(
    videos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The backbone is not replaced here, so any work would fail for another reason.
    monkeypatch.setitem(sys.modules, "captum", None)
    for command in (
        lambda: compare(videos / "attention", videos / "average", out=videos / "beside"),
        lambda: explain_run(videos / "average"),
    ):
        with pytest.raises(GlimpsesError, match=r"pip install 'glimpses\[explain\]'"):
            command()


@pytest.mark.usefixtures("_grey")
def test_a_grad_cam_baseline_without_captum_is_reported_before_any_work(
    videos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "captum", None)
    monkeypatch.setattr("glimpses.evaluation.explain.run_clips", None)
    with pytest.raises(GlimpsesError, match=r"pip install 'glimpses\[explain\]'"):
        explain_run(
            videos / "attention", annotations=videos / "boxes.json", gradcam_run=videos / "average"
        )


@pytest.mark.usefixtures("_grey")
def test_unsuitable_grad_cam_runs_are_refused(videos: Path) -> None:
    with pytest.raises(GlimpsesError, match="--model average, max or softmax"):
        explain_run(
            videos / "attention",
            annotations=videos / "boxes.json",
            gradcam_run=videos / "attention",
            pixels=0,
        )
    with pytest.raises(GlimpsesError, match="has none; leave the option out"):
        explain_run(videos / "average", gradcam_run=videos / "average", pixels=0)
    with pytest.raises(GlimpsesError, match="--pixels -1"):
        explain_run(videos / "attention", pixels=-1)


def test_motion_energy_is_where_something_moves(tmp_path: Path) -> None:
    """A square blinks in one corner of a still image; the first frame gets the second's map."""
    frames = np.full((6, 64, 64, 3), 90, np.uint8)
    frames[1::2, :16, 48:] = 250
    video.write(tmp_path / "blink.mp4", frames, fps=10)
    motion = video_motion_energy(tmp_path / "blink.mp4", 10.0, 4)
    assert motion.shape == (6, 16)
    np.testing.assert_allclose(motion.sum(1), 1)
    assert (motion[:, 3] > 0.95).all()
    video.write(tmp_path / "still.mp4", frames[:1].repeat(4, 0), fps=10)
    np.testing.assert_allclose(
        video_motion_energy(tmp_path / "still.mp4", 10.0, 4), 1 / 16, atol=1e-6
    )


def test_clips_for_pixel_deletion_are_spread_over_the_classes(tmp_path: Path) -> None:
    model, cubes, _, groups = untrained()
    file = tmp_path / "there.avi"
    file.write_bytes(b"x")
    clips = fake_run(model, cubes, [0, 0, 0, 1, 1, 2], groups=groups).clips
    assert spread_over_classes(clips, 3) == []
    there = [replace(clip, path=file) for clip in clips]
    assert spread_over_classes(there, 4) == [0, 3, 5, 1]
    assert spread_over_classes(there, 0) == []
    scenes = [replace(clip, group=group) for clip, group in zip(there, "xyxxyx", strict=True)]
    assert spread_over_classes(scenes, 3) == [0, 4, 5]
