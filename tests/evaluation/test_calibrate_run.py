"""Calibration of a run: what is stored, and that everything that predicts applies it."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from glimpses import Recogniser, backbones, cli, runs, video
from glimpses.evaluation import calibrate, evaluate_clips
from glimpses.evaluation.calibrate_run import _fit_threshold
from glimpses.runs import Calibration, Threshold, read_config, write_config
from glimpses.utils.errors import GlimpsesError
from tests.configs import model_config, run_config, train
from tests.fakes import GreyBackbone, make_moving_set


@pytest.fixture(autouse=True)
def _grey(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backbones, "load", lambda *_, **__: GreyBackbone())


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on clips of 14 frames, read in blocks of 20."""
    root = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backbones, "load", lambda *_, **__: GreyBackbone())
        data = make_moving_set(root / "data", groups=6, length=14)
        train(data, out=root / "run", feature_dir=root / "store", block_length=20,
              hidden_size=8, num_layers=1, epochs=2, folds=3)  # fmt: skip
    return root


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """Return a copy of the run without calibration."""
    shutil.copytree(trained / "run", tmp_path / "run")
    write_config(tmp_path / "run", replace(read_config(tmp_path / "run"), calibration=None))
    return tmp_path / "run"


def set_calibration(run: Path, calibration: Calibration) -> None:
    write_config(run, replace(read_config(run), calibration=calibration))


def test_everything_that_predicts_divides_by_the_temperature(run: Path, trained: Path) -> None:
    before = evaluate_clips(run, feature_dir=trained / "store")
    set_calibration(run, Calibration(temperature=3.0, threshold=0.999))
    after = evaluate_clips(run, feature_dir=trained / "store")
    measured = after.scores.calibration
    assert measured is not None
    assert measured.before.ece == before.scores.calibration.after.ece  # type: ignore[union-attr]
    assert measured.coverage.value == 0
    assert measured.precision is None
    recogniser = Recogniser.load(run)
    for index, (plain, scaled) in enumerate(zip(before.results, after.results, strict=True)):
        # There is one block, so the softmax of z / 3 follows from that of z.
        expected = plain.step_probabilities ** (1 / 3)
        expected /= expected.sum(1, keepdims=True)
        np.testing.assert_allclose(scaled.step_probabilities, expected, atol=1e-9)
        predicted = recogniser.predict(before.clips[index].path)
        np.testing.assert_allclose(predicted.probabilities, scaled.probabilities, atol=1e-5)
        assert predicted.decision == after.prediction(index).decision == "unsure"
        assert predicted.label in recogniser.classes
    causal = evaluate_clips(run, feature_dir=trained / "store", causal=True)
    stream = recogniser.stream()
    frames = video.FrameReader(causal.clips[0].path, fps=recogniser.config.data.fps, size=32)
    steps = [stream(frame.pixels) for frame in frames]
    found = np.stack([step.probabilities for step in steps])
    np.testing.assert_allclose(found, causal.results[0].step_probabilities, atol=1e-5)
    assert steps[0].decision == "unsure"


def test_a_saved_recogniser_keeps_its_calibration(run: Path, tmp_path: Path) -> None:
    set_calibration(run, Calibration(temperature=3.0, threshold=0.7))
    Recogniser.load(run).save(tmp_path / "saved")
    config, model = runs.load_model(tmp_path / "saved")
    assert (config.threshold, model.temperature) == (0.7, 3.0)


def test_a_run_is_calibrated_again_from_its_own_logits(run: Path, trained: Path) -> None:
    first = calibrate(run, threshold="0.8", feature_dir=trained / "store").calibration
    again = calibrate(run, threshold="0.8", feature_dir=trained / "store").calibration
    assert again.temperature == pytest.approx(first.temperature, rel=1e-4)
    assert first.temperature != 1
    assert read_config(run).calibration == again
    assert again.threshold == 0.8
    assert again.clips == len(read_config(run).clips["validation"])
    text = str(calibrate(run, threshold="none", feature_dir=trained / "store"))
    assert text.endswith("; no threshold")


def test_few_clips_choose_no_threshold(run: Path, trained: Path) -> None:
    done = calibrate(run, precision=0.9, feature_dir=trained / "store")
    assert done.calibration.threshold is None
    assert "too few (at least 30 of 10)" in str(done)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--threshold", "maybe"], "--threshold maybe: give auto, none, or a number from 0 to 1"),
        (["--threshold", "70"], "--threshold 70: give auto, none, or a number from 0 to 1"),
        (["--precision", "1.5"], "--precision 1.5: must be from 0 to 1"),
        (["--precision", "0.9", "--threshold", "auto"], "give only one of them"),
        (["--false-alarms", "0.1"], "the run has no background class"),
    ],
)
def test_wrong_options_are_one_line(
    run: Path, options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["calibrate", str(run), *options]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_a_damaged_calibration_is_refused(run: Path) -> None:
    set_calibration(run, Calibration(temperature=2.0))
    file = run / runs.CONFIG
    file.write_text(file.read_text().replace('"temperature": 2.0', '"temperature": 0.0'))
    with pytest.raises(GlimpsesError, match=r"--temperature 0\.0"):
        read_config(run)


def test_the_precision_of_a_recording_is_judged_without_it() -> None:
    shape = model_config(num_classes=2, places=4, channels=5)
    config = run_config(classes=("background", "run"), model=shape)
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.5, 1, 400)
    labels = rng.integers(0, 2, 400)
    predicted = np.where(rng.random(400) < confidence, labels, 1 - labels)
    probabilities = np.where(
        np.arange(2) == predicted[:, None], confidence[:, None], 1 - confidence[:, None]
    )
    groups = [str(index // 10) for index in range(400)]
    for rule in (Threshold(precision=0.9), Threshold(false_alarms=0.05), Threshold(value=0.8)):
        fitted = _fit_threshold(config, Calibration(rule=rule, clips=400, recordings=40),
                                probabilities, labels, groups)  # fmt: skip
        assert fitted.threshold is not None
        assert fitted.precision is not None
        assert fitted.coverage is not None
        sure = confidence >= fitted.threshold
        assert fitted.coverage.value == pytest.approx(sure.mean())
        # The confidences are calibrated by construction, so their mean is the true precision.
        assert fitted.precision.value == pytest.approx(confidence[sure].mean(), abs=0.08)
        if rule.false_alarms is not None:
            alarms = sure[labels == 0] & (predicted[labels == 0] == 1)
            assert 0.03 < alarms.mean() <= 0.05
