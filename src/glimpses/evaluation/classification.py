"""Measures of classification by class probabilities, with their intervals over recordings."""

from __future__ import annotations

import warnings

import numpy as np
from jaxtyping import Bool, Float, Float64, Int

from glimpses.evaluation.bootstrap import Bootstrap, Groups, estimate_fraction, fraction_interval
from glimpses.runs import ClassScore, ScoreValue

# Draws for the variance of average precision, which sorts the clips of each draw.
_PRECISION_DRAWS = 500


def single_label_measures(
    labels: Int[np.ndarray, " N"],
    probabilities: Float[np.ndarray, "N C"],
    predicted: Int[np.ndarray, " N"],
    groups: Groups,
) -> dict[str, ScoreValue]:
    """Return accuracy, balanced accuracy, macro-F1 and, with over five classes, top-5 accuracy.

    Balanced accuracy and macro-F1 are means over the classes that have clips.
    """
    # Takes most of a second to import, which training and prediction do not need.
    from sklearn.metrics import balanced_accuracy_score, f1_score

    correct = (labels == predicted).astype(float)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # classes without clips that were predicted
        balanced = float(balanced_accuracy_score(labels, predicted))
    present = np.unique(labels)
    macro_f1 = f1_score(labels, predicted, labels=present, average="macro", zero_division=0)
    measures = {
        "accuracy": _fraction(correct, groups),
        "balanced_accuracy": ScoreValue(balanced, _fraction(correct, groups, labels).interval),
        "macro_f1": ScoreValue(
            float(macro_f1), _macro_f1_interval(float(macro_f1), labels, predicted, groups)
        ),
    }
    if probabilities.shape[1] > 5:
        leading = np.argsort(-probabilities, axis=1, kind="stable")[:, :5]
        among = (leading == labels[:, None]).any(1).astype(float)
        measures["top5_accuracy"] = _fraction(among, groups)
    return measures


def single_label_classes(
    labels: Int[np.ndarray, " N"], predicted: Int[np.ndarray, " N"], groups: Groups
) -> dict[int, ClassScore]:
    """Return recall and precision of every class that has clips, by its index."""
    scores, names = {}, np.array(groups)
    for index in np.unique(labels).tolist():
        chosen, as_this = labels == index, predicted == index
        scores[index] = ClassScore(
            clips=int(chosen.sum()),
            recordings=len(np.unique(names[chosen])),
            recall=_fraction(as_this[chosen].astype(float), names[chosen]),
            precision=float(chosen[as_this].mean()) if as_this.any() else None,
        )
    return scores


def average_precision(
    labels: Bool[np.ndarray, "N C"], probabilities: Float[np.ndarray, "N C"]
) -> Float64[np.ndarray, " C"]:
    """Return the average precision of every class; each needs a clip."""
    from sklearn.metrics import average_precision_score

    return np.array(average_precision_score(labels, probabilities, average=None)).reshape(-1)


def multi_label_scores(
    labels: Bool[np.ndarray, "N C"], probabilities: Float[np.ndarray, "N C"], groups: Groups
) -> tuple[ScoreValue, dict[int, ClassScore]]:
    """Return mAP, and the average precision of every class that has clips, by its index."""
    present = np.flatnonzero(labels.any(0))
    labels, probabilities = labels[:, present], probabilities[:, present]
    precisions = average_precision(labels, probabilities)
    counts = Bootstrap(groups).counts(_PRECISION_DRAWS)
    draws = np.stack(
        [
            _average_precisions(*column, counts)
            for column in zip(labels.T, probabilities.T, strict=True)
        ]
    )
    # Only clips of a class count for its effective sample size.
    weights = labels / labels.sum(0)
    values = []
    for precision, column, weight in zip(precisions, draws, weights.T, strict=True):
        interval = _interval(precision, float(np.nanvar(column)), weight, groups)
        values.append(ScoreValue(float(precision), interval))
    names = np.array(groups)
    by_class = {
        int(index): ClassScore(
            clips=int(chosen.sum()), recordings=len(np.unique(names[chosen])),
            average_precision=value,
        )
        for index, chosen, value in zip(present, labels.T, values, strict=True)
    }  # fmt: skip
    mean = float(precisions.mean())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # draws without any class
        variance = float(np.nanvar(np.nanmean(draws, axis=0)))
    return ScoreValue(mean, _interval(mean, variance, weights.mean(1), groups)), by_class


def _average_precisions(
    labels: Bool[np.ndarray, " N"],
    scores: Float[np.ndarray, " N"],
    counts: Int[np.ndarray, "draws N"],
) -> Float64[np.ndarray, " draws"]:
    """Return the average precision of one class in every draw; NaN where it has no clip."""
    order = np.argsort(-scores, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))
    # Clips with the same probability are found together.
    last = ends[np.searchsorted(ends, np.arange(len(scores)))]
    counts = counts[:, order]
    hits = counts * labels[order]
    with np.errstate(invalid="ignore", divide="ignore"):
        precision = hits.cumsum(1)[:, last] / counts.cumsum(1)[:, last]
        total = np.where(hits > 0, hits * precision, 0).sum(1)
        average: Float64[np.ndarray, " draws"] = total / hits.sum(1)
    return average


def _macro_f1_interval(
    value: float,
    labels: Int[np.ndarray, " N"],
    predicted: Int[np.ndarray, " N"],
    groups: Groups,
) -> tuple[float, float] | None:
    present = np.unique(labels)
    is_label, is_predicted = labels[:, None] == present, predicted[:, None] == present
    table = np.hstack([is_label & is_predicted, is_label, is_predicted]).astype(float)
    hits, clips, guesses = np.split(Bootstrap(groups).sums(table), 3, axis=1)
    # A draw may lack a class.
    f1 = np.where(clips > 0, 2 * hits / np.maximum(clips + guesses, 1), np.nan)
    weights = 1 / (len(present) * is_label.sum(0))[is_label.argmax(1)]
    return _interval(value, float(np.nanmean(f1, axis=1).var()), weights, groups)


def _fraction(
    correct: Float[np.ndarray, " N"],
    groups: Groups,
    strata: Int[np.ndarray, " N"] | None = None,
) -> ScoreValue:
    estimate = estimate_fraction(correct, groups, strata)
    interval = None if np.isnan(estimate.low) else (estimate.low, estimate.high)
    return ScoreValue(estimate.value, interval)


def _interval(
    value: float, variance: float, weights: Float[np.ndarray, " N"], groups: Groups
) -> tuple[float, float] | None:
    counted = weights > 0
    low, high = fraction_interval(value, variance, weights[counted], np.array(groups)[counted])
    return None if np.isnan(low) else (low, high)
