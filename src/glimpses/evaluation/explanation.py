"""Results of an explanation: estimates with confidence intervals, overall and per clip."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

import numpy as np
from jaxtyping import Float64

from glimpses.inference import Prediction


@dataclass(frozen=True)
class Estimate:
    """Mean over clips with its confidence interval.

    Attributes:
        value: the mean; NaN if there is nothing to average.
        low: lower end of the 95 % confidence interval, from resampling whole groups; NaN if there
            are too few groups.
        high: upper end.
        clips: number of clips averaged.
    """

    value: float
    low: float
    high: float
    clips: int


@dataclass(frozen=True)
class Curve:
    """Quantity along an axis with its 95 % confidence band.

    Attributes:
        x: the axis: fractions removed (0 to 1) or steps of a block (from 0).
        value: the mean over clips at each point.
        low: lower edge of the band.
        high: upper edge of the band.
    """

    x: Float64[np.ndarray, " N"]
    value: Float64[np.ndarray, " N"]
    low: Float64[np.ndarray, " N"]
    high: Float64[np.ndarray, " N"]


@dataclass(frozen=True)
class MapLocalisation:
    """Localisation of the actor by one kind of map: the model's own or a baseline.

    Attributes:
        energy: fraction of the map on the actor.
        pointing: fraction of steps whose strongest place is on the actor.
        auc: area under the ROC curve of the map as a detector of the actor's places; chance is 0.5.
        by_class: the three measures of each class, as class name -> measure -> estimate.
        by_step: the three measures at each step of a block, as measure -> curve.
        margin: for a baseline, each measure of the model's map minus that of the baseline, paired
            by clip; empty for the model's own map.
    """

    energy: Estimate
    pointing: Estimate
    auc: Estimate
    by_class: Mapping[str, Mapping[str, Estimate]]
    by_step: Mapping[str, Curve]
    margin: Mapping[str, Estimate] = field(default_factory=dict)


@dataclass(frozen=True)
class DeletionCurves:
    """Class probability as places are removed (deletion) or restored (insertion).

    Attributes:
        curves: probability of the class that the model predicts for the whole clip, by the fraction
            of places removed or shown; one curve for each order ("most attended first", "random",
            "least attended first").
        areas: area under each curve.
        gain: area between the curves of random order and of most attended first, paired by clip.
            Positive if the map ranks places better than chance: deletion takes random minus most
            attended first, insertion the reverse.
    """

    curves: Mapping[str, Curve]
    areas: Mapping[str, Estimate]
    gain: Estimate


@dataclass(frozen=True)
class Explanation:
    """Measurements of a trained model's attention: localisation, faithfulness and statistics.

    Attributes:
        run: folder of the run, as passed.
        name: display name of the run.
        model: description of the model.
        classes: names of the actions.
        subset: subset of the clips; "test" if the model has not seen them.
        clips: ids of the clips, in order.
        accuracy: fraction of clips classified correctly.
        map_name: kind of map explained: "attention", or "Grad-CAM" for a model that pools.
        localisation: localisation by the model's map (`map_name`, first) and by the baselines
            ("uniform", "centre prior", "location prior", "motion energy", "Grad-CAM"); empty
            without actor annotations.
        attention_ablation: accuracy with the original attention ("original") and with replaced
            attention ("uniform", "shuffled in time", "swapped between clips"); empty for a model
            that pools. A multi-label clip is correct if the leading class is one of its labels.
        accuracy_drop: accuracy lost by each replacement, paired by clip.
        deletion: deletion on the feature cube.
        insertion: insertion on the feature cube.
        pixel_deletion: deletion on the frames; None if not requested or without videos.
        pixel_insertion: insertion on the frames; None likewise.
        attention_stats: `entropy` (as a fraction of the maximum), `coverage`, `centroid_shift` and
            `overlap`; empty for a model without attention.
        attention_stats_by_step: `entropy` and `centroid_shift` at each step.
        faithfulness: area between the deletion curves of random order and of most attended first,
            for each clip.
        pointing: pointing accuracy of each clip; NaN without annotation.
        groups: group of each clip.
        by_clip: per-clip values behind the estimates, NaN where unknown: "accuracy" (1 if correct),
            "energy", "pointing" and "auc" of the model's map, the attention statistics,
            "accuracy drop: uniform" etc., and area and gain of every deletion and insertion
            ("deletion", "deletion gain", "pixel insertion" ...).
        predictions: prediction for each clip with the map as its attention, for drawing; not in the
            JSON.
        true_labels: labels of each clip.
        digests: digest of each clip's video, to detect different videos of the same name; empty
            for data sets of features only. Not in the JSON.
    """

    run: str
    name: str
    model: str
    classes: tuple[str, ...]
    subset: str
    clips: tuple[str, ...]
    accuracy: Estimate
    map_name: str
    localisation: Mapping[str, MapLocalisation]
    attention_ablation: Mapping[str, Estimate]
    accuracy_drop: Mapping[str, Estimate]
    deletion: DeletionCurves
    insertion: DeletionCurves
    pixel_deletion: DeletionCurves | None
    pixel_insertion: DeletionCurves | None
    attention_stats: Mapping[str, Estimate]
    attention_stats_by_step: Mapping[str, Curve]
    faithfulness: Float64[np.ndarray, " N"]
    pointing: Float64[np.ndarray, " N"]
    groups: tuple[str, ...] = ()
    by_clip: Mapping[str, Float64[np.ndarray, " N"]] = field(default_factory=dict)
    predictions: tuple[Prediction, ...] = ()
    true_labels: tuple[tuple[str, ...], ...] = ()
    digests: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return all results as JSON values, rounded to six places; NaN becomes null."""
        names = [f.name for f in fields(self) if f.name not in ("predictions", "digests")]
        return {name: to_jsonable(getattr(self, name)) for name in names}


def to_jsonable(value: Any) -> Any:
    """Convert dataclasses, mappings and arrays to JSON values; six places, null for NaN."""
    if is_dataclass(value):
        return {f.name: to_jsonable(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): to_jsonable(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | tuple | list):
        return [to_jsonable(item) for item in value]
    if isinstance(value, float | np.floating):
        return round(float(value), 6) if np.isfinite(value) else None
    return value
