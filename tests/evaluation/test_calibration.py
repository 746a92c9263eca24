"""Temperature, threshold and calibration error, on probabilities of known calibration."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import logsumexp, softmax

from glimpses.evaluation.calibration import (
    MIN_SURE,
    ClipLogits,
    calibration_error,
    choose_quiet_threshold,
    choose_threshold,
    fit_temperature,
    measure_reliability,
    negative_log_likelihood,
    perfect_error,
    reliability_bins,
)


def draw(clips: int, steps: int, factor: float, seed: int = 0) -> tuple[ClipLogits, np.ndarray]:
    """Return clip logits that are too large by a factor, and labels drawn from the true ones."""
    rng = np.random.default_rng(seed)
    logits = 2 * rng.normal(size=(clips, 1, 3)) + 0.3 * rng.normal(size=(clips, steps, 3))
    truth = softmax(logits, axis=-1).mean(1)
    labels = np.array([rng.multinomial(1, row) for row in truth]).astype(bool)
    owners = np.repeat(np.arange(clips), steps)
    return ClipLogits(
        factor * logits.reshape(-1, 3), owners, np.full(len(owners), 1 / steps)
    ), labels


@pytest.mark.parametrize("factor", [0.5, 1.0, 3.0])
def test_the_temperature_undoes_a_factor_of_the_logits(factor: float) -> None:
    logits, labels = draw(3000, 4, factor)
    temperature = fit_temperature(logits, labels)
    assert temperature == pytest.approx(factor, rel=0.07)
    before, after = (
        measure_reliability(logits.probabilities(t), labels.argmax(1), ["one"] * 3000).ece.value
        for t in (1.0, temperature)
    )
    assert after < 0.025
    assert factor == 1 or before > 3 * after


def test_few_clips_keep_the_temperature_near_one() -> None:
    logits, labels = draw(2, 4, 8.0)
    assert 0.5 < fit_temperature(logits, labels) < 2


def test_the_temperature_of_labels_that_exclude_nothing() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(4000, 2))
    labels = rng.random(logits.shape) < 1 / (1 + np.exp(-logits))
    clips = ClipLogits(2 * logits, np.arange(4000), np.ones(4000))
    assert fit_temperature(clips, labels, multi_label=True) == pytest.approx(2, rel=0.07)


def test_clip_probabilities_are_the_mean_over_steps_and_blocks() -> None:
    # Clip 0 has one block of two steps, clip 1 blocks of one and of two steps.
    logits = np.array([[0.0, 1], [2, 0], [1, 1], [3, 0], [0, 4]])
    clips = ClipLogits(
        logits, np.array([0, 0, 1, 1, 1]), np.array([1 / 2, 1 / 2, 1 / 2, 1 / 4, 1 / 4])
    )
    steps = np.exp(logits / 2 - logsumexp(logits / 2, axis=1, keepdims=True))
    expected = [steps[:2].mean(0), (steps[2] + steps[3:].mean(0)) / 2]
    assert clips.probabilities(2.0) == pytest.approx(np.array(expected))


def test_the_error_by_hand() -> None:
    confidence = np.array([0.99, 0.97, 0.95, 0.61, 0.63])
    correct = np.array([True, True, False, True, False])
    # Bins (14/15, 1] and (9/15, 10/15].
    expected = (3 * abs(0.97 - 2 / 3) + 2 * abs(0.62 - 1 / 2)) / 5
    assert calibration_error(confidence, correct) == pytest.approx(expected)
    assert [part.clips for part in reliability_bins(confidence, correct)] == [2, 3]
    # One clip a bin: each differs by its distance from 0 or 1.
    alone = np.abs(confidence - correct).mean()
    assert calibration_error(confidence, correct, adaptive=True) == pytest.approx(alone)


def test_confidences_of_zero_and_one_are_in_a_bin() -> None:
    parts = reliability_bins(np.array([0.0, 1.0]), np.array([False, True]))
    assert [(part.confidence, part.accuracy, part.clips) for part in parts] == [
        (0, 0, 1),
        (1, 1, 1),
    ]


def test_perfect_calibration_has_an_error_on_few_clips_only() -> None:
    few, many = (perfect_error(np.linspace(0.5, 1, count)) for count in (30, 20000))
    assert few > 0.08
    assert many < 0.01


def test_the_interval_covers_the_error_of_the_sample_and_needs_recordings() -> None:
    logits, labels = draw(200, 1, 3.0)
    probabilities = logits.probabilities()
    groups = [f"recording {index // 5}" for index in range(200)]
    measured = measure_reliability(probabilities, labels.argmax(1), groups)
    assert measured.ece.low is not None
    assert measured.ece.high is not None
    assert 0 < measured.ece.low < measured.ece.value < measured.ece.high < 1
    assert measured.nll == pytest.approx(-np.log(probabilities[labels]).mean())
    assert sum(part.clips for part in measured.bins) == 200
    few = measure_reliability(probabilities, labels.argmax(1), ["a", "b"] * 100)
    assert few.ece.low is None


def test_the_likelihood_of_several_labels_sums_over_classes() -> None:
    probabilities = np.array([[0.9, 0.2], [0.5, 0.5]])
    labels = np.array([[True, False], [True, True]])
    expected = -np.log([0.9, 0.8, 0.5, 0.5]).sum() / 2
    assert negative_log_likelihood(probabilities, labels, multi_label=True) == pytest.approx(
        expected
    )


def test_a_threshold_is_the_lowest_that_is_precise() -> None:
    confidence = np.linspace(1, 0.5, 100)
    correct = np.arange(100) < 60
    correct[95:] = True  # precise again, but only far from the best
    threshold = choose_threshold(confidence, correct, 0.9)
    assert threshold is not None
    sure = confidence >= threshold
    assert (correct[sure].sum() - 0.5) / sure.sum() >= 0.9
    assert sure.sum() == 66  # 59.5 / 66 = 0.902, 59.5 / 67 = 0.888
    assert not (confidence == threshold).any()


def test_equal_confidences_are_on_one_side() -> None:
    confidence = np.repeat([0.9, 0.6], [20, 20])
    correct = np.repeat([True, False], [25, 15])
    threshold = choose_threshold(confidence, correct, 0.9)
    assert threshold == pytest.approx(0.75)


@pytest.mark.parametrize("count", [0, 1, MIN_SURE - 1])
def test_a_handful_of_clips_chooses_no_threshold(count: int) -> None:
    assert choose_threshold(np.ones(count), np.ones(count, dtype=bool), 0.5) is None


def test_no_threshold_is_needed_if_all_are_precise_and_none_helps_if_none_is() -> None:
    confidence = np.linspace(0.5, 1, 50)
    assert choose_threshold(confidence, np.ones(50, dtype=bool), 0.95) == 0
    assert choose_threshold(confidence, np.zeros(50, dtype=bool), 0.9) is None


@pytest.mark.parametrize(("rate", "kept"), [(0.0, 0), (0.1, 1), (0.2, 2), (0.3, 2), (1.0, 4)])
def test_a_quiet_threshold_keeps_false_alarms_below_a_rate(rate: float, kept: int) -> None:
    # Ten background clips: four are taken for an action, two of them with equal confidence.
    confidence = np.array([0.9, 0.8, 0.7, 0.7, 0, 0, 0, 0, 0, 0])
    threshold = choose_quiet_threshold(confidence, rate)
    assert int(((confidence >= threshold) & (confidence > 0)).sum()) == kept
