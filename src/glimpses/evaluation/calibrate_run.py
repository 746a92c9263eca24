"""Calibration of a trained run on held-out clips; `glimpses calibrate`."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from glimpses import runs
from glimpses.datasets import Clip, is_background
from glimpses.evaluation.bootstrap import MIN_GROUPS
from glimpses.evaluation.calibration import (
    MIN_SURE,
    ClipLogits,
    choose_quiet_threshold,
    choose_threshold,
    clip_logits,
    fit_temperature,
    mean_interval,
)
from glimpses.evaluation.metrics import label_matrix
from glimpses.evaluation.open_run import open_run
from glimpses.features import ClipFeatures
from glimpses.inference import predict_clips
from glimpses.models import ActionModel
from glimpses.runs import AUTO_THRESHOLD, Calibration, RunConfig, Threshold
from glimpses.utils.errors import GlimpsesError, pluralise
from glimpses.utils.options import InvalidOptionError

log = logging.getLogger(__name__)

#: Fewest held-out clips and recordings to choose a threshold on. With 5 or 6 recordings, thresholds
#: for a precision of 90 % had one of 57 % on other recordings.
MIN_CLIPS, MIN_RECORDINGS = 30, 10


@dataclass(frozen=True)
class CalibratedRun:
    """Result of `calibrate`.

    Attributes:
        run: folder of the run.
        calibration: its calibration.
    """

    run: Path
    calibration: Calibration

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON types."""
        return {"run": str(self.run), **asdict(self.calibration)}

    def __str__(self) -> str:
        return f"{self.run}: {describe_calibration(self.calibration)}"


def calibrate(
    run: str | Path,
    /,
    *,
    data: str | Path | None = None,
    threshold: str | None = None,
    precision: float | None = None,
    false_alarms: float | None = None,
    feature_dir: str | Path | None = None,
    device: str = "cpu",
) -> CalibratedRun:
    """Fit the temperature and the threshold of a run on clips that it was not trained on.

    The probabilities of the run change with the temperature, the most probable class does not.
    Predictions below the threshold are "unsure".

    Args:
        run: folder of a trained run.
        data: folder of labelled clips; the run's validation clips if not given. Clips whose video
            was used in training are left out. Do not give the clips that you test on.
        threshold: `auto` (precision 0.9), `none`, or a probability; default: `auto`.
        precision: choose the threshold so that this share of the sure predictions is correct.
        false_alarms: choose the threshold so that at most this share of the background clips is
            taken for an action.
        feature_dir: folder for features; that of the run if not given.
        device: "cpu" or "cuda".

    Raises:
        GlimpsesError: the run or the data cannot be used, or no clip is left.
    """
    rule = _threshold_rule(threshold, precision, false_alarms)
    run = Path(run)
    config = runs.read_config(run)
    require_threshold(rule, config.classes, multi_label=config.multi_label)
    is_own = data is None or Path(data).resolve() == Path(config.data_dir)
    if is_own and not config.clips["validation"]:
        raise GlimpsesError(f"{run}: has no validation clips; give labelled clips with --data")
    opened = open_run(
        run, data=data, subset="validation" if is_own else None, feature_dir=feature_dir,
        device=device,
    )  # fmt: skip
    name = "validation clips" if is_own else f"clips of {Path(data or '').resolve().name}"
    calibration = fit_calibration(config, opened.model, opened.clips, opened.cubes, rule, data=name)
    runs.write_config(run, replace(config, calibration=calibration))
    return CalibratedRun(run, calibration)


def _threshold_rule(
    threshold: str | None, precision: float | None, false_alarms: float | None
) -> Threshold:
    flags = [
        flag
        for flag, value in (
            ("--threshold", threshold), ("--precision", precision),
            ("--false-alarms", false_alarms),
        )
        if value is not None
    ]  # fmt: skip
    if len(flags) > 1:
        raise InvalidOptionError(f"{' and '.join(flags)}: give only one of them")
    if precision is not None or false_alarms is not None:
        return Threshold(precision=precision, false_alarms=false_alarms)
    return Threshold.parse("auto" if threshold is None else threshold)


def fit_calibration(
    config: RunConfig,
    model: ActionModel,
    clips: Sequence[Clip],
    cubes: Sequence[ClipFeatures],
    rule: Threshold,
    *,
    data: str,
) -> Calibration:
    """Fit temperature and threshold.

    Args:
        config: the config of the run.
        model: its model.
        clips: labelled clips that it was not trained on.
        cubes: their features.
        rule: rule to choose the threshold by.
        data: name of the clips, for messages.
    """
    logits, votes = clip_logits(model, cubes, config.data, multi_label=config.multi_label), None
    if config.data.aggregate == "majority":
        results = predict_clips(
            model, cubes, block_length=config.data.block_length, stride=config.data.block_stride,
            last_steps=config.data.last_steps, aggregate="majority",
        )  # fmt: skip
        votes = np.stack([result.probabilities for result in results])
    return calibrate_logits(config, logits, clips, rule, data=data, votes=votes)


def calibrate_logits(
    config: RunConfig,
    logits: ClipLogits,
    clips: Sequence[Clip],
    rule: Threshold,
    *,
    data: str,
    votes: Float[np.ndarray, "N C"] | None = None,
) -> Calibration:
    """Fit temperature and threshold to logits of held-out clips; see `fit_calibration`.

    Args:
        config: the config of the run.
        logits: logits of the clips.
        clips: the clips.
        rule: rule to choose the threshold by.
        data: name of the clips, for messages.
        votes: probabilities of the clips if they do not come from the logits, but from the votes
            of blocks.
    """
    rule = Threshold() if config.multi_label else rule
    labels = label_matrix(clips, len(config.classes))
    groups = [clip.group for clip in clips]
    calibration = Calibration(
        # Votes of blocks do not depend on the temperature.
        temperature=1.0
        if votes is not None
        else fit_temperature(logits, labels, multi_label=config.multi_label),
        rule=rule, data=data, clips=len(clips), recordings=len(set(groups)),
    )  # fmt: skip
    if rule == Threshold():
        return calibration
    probabilities = logits.probabilities(calibration.temperature) if votes is None else votes
    return _fit_threshold(config, calibration, probabilities, labels.argmax(1), groups)


def require_threshold(rule: Threshold, classes: Sequence[str], *, multi_label: bool) -> None:
    """Refuse a rule that does not go with the classes; `auto` goes with all.

    Raises:
        InvalidOptionError: a threshold is wanted for multi-label data, or a rate of false alarms
            without a background class.
    """
    if multi_label and rule not in (Threshold(), AUTO_THRESHOLD):
        raise InvalidOptionError(
            f"--threshold {rule}: the clips may show several actions, so there is no threshold; "
            "give --threshold none"
        )
    if rule.false_alarms is not None and not any(map(is_background, classes)):
        raise InvalidOptionError(
            f"--false-alarms {rule.false_alarms:g}: the run has no background class "
            f"({', '.join(classes)}); train it with a class folder named background, or give "
            "--precision"
        )


def _fit_threshold(
    config: RunConfig,
    calibration: Calibration,
    probabilities: Float[np.ndarray, "N C"],
    labels: Int[np.ndarray, " N"],
    groups: Sequence[str],
) -> Calibration:
    """Return the calibration with the threshold, and what it keeps."""
    rule = calibration.rule
    background = np.array([is_background(name) for name in config.classes])
    confidence = probabilities.max(1)
    predicted = probabilities.argmax(1)
    correct = predicted == labels
    alarm = background[labels] & ~background[predicted]

    def choose(chosen: Bool[np.ndarray, " N"]) -> float | None:
        if rule.value is not None:
            return rule.value
        if rule.precision is not None:
            return choose_threshold(confidence[chosen], correct[chosen], rule.precision)
        assert rule.false_alarms is not None
        quiet = np.where(alarm, confidence, 0.0)[chosen & background[labels]]
        return choose_quiet_threshold(quiet, rule.false_alarms) if len(quiet) else None

    group = np.array(groups)
    everything = np.ones(len(group), dtype=bool)
    if rule.chosen and (len(group) < MIN_CLIPS or calibration.recordings < MIN_RECORDINGS):
        return calibration
    threshold = choose(everything)
    if threshold is None:
        return calibration
    # A threshold flatters itself on the clips that it was chosen on, so each recording is judged
    # by the threshold that the others would have chosen.
    sure = np.zeros(len(group), dtype=bool)
    for name in np.unique(group):
        recording = group == name
        other = choose(~recording)
        sure[recording] = other is not None and confidence[recording] >= other
    return replace(
        calibration, threshold=threshold,
        coverage=mean_interval(confidence >= threshold, groups),
        precision=mean_interval(correct, groups, sure),
    )  # fmt: skip


def describe_calibration(calibration: Calibration) -> str:
    """Describe a calibration in one or two sentences, with the number of clips."""
    clips = f"{calibration.clips} {calibration.data}"
    if not calibration.data.startswith("validation"):
        clips = f"{pluralise(calibration.clips, 'clip')}{calibration.data.removeprefix('clips')}"
    text = f"temperature {calibration.temperature:.2f}, fitted on {clips}"
    recordings = pluralise(calibration.recordings, "recording")
    rule = calibration.rule
    if calibration.threshold is None:
        if not rule.chosen:
            return f"{text}; no threshold"
        if calibration.clips < MIN_CLIPS or calibration.recordings < MIN_RECORDINGS:
            reason = (
                f"{pluralise(calibration.clips, 'clip')} of {recordings} are too few "
                f"(at least {MIN_CLIPS} of {MIN_RECORDINGS})"
            )
        elif rule.precision is not None:
            reason = f"no {MIN_SURE} of them have a precision of {rule.precision:.0%} together"
        else:
            reason = "none of them is background"
        return f"{text}; no threshold: {reason}"
    coverage, precision = calibration.coverage, calibration.precision
    text += f"; sure at {calibration.threshold:.0%} or more: {coverage:.0%} of clips"
    if precision is not None:
        text += f", {precision:.0%} of them correct"
    over = "95 % intervals over " if calibration.recordings >= MIN_GROUPS else ""
    return f"{text} ({over}{recordings})"
