"""Recognisers: predictions of files, arrays and streams equal those of the evaluation."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import av
import numpy as np
import pytest

from glimpses import Recogniser, backbones, cli, runs, video
from glimpses.evaluation import evaluate, evaluate_clips
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
        train(data, out=root / "run", feature_dir=root / "store", block_length=4,
              hidden_size=8, num_layers=2, epochs=2, folds=3, stride=3)  # fmt: skip
    return root


def write_lossless(path: Path, frames: np.ndarray, fps: int) -> Path:
    """Write RGB frames so that they decode to the same bytes."""
    with av.open(path, "w") as container:
        stream = container.add_stream("ffv1", rate=fps)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "bgr0"
        for pixels in frames:
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            container.mux(stream.encode(frame.reformat(format="bgr0")))
        container.mux(stream.encode(None))
    return path


@pytest.fixture(autouse=True)
def _grey(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backbones, "load", lambda *_, **__: GreyBackbone())


def test_predictions_equal_the_evaluation(trained: Path) -> None:
    test = evaluate_clips(trained / "run", feature_dir=trained / "store")
    recogniser = Recogniser.load(trained / "run")
    assert len(test.clips) == 4
    for clip, expected, times in zip(test.clips, test.results, test.times, strict=True):
        found = recogniser.predict(clip.path)
        np.testing.assert_allclose(found.probabilities, expected.probabilities, atol=1e-6)
        np.testing.assert_allclose(found.step_probabilities, expected.step_probabilities, atol=1e-6)
        np.testing.assert_allclose(found.times, times)
        assert found.attention is not None
        assert expected.attention is not None
        assert found.attention.shape == (14, 2, 2)
        np.testing.assert_allclose(found.attention.reshape(14, 4), expected.attention, atol=1e-6)


def test_streams_equal_the_causal_evaluation(trained: Path) -> None:
    test = evaluate_clips(trained / "run", feature_dir=trained / "store", causal=True)
    recogniser = Recogniser.load(trained / "run")
    for clip, expected in zip(test.clips, test.results, strict=True):
        stream = recogniser.stream()
        frames = video.FrameReader(clip.path, fps=recogniser.config.data.fps, size=32)
        steps = [stream(frame.pixels) for frame in frames]
        found = np.stack([step.probabilities for step in steps])
        np.testing.assert_allclose(found, expected.step_probabilities, atol=1e-5)
        np.testing.assert_allclose(found.mean(0), expected.probabilities, atol=1e-5)
        places = np.stack([step.attention for step in steps])  # type: ignore[misc]
        np.testing.assert_allclose(places, expected.attention_maps, atol=1e-5)
    assert cli.run(["evaluate", str(trained / "run"), "--feature-dir", str(trained / "store"),
                    "--causal"]) == 0  # fmt: skip


def test_a_prediction_has_probabilities_and_times(trained: Path) -> None:
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


def test_videos_of_any_length_are_predicted(trained: Path, tmp_path: Path) -> None:
    recogniser = Recogniser.load(trained / "run")
    for frames in (1, 3, 4, 5, 7, 65):
        path = tmp_path / f"{frames}.mp4"
        noise = np.random.default_rng(0).integers(0, 256, (frames, 32, 32, 3), np.uint8)
        video.write(path, noise, fps=10)
        assert len(recogniser.predict(path).times) == frames


def test_the_predict_command_draws_and_prints(
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


def test_overlays_never_overwrite_a_file_of_another_video(trained: Path, tmp_path: Path) -> None:
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
    with pytest.raises(GlimpsesError, match="is the input video"):
        predict(trained / "run", film, overlay=film)
    with pytest.raises(GlimpsesError, match=r"ending in \.mp4"):
        predict(trained / "run", film, overlay=tmp_path / "o.avi")


def test_a_truncated_clip_is_predicted_with_its_problem(trained: Path, tmp_path: Path) -> None:
    whole = tmp_path / "whole.avi"
    noise = np.random.default_rng(0).integers(0, 256, (60, 32, 32, 3), np.uint8)
    video.write(whole, noise, fps=10)
    whole.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    found = Recogniser.load(trained / "run").predict(whole)
    assert found.problem is not None
    assert found.problem.startswith("breaks off at")
    assert 20 < len(found.times) < 32


def test_arrays_are_predicted_like_their_lossless_video(trained: Path, tmp_path: Path) -> None:
    recogniser = Recogniser.load(trained / "run")
    frames = np.random.default_rng(1).integers(0, 256, (33, 32, 32, 3), np.uint8)
    path = write_lossless(tmp_path / "lossless.mkv", frames, fps=25)
    (expected, same), array = (
        recogniser.predict([path, str(path)]),
        recogniser.predict(frames, fps=25),
    )
    np.testing.assert_array_equal(same.probabilities, expected.probabilities)
    np.testing.assert_array_equal(array.times, expected.times)
    np.testing.assert_array_equal(array.step_probabilities, expected.step_probabilities)
    np.testing.assert_array_equal(array.attention, expected.attention)
    assert (array.video, array.name, array.to_json()["video"]) == (None, "array", None)
    with pytest.raises(GlimpsesError, match=r"write the frames to a file with glimpses\.video"):
        array.draw_overlay(tmp_path / "overlay.mp4")


def test_arrays_are_resized_like_their_lossless_video(trained: Path, tmp_path: Path) -> None:
    recogniser = Recogniser.load(trained / "run")
    coarse = np.random.default_rng(1).integers(0, 256, (12, 6, 8, 3), np.uint8)
    frames = coarse.repeat(20, axis=1).repeat(20, axis=2)
    path = write_lossless(tmp_path / "lossless.mkv", frames, fps=10)
    expected = recogniser.predict(path)
    for array in (frames, frames[..., ::-1][..., ::-1]):
        found = recogniser.predict(array, fps=10)
        np.testing.assert_allclose(found.probabilities, expected.probabilities, atol=1e-3)
        np.testing.assert_allclose(found.attention, expected.attention, atol=1e-3)
    other = recogniser.predict(255 - frames, fps=10)
    assert np.abs(other.attention - expected.attention).max() > 5e-3


def test_lists_may_mix_files_and_arrays(trained: Path) -> None:
    recogniser = Recogniser.load(trained / "run")
    clip = trained / "data" / "back" / "v_back_01_01.avi"
    frames = video.read(clip, fps="native", size=None).frames
    both = recogniser.predict([clip, frames], fps=10)
    assert [prediction.name for prediction in both] == [clip.name, "array"]
    assert recogniser.predict([]) == []


@pytest.mark.parametrize(
    ("frames", "fps", "message"),
    [
        (np.zeros((2, 32, 32, 3), np.uint8), None, "give fps="),
        (np.zeros((2, 32, 32, 3), np.uint8), 0, "fps 0: give frames per second above 0"),
        (np.zeros((2, 32, 32, 3), np.float32), 10, r"uint8 \(T, H, W, 3\), not float32"),
        (np.zeros((32, 32, 3), np.uint8), 10, r"not uint8 \(32, 32, 3\)"),
        (np.zeros((0, 32, 32, 3), np.uint8), 10, "at least one pixel"),
    ],
)
def test_arrays_that_are_no_video_are_refused(
    trained: Path, frames: np.ndarray, fps: float | None, message: str
) -> None:
    with pytest.raises(GlimpsesError, match=message):
        Recogniser.load(trained / "run").predict(frames, fps=fps)


def test_a_saved_recogniser_loads_and_predicts_the_same(trained: Path, tmp_path: Path) -> None:
    clip = trained / "data" / "back" / "v_back_01_01.avi"
    recogniser = Recogniser.load(str(trained / "run"))
    recogniser.save(str(tmp_path / "copy"))
    copy = Recogniser.load(tmp_path / "copy")
    np.testing.assert_array_equal(
        copy.predict(clip).step_probabilities, recogniser.predict(clip).step_probabilities
    )
    for name in (runs.CONFIG, runs.WEIGHTS, runs.CARD, runs.CURVES):
        assert (tmp_path / "copy" / name).read_bytes() == (trained / "run" / name).read_bytes()
    # One without a folder gets a card of its own; saving onto itself changes nothing.
    Recogniser(copy.config, copy.model, copy.backbone).save(tmp_path / "bare")
    assert (tmp_path / "bare" / runs.CARD).read_text().count("# bare\n") == 1
    before = (tmp_path / "copy" / runs.WEIGHTS).read_bytes()
    copy.save(tmp_path / "copy")
    assert (tmp_path / "copy" / runs.WEIGHTS).read_bytes() == before


def test_loading_does_not_read_the_model_card(trained: Path, tmp_path: Path) -> None:
    Recogniser.load(trained / "run").save(tmp_path / "run")
    (tmp_path / "run" / runs.CARD).write_bytes(b"\xff")
    recogniser = Recogniser.load(tmp_path / "run")
    with pytest.raises(GlimpsesError, match="cannot be read"):
        recogniser.save(tmp_path / "copy")


def test_evaluate_is_that_of_the_folder_and_keeps_its_scores(trained: Path, tmp_path: Path) -> None:
    Recogniser.load(trained / "run").save(tmp_path / "run")
    recogniser = Recogniser.load(tmp_path / "run")
    expected = evaluate(str(trained / "run"), feature_dir=trained / "store")
    scores = recogniser.evaluate(feature_dir=str(trained / "store"))
    assert scores.to_json() == expected.to_json()
    validation, record = runs.read_scores(tmp_path / "run")
    assert validation.subset == "validation"
    assert (record.data, record.subset, record.value) == ("data", "test", scores.value)
    other = make_moving_set(tmp_path / "other", groups=1, length=11)
    assert len(recogniser.evaluate(str(other)).clips) == 2
    # Without a folder there is nowhere to keep them.
    bare = Recogniser(recogniser.config, recogniser.model, recogniser.backbone)
    assert bare.evaluate(other).value == recogniser.evaluate(other).value
    assert len(runs.read_scores(tmp_path / "run")) == 3
