"""A recogniser says of a video what the evaluation says of the clip."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from glimpses import Recogniser, backbones, cli, video
from glimpses.evaluation import evaluate_clips
from glimpses.inference import predict
from glimpses.utils.errors import GlimpsesError
from tests.configs import train
from tests.fakes import GreyBackbone, make_moving_set


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on clips of 14 frames, read in blocks of 4."""
    root = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backbones, "load", lambda *_, **__: GreyBackbone())
        data = make_moving_set(root / "data", groups=6, length=14)
        train(data, out=root / "run", feature_dir=root / "store", block_length=4, hidden_size=8, num_layers=2,
              epochs=2, folds=3, stride=3)  # fmt: skip
    return root


@pytest.fixture(autouse=True)
def _grey(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backbones, "load", lambda *_, **__: GreyBackbone())


def test_prediction_is_the_evaluation(trained: Path) -> None:
    test = evaluate_clips(trained / "run", store=trained / "store")
    recogniser = Recogniser.load(trained / "run")
    assert len(test.clips) == 4
    for clip, expected, times in zip(test.clips, test.results, test.times, strict=True):
        found = recogniser.predict(clip.path)
        np.testing.assert_allclose(found.probabilities, expected.probabilities, atol=1e-6)
        np.testing.assert_allclose(found.step_probabilities, expected.steps, atol=1e-6)
        np.testing.assert_allclose(found.times, times)
        assert found.attention is not None
        assert expected.attention is not None
        assert found.attention.shape == (14, 2, 2)
        np.testing.assert_allclose(found.attention.reshape(14, 4), expected.attention, atol=1e-6)


def test_a_stream_is_the_causal_evaluation(trained: Path) -> None:
    test = evaluate_clips(trained / "run", store=trained / "store", causal=True)
    recogniser = Recogniser.load(trained / "run")
    for clip, expected in zip(test.clips, test.results, strict=True):
        stream = recogniser.stream()
        frames = video.FrameReader(clip.path, fps=recogniser.config.data.fps, size=32)
        steps = [stream(frame.pixels) for frame in frames]
        found = np.stack([step.probabilities for step in steps])
        np.testing.assert_allclose(found, expected.steps, atol=1e-5)
        np.testing.assert_allclose(found.mean(0), expected.probabilities, atol=1e-5)
        places = np.stack([step.attention for step in steps])  # type: ignore[misc]
        np.testing.assert_allclose(places, expected.attention_maps, atol=1e-5)
    assert cli.run(["evaluate", str(trained / "run"), "--store", str(trained / "store"),
                    "--causal"]) == 0  # fmt: skip


def test_prediction_is_probabilities_and_their_times(trained: Path) -> None:
    clip = trained / "data" / "forth" / "v_forth_00_01.avi"
    found = Recogniser.load(str(trained / "run")).predict(str(clip))
    assert found.probabilities.sum() == pytest.approx(1)
    np.testing.assert_allclose(found.step_probabilities.sum(1), 1)
    np.testing.assert_allclose(found.attention.sum((1, 2)), 1)  # type: ignore[union-attr]
    np.testing.assert_allclose(found.times, np.arange(14) / 10)
    (best, probability), (_, other) = found.top(5)
    assert best == found.label
    assert probability + other == pytest.approx(1)
    written = json.loads(json.dumps(found.to_json()))
    assert written["label"] == best
    assert len(written["attention"]) == 14
    assert written["probabilities"][best] == pytest.approx(probability, abs=1e-6)


def test_any_length_is_read(trained: Path, tmp_path: Path) -> None:
    recogniser = Recogniser.load(trained / "run")
    for frames in (1, 3, 4, 5, 7, 65):
        path = tmp_path / f"{frames}.mp4"
        noise = np.random.default_rng(0).integers(0, 256, (frames, 32, 32, 3), np.uint8)
        video.write(path, noise, fps=10)
        assert len(recogniser.predict(path).times) == frames


def test_predict_draws_and_lists(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clip = trained / "data" / "back" / "v_back_01_01.avi"
    out = tmp_path / "new" / "overlay.mp4"
    assert cli.run(["predict", str(trained / "run"), str(clip), "--overlay", str(out)]) == 0
    assert str(out) in capsys.readouterr().out
    assert video.probe(out).codec == "h264"
    assert cli.run(["predict", str(trained / "run"), str(clip), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert [p["video"] for p in shown["predictions"]] == [str(clip)]


def test_one_bad_video_does_not_stop_the_others(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = trained / "data" / "back" / "v_back_01_01.avi"
    bad = tmp_path / "bad.mp4"
    bad.touch()
    overlays = ["--overlay", str(tmp_path / "overlays")]
    assert cli.run(["predict", str(trained / "run"), *overlays, str(bad), str(good)]) == 1
    out, error = capsys.readouterr()
    assert good.name in out
    assert error == f"error: {bad}: is empty; copy or download it again\n"


def test_overlays_never_meet(trained: Path, tmp_path: Path) -> None:
    clip = trained / "data" / "back" / "v_back_01_01.avi"
    twins = [tmp_path / "a" / "c.avi", tmp_path / "b" / "c.avi"]
    for twin in twins:
        twin.parent.mkdir()
        shutil.copy(clip, twin)
    made = predict(trained / "run", *twins, overlay=tmp_path / "overlays").overlays
    assert len(set(made.values())) == 2
    assert all(path.exists() for path in made.values())
    film = tmp_path / "film.mp4"
    video.write(film, [np.zeros((32, 32, 3), np.uint8)] * 5, fps=10)
    with pytest.raises(GlimpsesError, match="is the video itself"):
        predict(trained / "run", film, overlay=film)
    with pytest.raises(GlimpsesError, match=r"ending in \.mp4"):
        predict(trained / "run", film, overlay=tmp_path / "o.avi")


def test_clip_that_breaks_off_is_recognised_with_a_word(trained: Path, tmp_path: Path) -> None:
    whole = tmp_path / "whole.avi"
    noise = np.random.default_rng(0).integers(0, 256, (60, 32, 32, 3), np.uint8)
    video.write(whole, noise, fps=10)
    whole.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    found = Recogniser.load(trained / "run").predict(whole)
    assert found.problem is not None
    assert found.problem.startswith("breaks off at")
    assert 20 < len(found.times) < 32
