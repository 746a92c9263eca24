"""Calibration of a run: what it does to the model's probabilities, and how good they are then."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from glimpses.utils.options import InvalidOptionError, require_number

# Precision that `--threshold auto` asks for.
_AUTO_PRECISION = 0.9


@dataclass(frozen=True)
class Interval:
    """Value with its 95 % interval over recordings; the ends are None for too few recordings."""

    value: float
    low: float | None = None
    high: float | None = None

    def __format__(self, spec: str) -> str:
        """Format value and ends alike, as in `f"{interval:.0%}"`."""
        if self.low is None or self.high is None:
            return format(self.value, spec)
        ends = f"{format(self.low, spec)} to {format(self.high, spec)}"
        return f"{format(self.value, spec)} ({ends})"


@dataclass(frozen=True)
class Threshold:
    """Rule by which the threshold of a run is chosen: a number, or a goal on held-out clips.

    Attributes:
        value: the threshold itself; None to choose it.
        precision: wanted share of correct predictions among those that are sure.
        false_alarms: wanted share of background clips that are taken for an action and sure.
    """

    value: float | None = None
    precision: float | None = None
    false_alarms: float | None = None

    def __post_init__(self) -> None:
        if self.value is not None:
            require_number("threshold", self.value, 0, 1)
        for name in ("precision", "false_alarms"):
            if (value := getattr(self, name)) is not None:
                require_number(name, value, 0, 1)

    @property
    def chosen(self) -> bool:
        """True if the threshold is to be chosen on held-out clips."""
        return self.precision is not None or self.false_alarms is not None

    @classmethod
    def parse(cls, text: str | float) -> Self:
        """Read the value of `--threshold`: `auto`, `none` or a number.

        Raises:
            InvalidOptionError: it is something else.
        """
        if text == "auto":
            return cls(precision=_AUTO_PRECISION)
        if text == "none":
            return cls()
        try:
            return cls(value=float(text))
        except ValueError as error:
            raise InvalidOptionError(
                f"--threshold {text}: give auto, none, or a number from 0 to 1"
            ) from error

    def __str__(self) -> str:
        if self.value is not None:
            return f"{self.value:g}"
        if self.precision is not None:
            return f"precision {self.precision:g}"
        return "none" if self.false_alarms is None else f"false alarms {self.false_alarms:g}"


#: Rule of `--threshold auto`.
AUTO_THRESHOLD = Threshold(precision=_AUTO_PRECISION)


@dataclass(frozen=True)
class Calibration:
    """Calibration of a run, fitted on clips that it was not trained on.

    Attributes:
        temperature: number that the logits are divided by (Guo et al., 2017).
        threshold: predictions whose probability is below it are unsure; None for no threshold.
        rule: rule that the threshold was chosen by.
        data: name of the data set, and the subset if it is that of training.
        clips: number of clips it was fitted on.
        recordings: number of recordings that they come from.
        coverage: share of these clips whose prediction is sure; None without a threshold.
        precision: share of correct predictions among the sure ones, each judged by a threshold
            that was chosen without its own recording; None without a threshold.
    """

    temperature: float = 1.0
    threshold: float | None = None
    rule: Threshold = Threshold()
    data: str = ""
    clips: int = 0
    recordings: int = 0
    coverage: Interval | None = None
    precision: Interval | None = None

    def __post_init__(self) -> None:
        require_number("temperature", self.temperature, 1e-3, 1e3)
        if self.threshold is not None:
            require_number("threshold", self.threshold, 0, 1)


@dataclass(frozen=True)
class ReliabilityBin:
    """Clips of similar confidence: their mean confidence, accuracy and number."""

    confidence: float
    accuracy: float
    clips: int


@dataclass(frozen=True)
class Reliability:
    """Agreement of confidence and accuracy on a set of clips.

    Attributes:
        ece: expected calibration error with 15 bins of equal width.
        adaptive_ece: the same with bins of equal size.
        nll: mean negative log-likelihood.
        bins: the bins of equal width that hold clips.
    """

    ece: Interval
    adaptive_ece: Interval
    nll: float
    bins: tuple[ReliabilityBin, ...]


@dataclass(frozen=True)
class CalibrationScores:
    """Calibration and unsure predictions of a run on clips that it was not fitted on.

    Attributes:
        clips: number of clips.
        recordings: number of recordings that they come from.
        before: with a temperature of 1.
        after: with the temperature of the run.
        perfect_ece: mean `ece` of a perfectly calibrated model of the same confidences. It is not
            0, because a bin has few clips.
        temperature: of the run.
        threshold: of the run; None for no threshold.
        coverage: share of clips whose prediction is sure.
        precision: share of correct predictions among the sure ones; None if there is none.
        false_alarms: share of background clips that are taken for an action and sure; None
            without background.
    """

    clips: int
    recordings: int
    before: Reliability
    after: Reliability
    perfect_ece: float
    temperature: float
    threshold: float | None
    coverage: Interval
    precision: Interval | None
    false_alarms: Interval | None


def describe_calibration_scores(scores: CalibrationScores) -> list[str]:
    """Describe calibration and unsure predictions in one line each."""
    before = f", {scores.before.ece.value:.2f} before" if scores.temperature != 1 else ""
    lines = [
        f"expected calibration error {scores.after.ece:.2f}{before}; "
        f"{scores.perfect_ece:.2f} for perfect calibration on {scores.clips} clips"
    ]
    if scores.threshold is not None:
        precision = "" if scores.precision is None else f", {scores.precision:.0%} of them correct"
        lines.append(f"sure about {scores.coverage:.0%} of clips{precision}")
    if scores.false_alarms is not None:
        lines.append(f"false alarms on {scores.false_alarms:.0%} of background clips")
    return lines
