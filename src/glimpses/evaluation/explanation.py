"""What an explanation holds: numbers with error bars, of the whole and of each clip."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

import numpy as np
from jaxtyping import Float64

from glimpses.inference import Prediction


@dataclass(frozen=True)
class Estimate:
    """A mean over clips, and how far off it may be.

    Attributes:
        value: the mean; NaN where there is nothing to average.
        low: lower end of its 95 % confidence interval, found by drawing whole groups anew; NaN
            where there are too few of them.
        high: upper end.
        clips: how many it is the mean of.
    """

    value: float
    low: float
    high: float
    clips: int


@dataclass(frozen=True)
class Curve:
    """A quantity along an axis, with a band of 95 % confidence.

    Attributes:
        at: the axis: shares removed (0 to 1), or steps of a block (from 0).
        value: the mean over clips at each.
        low: lower edge of the band.
        high: upper edge.
    """

    at: Float64[np.ndarray, " N"]
    value: Float64[np.ndarray, " N"]
    low: Float64[np.ndarray, " N"]
    high: Float64[np.ndarray, " N"]


@dataclass(frozen=True)
class MapLocalisation:
    """How well one kind of map falls on the actor: the model's attention, or a rival of it.

    Attributes:
        energy: share of the map that is on the actor.
        pointing: share of steps whose highest place is on the actor.
        auc: area under the ROC curve of the map as a detector of the actor's places; chance 0.5.
        by_class: the same three by name of the class, each a mapping measure -> estimate.
        by_step: the same three along the steps of a block, measure -> curve.
        behind: of a rival, by how much each of the three falls behind the model's own map, paired
            by clip; empty for that map itself.
    """

    energy: Estimate
    pointing: Estimate
    auc: Estimate
    by_class: Mapping[str, Mapping[str, Estimate]]
    by_step: Mapping[str, Curve]
    behind: Mapping[str, Estimate] = field(default_factory=dict)


@dataclass(frozen=True)
class DeletionCurves:
    """What becomes of the class probability as places are removed, or put back, bit by bit.

    Attributes:
        curves: by order ("most attended first", "random", "least attended first"): probability of
            the class that the model named for the whole clip, by share of places removed (deletion)
            or shown (insertion).
        areas: area under each of those curves.
        gain: by how much the ranking beats random order, paired by clip; above 0 if it tells what
            matters. For deletion random's area less that of most attended first, for insertion
            the other way round.
    """

    curves: Mapping[str, Curve]
    areas: Mapping[str, Estimate]
    gain: Estimate


@dataclass(frozen=True)
class Explanation:
    """What is known of where a trained model looks, and of what that is worth.

    Attributes:
        run: its folder, as given.
        name: what to call it.
        shape: the model in words.
        classes: names of the actions.
        side: which clips these are, "test" if the model had not seen them.
        clips: ids of the clips, in order.
        accuracy: share of clips named right.
        maps: what the map is: "attention", or "Grad-CAM" for a model that pools.
        where: aim of the map and of its rivals by name ("attention", "uniform", "centre prior",
            "place prior", "motion energy", "Grad-CAM"), the map's own (`maps`) first; empty if
            nothing tells where the actor is.
        frozen: accuracy with the attention as it is ("own") and replaced ("uniform", "shuffled in
            time", "swapped between clips"); empty for a model that pools. Where a clip may show
            several actions, it is right if the leading one is among them.
        lost: accuracy lost by each replacement, paired by clip.
        deletion: on the feature cube.
        insertion: on the feature cube.
        pixel_deletion: on the frames; None if not asked for, or without videos.
        pixel_insertion: likewise.
        moves: entropy (share of the largest possible), coverage, centroid_shift, agreement; empty
            for a model without attention.
        moves_by_step: entropy and travel along the steps.
        faithfulness: of each clip, how much sooner its probability falls when the most attended
            places go first than when random ones do: area between the two deletion curves.
        pointing: of each clip; NaN where the actor is not known.
        groups: of each clip the source it was cut from.
        by_clip: what the estimates are means of, clip by clip, NaN where not known: "accuracy" (1
            if named right), "energy", "pointing" and "auc" of its own map, "entropy" and the other
            moves, "lost: uniform" and so on, and of every removal the area under the curve and the
            gain ("deletion", "deletion gain", "pixel insertion" ...).
        predictions: what it said of each clip, with the map in place of the attention, to draw
            them; not written as JSON.
        true_labels: actions that each clip shows.
        digests: of each clip what tells its video from others of the same name; empty where there
            are features only. Not written as JSON.
    """

    run: str
    name: str
    shape: str
    classes: tuple[str, ...]
    side: str
    clips: tuple[str, ...]
    accuracy: Estimate
    maps: str
    where: Mapping[str, MapLocalisation]
    frozen: Mapping[str, Estimate]
    lost: Mapping[str, Estimate]
    deletion: DeletionCurves
    insertion: DeletionCurves
    pixel_deletion: DeletionCurves | None
    pixel_insertion: DeletionCurves | None
    moves: Mapping[str, Estimate]
    moves_by_step: Mapping[str, Curve]
    faithfulness: Float64[np.ndarray, " N"]
    pointing: Float64[np.ndarray, " N"]
    groups: tuple[str, ...] = ()
    by_clip: Mapping[str, Float64[np.ndarray, " N"]] = field(default_factory=dict)
    predictions: tuple[Prediction, ...] = ()
    true_labels: tuple[tuple[str, ...], ...] = ()
    digests: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Everything, for programs; numbers to six places, null where there is nothing to tell."""
        kept = ("predictions", "digests")
        names = [each.name for each in fields(self) if each.name not in kept]
        return {name: plain(getattr(self, name)) for name in names}


def plain(value: Any) -> Any:
    """A result as JSON has it: numbers to six places, null for NaN."""
    if is_dataclass(value):
        return {each.name: plain(getattr(value, each.name)) for each in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, np.ndarray | tuple | list):
        return [plain(each) for each in value]
    if isinstance(value, float | np.floating):
        return round(float(value), 6) if np.isfinite(value) else None
    return value
