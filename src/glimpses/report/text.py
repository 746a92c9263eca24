"""Sentences that interpret the numbers of an explanation, including unfavourable ones."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from glimpses.evaluation.attention_ablation import ORIGINAL, SHUFFLED, SWAPPED, UNIFORM
from glimpses.evaluation.bootstrap import MIN_GROUPS
from glimpses.evaluation.deletion_insertion import MOST, RANDOM
from glimpses.evaluation.explanation import (
    Curve,
    DeletionCurves,
    Estimate,
    Explanation,
    MapLocalisation,
)
from glimpses.report.measures import BASELINES
from glimpses.utils.errors import pluralise

# An accuracy drop that is significantly smaller than this counts as none.
_NEGLIGIBLE = 0.05
_NO_ANNOTATIONS = (
    "These clips have no actor annotations, so this cannot be measured; provide them with "
    "--annotations."
)
_NO_ACTOR = "No actor is visible in these clips."
_ACTOR_EVERYWHERE = (
    "Wherever the actor is visible, it covers every place, so there is nothing to distinguish."
)
_FEW_GROUPS = "These clips come from too few groups for a conclusion about other clips"


def percent(value: float) -> str:
    """Format a fraction as "91 %", with a non-breaking space."""
    return f"{100 * value:z.0f}\u00a0%"


def percent_interval(estimate: Estimate) -> str:
    """Format a fraction with its interval, as "91 % (87 to 94)"."""
    return f"{percent(estimate.value)}{_interval(estimate)}"


def points(estimate: Estimate) -> str:
    """Format a difference of two fractions with its interval, as "8 points (5 to 11)"."""
    count = f"{100 * estimate.value:z.0f}"
    return f"{count} {'point' if count == '1' else 'points'}{_interval(estimate)}"


def _interval(estimate: Estimate) -> str:
    if np.isnan(estimate.low):
        return ""
    return f" ({100 * estimate.low:z.0f} to {100 * estimate.high:z.0f})"


def sign(difference: Estimate) -> int:
    """Return 1 or -1 if the whole interval of a difference is above or below 0, else 0."""
    return int(difference.low > 0) - int(difference.high < 0)


def summary(explanation: Explanation) -> list[str]:
    """Summarise an explanation: accuracy, localisation, faithfulness, how to read the numbers."""
    model = f"`{explanation.name}` ({explanation.model})"
    subset = "" if explanation.subset == "all" else f"{explanation.subset} "
    if np.isnan(explanation.accuracy.value):
        count = pluralise(len(explanation.clips), f"{subset}clip")
        lines = [f"{model} was run on {count}, none of which shows an action."]
    else:
        lines = [
            f"{model} classified {percent_interval(explanation.accuracy)} of the "
            f"{explanation.accuracy.clips} {subset}clips correctly; there are "
            f"{len(explanation.classes)} actions to choose from."
        ]
    depends = deletion("deletion", explanation.deletion, explanation.map_name)
    if UNIFORM in explanation.accuracy_drop:
        depends = f"{depends} {ablation(UNIFORM, explanation)}".strip()
    return [
        *lines,
        f"Does it look at the actor? {pointing(explanation)}",
        f"Does its decision depend on where it looks? {depends}",
        reading_guide({explanation.name: explanation}),
    ]


def reading_guide(models: Mapping[str, Explanation]) -> str:
    """Explain the maps and the intervals of one or more models on the same clips."""
    attention = "attention: the weight that the model gives to each place"
    cam = "Grad-CAM: how strongly each place supports the predicted action"
    pooling = [f"`{name}`" for name, model in models.items() if model.map_name != "attention"]
    if not pooling:
        guide = f"The map shows {attention}."
    elif len(pooling) == len(models):
        guide = f"The map shows {cam}; there is no attention."
    else:
        have = "has" if len(pooling) == 1 else "have"
        guide = f"The map shows {attention}; for {_join(pooling)}, which {have} none, {cam}."
    groups = len(set(next(iter(models.values())).groups))
    if groups < MIN_GROUPS:
        too_few = f"{pluralise(groups, 'group')} of clips are too few"
        return f"{guide} There are no confidence intervals: {too_few}."
    return (
        f"{guide} Brackets show 95\u00a0% confidence intervals from resampling whole groups of "
        f"clips; there are {groups} groups, and fewer groups give wider intervals."
    )


def pointing(explanation: Explanation) -> str:
    """Describe how often the strongest place is on the actor, compared with the baselines."""
    if not explanation.localisation:
        return _NO_ANNOTATIONS
    estimate = explanation.localisation[explanation.map_name].pointing
    if np.isnan(estimate.value):
        return _NO_ACTOR
    baselines = _baselines(explanation, "pointing")
    others = [f"{_sentence_name(name)} {percent(b.value)}" for name, b in baselines.items()]
    return (
        f"The strongest place of {_map(explanation.map_name)} is on the actor in "
        f"{percent_interval(estimate)} of the steps"
        + (f"; {_join(others)}." if others else ".")
        + _compare_baselines(explanation, "pointing")
    )


def energy(explanation: Explanation) -> str:
    """Describe how much of the map is on the actor, compared with the baselines."""
    estimate = explanation.localisation[explanation.map_name].energy
    if np.isnan(estimate.value):
        return _NO_ACTOR
    baselines = _baselines(explanation, "energy")
    line = f"{percent_interval(estimate)} of {_map(explanation.map_name)} is on the actor"
    if "uniform" in baselines:
        line += f"; chance level is {percent(baselines['uniform'].value)}"
    return f"{line}.{_compare_baselines(explanation, 'energy')}"


def auc(explanation: Explanation) -> str:
    """Describe how well the map separates the actor's places from others."""
    localisation = explanation.localisation[explanation.map_name]
    if np.isnan(localisation.auc.value):
        return _NO_ACTOR if np.isnan(localisation.pointing.value) else _ACTOR_EVERYWHERE
    name = _map(explanation.map_name)
    return (
        f"{_capitalise(name)} is stronger at a place on the actor than at one off the actor in "
        f"{percent_interval(localisation.auc)} of the pairs (chance level: {percent(0.5)})."
        + _compare_baselines(explanation, "auc")
    )


def by_class(localisation: MapLocalisation) -> str:
    """Name the classes whose strongest place is most and least often on the actor."""
    measured = {
        name: measures["pointing"]
        for name, measures in localisation.by_class.items()
        if not np.isnan(measures["pointing"].value)
    }
    if len(measured) < 2:
        return ""
    best, worst = (pick(measured, key=lambda name: measured[name].value) for pick in (max, min))
    return (
        f"Highest for {best}, {percent_interval(measured[best])}; lowest for {worst}, "
        f"{percent_interval(measured[worst])}."
    )


def by_step(localisation: MapLocalisation) -> str:
    """Describe how pointing changes along the steps of a block."""
    curve = finite_part(localisation.by_step.get("pointing"))
    if curve is None:
        return ""
    first, last = estimate_at(curve, 0), estimate_at(curve, -1)
    line = (
        f"On the actor in {percent_interval(first)} of the clips at the first step of a block and "
        f"in {percent_interval(last)} at the last"
    )
    if first.high < last.low:
        return f"{line}: it finds the actor over time."
    if last.high < first.low:
        return f"{line}: it loses the actor over time."
    return f"{line}." if np.isnan(first.low) else f"{line}: no clear change."


def deletion(name: str, curves: DeletionCurves, map_name: str) -> str:
    """Describe a deletion or insertion: its effect on the class probability, and the verdict."""
    fraction = _nearest_to_tenth(curves.curves[MOST])
    part = {0.1: "tenth", 0.2: "fifth", 0.25: "quarter", 0.5: "half"}.get(
        fraction, f"fraction ({percent(fraction)})"
    )
    most, random = (_value_at(curves.curves[order], fraction) for order in (MOST, RANDOM))
    attends = map_name == "attention"
    places = "places it attends to most" if attends else f"strongest places of its {map_name}"
    if name.endswith("insertion"):
        line = (
            f"With only the {part} of {places} shown, the class probability is {most:.2f}; with a "
            f"random {part} shown it is {random:.2f}."
        )
    else:
        start = _value_at(curves.curves[MOST], 0)
        line = (
            f"Removing the {part} of {places} changes the class probability from {start:.2f} to "
            f"{most:.2f}; removing a random {part} changes it to {random:.2f}."
        )
    clips = f", on {curves.gain.clips} clips" if name.startswith("pixel") else ""
    return f"{line} {_verdict(curves.gain, map_name, clips)}"


def _verdict(gain: Estimate, map_name: str, clips: str) -> str:
    """Interpret the gain of a map's ranking over random order."""
    if np.isnan(gain.value):
        return ""
    area = f"area between the curves {_number_interval(gain)}{clips}"
    if np.isnan(gain.low):
        return f"{_FEW_GROUPS} ({area})."
    verdict = {
        1: f"its {map_name} ranks the places that the decision depends on better than chance",
        0: f"there is no significant difference from random order: its {map_name} does not show "
        "what the decision depends on",
        -1: f"random order does better: its {map_name} is strongest where the decision depends on "
        "little",
    }[sign(gain)]
    return f"Over all fractions, {verdict} ({area})."


def _nearest_to_tenth(curve: Curve) -> float:
    """Return the tested fraction above 0 that is nearest to a tenth."""
    tested = curve.x[curve.x > 0]
    return float(tested[np.abs(tested - 0.1).argmin()])


def ablation(name: str, explanation: Explanation) -> str:
    """Describe the effect of replacing the attention on accuracy; empty if not measured."""
    original = explanation.attention_ablation[ORIGINAL]
    replaced = explanation.attention_ablation[name]
    drop = explanation.accuracy_drop[name]
    condition, cause = {
        UNIFORM: ("With uniform attention", "where it looks"),
        SHUFFLED: ("With its attention shuffled in time", "the timing of its attention"),
        SWAPPED: ("With the attention of another clip", "adapting its attention to the clip"),
    }.get(name, (f"With attention {name}", "its attention"))
    if np.isnan(drop.value):
        return ""
    before, after = percent(original.value), percent(replaced.value)
    if np.isnan(drop.low):
        return f"{condition} its accuracy is {after} instead of {before}. {_FEW_GROUPS}."
    if sign(drop) > 0:
        return (
            f"{condition} its accuracy falls from {before} to {after}, by {points(drop)}: {cause} "
            "matters."
        )
    if sign(drop) < 0:
        rise = Estimate(-drop.value, -drop.high, -drop.low, drop.clips)
        return (
            f"{condition} its accuracy rises from {before} to {after}, by {points(rise)}: its own "
            "attention hurts."
        )
    # If none of n clips was lost, the rate may still be up to 3 / n at 95 % (rule of three).
    if max(drop.high, 3 / drop.clips) <= _NEGLIGIBLE:
        return (
            f"{condition} its accuracy is no lower ({after} versus {before}): {cause} does not "
            "matter."
        )
    return (
        f"{condition} its accuracy does not change significantly ({after} versus {before}, a drop "
        f"of {points(drop)}): these clips are too few to show whether {cause} matters."
    )


def extremes(models: Mapping[str, Estimate]) -> str:
    """Name the models with the highest and the lowest value of a fraction."""
    measured = {name: e for name, e in models.items() if not np.isnan(e.value)}
    if len(measured) < 2:
        return ""
    most, least = (pick(measured, key=lambda name: measured[name].value) for pick in (max, min))
    return (
        f"Highest: `{most}`, {percent_interval(measured[most])}; lowest: `{least}`, "
        f"{percent_interval(measured[least])}."
    )


def attention_stats(explanation: Explanation) -> dict[str, str]:
    """Describe each statistic of the attention, by name."""
    sentences = {
        "entropy": "The entropy of its attention is {share} of the maximum (0\u00a0%: a single "
        "place, 100\u00a0%: uniform).",
        "coverage": "Over a block its attention covers {share} of the frame (100\u00a0%: uniform).",
        "centroid_shift": "From one step to the next its centroid moves by {share} of the frame "
        "width.",
        "overlap": "Two blocks that reach the same frame with different pasts overlap in {share} "
        "of their attention.",
    }
    return {
        name: sentences.get(name, f"{name}: {{number}}.").format(
            share=percent_interval(estimate), number=_number_interval(estimate)
        )
        for name, estimate in explanation.attention_stats.items()
        if not np.isnan(estimate.value)
    }


def first_and_last(curve: Curve) -> str:
    """Give the first and the last value of a curve along the steps."""
    measured = finite_part(curve)
    if measured is None:
        return ""
    first, last = (percent(float(measured.value[step])) for step in (0, -1))
    return f"{first} at the first step, {last} at the last."


def _compare_baselines(explanation: Explanation, measure: str) -> str:
    """Name the baselines that score higher or do not differ significantly, paired by clip."""
    margins = {
        name: explanation.localisation[name].margin[measure]
        for name in _baselines(explanation, measure)
    }
    if not margins:
        return ""
    if all(np.isnan(margin.low) for margin in margins.values()):
        return f" {_FEW_GROUPS}."
    higher = [_sentence_name(name) for name, margin in margins.items() if sign(margin) < 0]
    similar = [
        f"{_sentence_name(name)}{_interval(getattr(explanation.localisation[name], measure))}"
        for name, margin in margins.items()
        if sign(margin) == 0
    ]
    if not higher and not similar:
        return " It beats every baseline."
    line = ""
    if higher:
        verb = "does" if len(higher) == 1 else "do"
        line += f" {_capitalise(_join(higher))} {verb} better."
    if similar:
        line += f" It does not differ significantly from {_join(similar)}."
    return line


def _baselines(explanation: Explanation, measure: str) -> dict[str, Estimate]:
    estimates = {
        name: getattr(localisation, measure)
        for name, localisation in explanation.localisation.items()
        if name != explanation.map_name and name in BASELINES
    }
    return {name: estimate for name, estimate in estimates.items() if not np.isnan(estimate.value)}


def _sentence_name(baseline: str) -> str:
    return BASELINES[baseline][1]


def _map(map_name: str) -> str:
    return "its attention" if map_name == "attention" else f"its {map_name} map"


def _value_at(curve: Curve, fraction: float) -> float:
    return float(np.interp(fraction, curve.x, curve.value))


def finite_part(curve: Curve | None) -> Curve | None:
    """Return the points of a curve that are not NaN; None if there are fewer than two."""
    if curve is None:
        return None
    finite = ~np.isnan(curve.value)
    if finite.sum() < 2:
        return None
    return Curve(curve.x[finite], curve.value[finite], curve.low[finite], curve.high[finite])


def estimate_at(curve: Curve, step: int) -> Estimate:
    """Return the value of a curve at a step as an estimate."""
    return Estimate(float(curve.value[step]), float(curve.low[step]), float(curve.high[step]), 0)


def _number_interval(estimate: Estimate) -> str:
    if np.isnan(estimate.low):
        return f"{estimate.value:z.2f}"
    return f"{estimate.value:z.2f} ({estimate.low:z.2f} to {estimate.high:z.2f})"


def _join(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _capitalise(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}"
