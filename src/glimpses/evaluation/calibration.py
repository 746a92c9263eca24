"""Calibration: temperature, threshold, and the error of confidences.

The *confidence* of a clip is the probability of its predicted class. Probabilities are calibrated
if, among clips of confidence p, the fraction p is classified correctly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float64, Int

from glimpses.datasets import Clip, is_background
from glimpses.evaluation.bootstrap import MIN_GROUPS, Bootstrap
from glimpses.features import BatchLoader, Blocks, ClipFeatures, grid_starts
from glimpses.inference.aggregate import run_blocks
from glimpses.models import ActionModel
from glimpses.runs import (
    CalibrationScores,
    DataOptions,
    Interval,
    Reliability,
    ReliabilityBin,
    RunConfig,
)

_BATCH = 32
# Standard deviation of the prior of log T, with mean 0: with few clips T stays near 1.
_PRIOR = 0.5
_BOUNDS = (np.log(0.2), np.log(20))
# Bins of the reliability diagram (Guo et al., 2017).
_BINS = 15
# Smallest number of sure predictions that a threshold may be judged by.
MIN_SURE = 10
# Draws for the error of a perfectly calibrated model, and for intervals of the error.
_DRAWS = 400


@dataclass(frozen=True)
class ClipLogits:
    """Logits of every step of every block of some clips, as far as they count for the clips.

    Attributes:
        logits: up to a constant per step, (S, C).
        clip: index of the clip of each step.
        weight: share of each step in the prediction of its clip.
    """

    logits: Float64[np.ndarray, "S C"]
    clip: Int[np.ndarray, " S"]
    weight: Float64[np.ndarray, " S"]

    @classmethod
    def join(cls, parts: Sequence[ClipLogits]) -> ClipLogits:
        """Return the logits of all clips, those of the first part first."""
        starts = np.cumsum([0, *(part.clip[-1] + 1 for part in parts)])
        return cls(
            np.concatenate([part.logits for part in parts]),
            np.concatenate([part.clip + start for part, start in zip(parts, starts, strict=False)]),
            np.concatenate([part.weight for part in parts]),
        )

    def probabilities(
        self, temperature: float = 1.0, *, multi_label: bool = False
    ) -> Float64[np.ndarray, "N C"]:
        """Return the class probabilities of each clip: the mean over steps and blocks."""
        scaled = self.logits / temperature
        if multi_label:
            steps = 1 / (1 + np.exp(-scaled))
        else:
            steps = np.exp(scaled - scaled.max(1, keepdims=True))
            steps /= steps.sum(1, keepdims=True)
        clips = np.zeros((self.clip[-1] + 1, self.logits.shape[1]))
        np.add.at(clips, self.clip, self.weight[:, None] * steps)
        return clips


def clip_logits(
    model: ActionModel, clips: Sequence[ClipFeatures], data: DataOptions, *, multi_label: bool
) -> ClipLogits:
    """Run a model on clips and return the logits that their predictions are made of.

    Args:
        model: the model, on any device.
        clips: features of the clips, at least one.
        data: options of the blocks.
        multi_label: whether classes are independent.
    """
    starts = [grid_starts(len(clip), data.block_length, data.block_stride) for clip in clips]
    blocks = Blocks(clips, starts, data.block_length)
    logits, owners, weights = [], [], []
    for batch in BatchLoader(blocks, _BATCH, device=next(model.parameters()).device):
        for block in run_blocks(model, batch, multi_label=multi_label):
            steps = block.probabilities[-(data.last_steps or data.block_length) :].clip(1e-300)
            # The softmax ignores a constant, so log probabilities serve as logits.
            values = np.log(steps) - np.log(np.maximum(1 - steps, 1e-16)) * multi_label
            logits.append(values * model.temperature)
            owners += [block.clip] * len(steps)
            weights += [1 / (len(steps) * len(starts[block.clip]))] * len(steps)
    return ClipLogits(np.concatenate(logits), np.array(owners), np.array(weights))


def fit_temperature(
    logits: ClipLogits, labels: Bool[np.ndarray, "N C"], *, multi_label: bool = False
) -> float:
    """Return the temperature T that minimises the negative log-likelihood of clips.

    The likelihood is that of the clips' probabilities, the mean over steps of softmax(z / T). A
    normal prior of log T keeps T near 1 when there are few clips.

    Args:
        logits: logits of held-out clips.
        labels: True for the classes of each clip.
        multi_label: whether classes are independent.
    """
    from scipy.optimize import minimize_scalar  # takes 0.3 s to import

    def objective(log_temperature: float) -> float:
        probabilities = logits.probabilities(np.exp(log_temperature), multi_label=multi_label)
        loss = negative_log_likelihood(probabilities, labels, multi_label=multi_label)
        return len(labels) * loss + (log_temperature / _PRIOR) ** 2 / 2

    return float(np.exp(minimize_scalar(objective, bounds=_BOUNDS, method="bounded").x))


def negative_log_likelihood(
    probabilities: Float[np.ndarray, "N C"],
    labels: Bool[np.ndarray, "N C"],
    *,
    multi_label: bool = False,
) -> float:
    """Return the mean negative log-likelihood of clips, summed over classes if multi-label."""
    if multi_label:
        likelihood = np.where(labels, probabilities, 1 - probabilities)
    else:
        likelihood = probabilities[labels]
    return float(-np.log(np.maximum(likelihood, 1e-12)).sum() / len(labels))


def reliability_bins(
    confidence: Float[np.ndarray, " N"],
    correct: Bool[np.ndarray, " N"],
    *,
    bins: int = _BINS,
    adaptive: bool = False,
) -> list[ReliabilityBin]:
    """Return the non-empty bins of a reliability diagram, in order of confidence.

    Args:
        confidence: confidence of each clip, 0 to 1.
        correct: whether its prediction is correct.
        bins: number of bins.
        adaptive: divide the clips into bins of equal size instead of equal width.
    """
    if adaptive:
        parts = np.array_split(np.argsort(confidence, kind="stable"), min(bins, len(confidence)))
    else:
        # Bins are open on the left (Guo et al., 2017), so that 1 belongs to the last one.
        index = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
        parts = [np.flatnonzero(index == number) for number in range(bins)]
    return [
        ReliabilityBin(float(confidence[part].mean()), float(correct[part].mean()), len(part))
        for part in parts
        if len(part)
    ]


def calibration_error(
    confidence: Float[np.ndarray, " N"],
    correct: Bool[np.ndarray, " N"],
    *,
    bins: int = _BINS,
    adaptive: bool = False,
) -> float:
    """Return the expected calibration error (ECE); see `reliability_bins` for the arguments."""
    parts = reliability_bins(confidence, correct, bins=bins, adaptive=adaptive)
    return sum(part.clips * abs(part.confidence - part.accuracy) for part in parts) / len(correct)


def choose_threshold(
    confidence: Float[np.ndarray, " N"], correct: Bool[np.ndarray, " N"], precision: float
) -> float | None:
    """Return the lowest threshold whose sure predictions have the wanted precision.

    Args:
        confidence: confidence of each held-out clip.
        correct: whether its prediction is correct.
        precision: wanted share of correct predictions among the sure ones.

    Returns:
        The threshold, between two confidences; 0 if all clips together are precise enough; None
        if no `MIN_SURE` clips are.
    """
    order = np.argsort(-confidence, kind="stable")
    ordered = confidence[order]
    counts = np.arange(1, len(order) + 1)
    # One half error more than seen: a threshold that is chosen by a few clips flatters itself.
    precise = (np.cumsum(correct[order]) - 0.5) / counts >= precision
    # Clips of equal confidence are on the same side.
    last = np.append(ordered[1:] < ordered[:-1], True)
    possible = np.flatnonzero(precise & last & (counts >= MIN_SURE))
    if not len(possible):
        return None
    end = possible[-1]
    return 0.0 if end == len(order) - 1 else float(ordered[end : end + 2].mean())


def choose_quiet_threshold(confidence: Float[np.ndarray, " N"], false_alarms: float) -> float:
    """Return the lowest threshold that keeps false alarms at or below a rate.

    Args:
        confidence: confidence of each background clip that is taken for an action, and 0 of each
            other background clip.
        false_alarms: largest share of these clips to be sure.
    """
    allowed = int(np.floor(false_alarms * len(confidence) + 1e-9))
    ordered = np.sort(confidence)[::-1]
    if allowed >= np.count_nonzero(ordered):
        return 0.0
    # Above the first clip that must not be sure.
    return float(np.nextafter(ordered[allowed], 2.0))


def measure_reliability(
    probabilities: Float[np.ndarray, "N C"], labels: Int[np.ndarray, " N"], groups: Sequence[str]
) -> Reliability:
    """Measure the agreement of confidence and accuracy.

    Args:
        probabilities: class probabilities of each clip.
        labels: class of each clip.
        groups: recording of each clip; intervals come from resampling whole recordings.
    """
    confidence = probabilities.max(1)
    correct = probabilities.argmax(1) == labels
    names, group = np.unique(np.array(groups), return_inverse=True)
    members = [np.flatnonzero(group == number) for number in range(len(names))]
    rng = np.random.default_rng(0)
    draws = [
        np.concatenate([members[number] for number in rng.integers(0, len(names), len(names))])
        for _ in range(_DRAWS)
    ]

    def estimate(*, adaptive: bool) -> Interval:
        value = calibration_error(confidence, correct, adaptive=adaptive)
        if len(names) < MIN_GROUPS:
            return Interval(value)
        resampled = [
            calibration_error(confidence[draw], correct[draw], adaptive=adaptive) for draw in draws
        ]
        # Resampled clips repeat, which adds to the error of each draw but not to their spread.
        low, high = value + np.quantile(resampled, (0.025, 0.975)) - np.mean(resampled)
        return Interval(value, max(float(low), 0.0), min(float(high), 1.0))

    one_hot = np.arange(probabilities.shape[1]) == labels[:, None]
    return Reliability(
        ece=estimate(adaptive=False), adaptive_ece=estimate(adaptive=True),
        nll=negative_log_likelihood(probabilities, one_hot),
        bins=tuple(reliability_bins(confidence, correct)),
    )  # fmt: skip


def perfect_error(confidence: Float[np.ndarray, " N"]) -> float:
    """Return the mean ECE of a perfectly calibrated model with the same confidences."""
    rng = np.random.default_rng(0)
    drawn = rng.random((_DRAWS, len(confidence))) < confidence
    return float(np.mean([calibration_error(confidence, correct) for correct in drawn]))


def mean_interval(
    values: Bool[np.ndarray, " N"],
    groups: Sequence[str],
    among: Bool[np.ndarray, " N"] | None = None,
) -> Interval | None:
    """Return the mean of some clips with its interval over recordings; None for no clip."""
    estimate = Bootstrap(groups).estimate(values.astype(np.float64), among)
    if not estimate.clips:
        return None
    if not np.isfinite(estimate.low + estimate.high):
        return Interval(estimate.value)
    return Interval(estimate.value, estimate.low, estimate.high)


def measure_calibration(
    config: RunConfig,
    clips: Sequence[Clip],
    probabilities: Float[np.ndarray, "N C"],
    uncalibrated: Float[np.ndarray, "N C"],
) -> CalibrationScores:
    """Measure calibration and unsure predictions of a single-label run.

    Args:
        config: the config of the run.
        clips: clips that it was not calibrated on.
        probabilities: class probabilities of each clip.
        uncalibrated: the same with a temperature of 1.
    """
    groups = [clip.group for clip in clips]
    labels = np.array([clip.labels[0] for clip in clips])
    background = np.array([is_background(name) for name in config.classes])
    predicted, confidence = probabilities.argmax(1), probabilities.max(1)
    sure = confidence >= (config.threshold or 0.0)
    coverage = mean_interval(sure, groups)
    assert coverage is not None
    return CalibrationScores(
        clips=len(clips), recordings=len(set(groups)),
        before=measure_reliability(uncalibrated, labels, groups),
        after=measure_reliability(probabilities, labels, groups),
        perfect_ece=perfect_error(confidence),
        temperature=config.temperature, threshold=config.threshold, coverage=coverage,
        precision=mean_interval(predicted == labels, groups, sure),
        false_alarms=mean_interval(sure & ~background[predicted], groups, background[labels]),
    )  # fmt: skip
