"""What the numbers of an explanation mean, in sentences; also where attention loses."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from glimpses.evaluation.bootstrap import FEWEST
from glimpses.evaluation.explanation import (
    Curve,
    DeletionCurves,
    Estimate,
    Explanation,
    MapLocalisation,
)
from glimpses.report.measures import RIVALS
from glimpses.utils.errors import pluralise

# A loss of accuracy that is surely smaller than this is none.
_NEGLIGIBLE = 0.05
_UNTOLD = (
    "Nothing tells where the actor is in these clips, so that cannot be measured. Give boxes with "
    "--boxes."
)
_UNSEEN = "In these clips no actor is to be seen."
_EVERYWHERE = (
    "Wherever the actor is to be seen, it is on every place; there is nothing to tell apart."
)
_FEW_SOURCES = "These clips are of too few sources to tell anything of others"
_FIRST, _RANDOM = "most attended first", "random"


def percent(value: float) -> str:
    """A share as "91 %"; the two do not part at a line's end."""
    return f"{100 * value:z.0f}\u00a0%"


def spread(estimate: Estimate) -> str:
    """An estimate of a share with its interval, as "91 % (87 to 94)"."""
    return f"{percent(estimate.value)}{_interval(estimate)}"


def points(estimate: Estimate) -> str:
    """A difference of two shares with its interval, as "8 points (5 to 11)"."""
    count = f"{100 * estimate.value:z.0f}"
    return f"{count} {'point' if count == '1' else 'points'}{_interval(estimate)}"


def _interval(estimate: Estimate) -> str:
    """Clips of a few groups tell too little of others; then there is none."""
    if np.isnan(estimate.low):
        return ""
    return f" ({100 * estimate.low:z.0f} to {100 * estimate.high:z.0f})"


def sign(difference: Estimate) -> int:
    """1 or -1 if a difference is above or below 0 with its whole interval, else 0."""
    return int(difference.low > 0) - int(difference.high < 0)


def lead(explanation: Explanation) -> list[str]:
    """The answers in short: how often it is right, does it look at the actor, does it matter."""
    model = f"`{explanation.name}` ({explanation.shape})"
    actions = f"{len(explanation.classes)} actions"
    if np.isnan(explanation.accuracy.value):
        said = [
            f"{model} was tried on {len(explanation.clips)} clips, none of which shows an action."
        ]
    else:
        said = [
            f"{model} names {spread(explanation.accuracy)} of {explanation.accuracy.clips} clips "
            f"rightly, with {actions} to choose from."
        ]
    said.append("Does it look at the actor? " + pointing(explanation))
    said.append(f"Does its decision hang on where it looks? {_hangs(explanation)}")
    return [*said, key({explanation.name: explanation})]


def key(models: Mapping[str, Explanation]) -> str:
    """How the numbers of one or more models on the same clips are to be read."""
    attention = "attention: how much a model looks at each place"
    cam = "Grad-CAM: how much each place speaks for the action that is named"
    pooling = [f"`{name}`" for name, model in models.items() if model.maps != "attention"]
    if not pooling:
        said = f"The map is {attention}."
    elif len(pooling) == len(models):
        said = f"The map is {cam}; there is no attention."
    else:
        have = "has" if len(pooling) == 1 else "have"
        said = f"The map is {attention}; of {_list(pooling)}, which {have} none, {cam}."
    groups = len(set(next(iter(models.values())).groups))
    if groups < FEWEST:
        return f"{said} There are no intervals: {pluralise(groups, 'group')} of clips are too few."
    return (
        f"{said} In brackets: 95\u00a0% intervals, from drawing whole groups of clips anew; there "
        f"are {groups} groups, and the fewer, the wider."
    )


def _hangs(explanation: Explanation) -> str:
    answer = removal("deletion", explanation.deletion, explanation.maps)
    if "uniform" in explanation.lost:
        answer += " " + frozen_as("uniform", explanation)
    return answer.strip()


def pointing(explanation: Explanation) -> str:
    """How often the strongest place is on the actor, beside the rivals."""
    if not explanation.where:
        return _UNTOLD
    own = explanation.where[explanation.maps].pointing
    if np.isnan(own.value):
        return _UNSEEN
    rivals = _rivals(explanation, "pointing")
    others = [f"{_called(name)} {percent(rival.value)}" for name, rival in rivals.items()]
    return (
        f"The strongest place of {_map(explanation.maps)} is on the actor in {spread(own)} of the "
        "steps" + (f"; {_list(others)}." if others else ".") + _verdict(explanation, "pointing")
    )


def energy(explanation: Explanation) -> str:
    """How much of the map is on the actor, beside the rivals."""
    own = explanation.where[explanation.maps].energy
    if np.isnan(own.value):
        return _UNSEEN
    rivals = _rivals(explanation, "energy")
    said = f"{spread(own)} of {_map(explanation.maps)} lies on the actor"
    if "uniform" in rivals:
        said += f"; chance is {percent(rivals['uniform'].value)}"
    return f"{said}.{_verdict(explanation, 'energy')}"


def auc(explanation: Explanation) -> str:
    """How well the map tells the actor's places from others, beside the rivals."""
    own = explanation.where[explanation.maps].auc
    if np.isnan(own.value):
        pointing = explanation.where[explanation.maps].pointing
        return _UNSEEN if np.isnan(pointing.value) else _EVERYWHERE
    return (
        f"Of a place on the actor and one beside it, {_map(explanation.maps)} is stronger on the "
        f"actor's in {spread(own)} of the pairs (chance: {percent(0.5)})."
        + _verdict(explanation, "auc")
    )


def by_class(aiming: MapLocalisation) -> str:
    """In which classes the strongest place is most and least often on the actor."""
    known = {
        name: measures["pointing"]
        for name, measures in aiming.by_class.items()
        if not np.isnan(measures["pointing"].value)
    }
    if len(known) < 2:
        return ""
    best, worst = (pick(known, key=lambda name: known[name].value) for pick in (max, min))
    return f"Best on {best}, {spread(known[best])}; worst on {worst}, {spread(known[worst])}."


def by_step(aiming: MapLocalisation) -> str:
    """How the strongest place finds the actor as the clip goes on."""
    curve = known_part(aiming.by_step.get("pointing"))
    if curve is None:
        return ""
    first, last = _bounds(curve, 0), _bounds(curve, -1)
    said = (
        f"On the actor in {spread(first)} of the clips at the first step of a block, in "
        f"{spread(last)} at the last one"
    )
    if first.high < last.low:
        return f"{said}: it finds the actor as it goes."
    if last.high < first.low:
        return f"{said}: it loses the actor as it goes."
    return f"{said}." if np.isnan(first.low) else f"{said}: no clear change."


def removal(name: str, done: DeletionCurves, maps: str) -> str:
    """What a tenth of the places does to the certainty, and what that says."""
    share = _tenth(done.curves[_FIRST])
    part = {0.1: "tenth", 0.2: "fifth", 0.25: "quarter", 0.5: "half"}.get(
        share, f"share of {percent(share)}"
    )
    first, random = (_at(done.curves[order], share) for order in (_FIRST, _RANDOM))
    places = (
        "places that it attends most" if maps == "attention" else f"strongest places of its {maps}"
    )
    if name.endswith("insertion"):
        said = (
            f"Shown only the {part} of {places}, its certainty is {first:.2f}; shown a random "
            f"{part} it is {random:.2f}."
        )
    else:
        start = _at(done.curves[_FIRST], 0)
        said = (
            f"Removing the {part} of {places} takes its certainty from {start:.2f} to "
            f"{first:.2f}; a random {part} takes it to {random:.2f}."
        )
    few = f", on {done.gain.clips} clips" if name.startswith("pixel") else ""
    return f"{said} {_gain(done.gain, 'attention' if maps == 'attention' else maps, few)}"


def _gain(gain: Estimate, whose: str, few: str) -> str:
    """What the whole of two curves says of a ranking."""
    if np.isnan(gain.value):
        return ""
    between = f"area between the curves {_number(gain)}{few}"
    if np.isnan(gain.low):
        return f"{_FEW_SOURCES} ({between})."
    verdict = {
        1: f"its {whose} finds what the decision hangs on sooner than chance",
        0: f"no difference from random order can be told: its {whose} does not show what the "
        "decision hangs on",
        -1: f"random order does better: its {whose} is strongest where the decision hangs on "
        "little",
    }[sign(gain)]
    return f"Over all shares {verdict} ({between})."


def _tenth(curve: Curve) -> float:
    """The share that was tried and is nearest to a tenth, but not none."""
    tried = curve.at[curve.at > 0]
    return float(tried[np.abs(tried - 0.1).argmin()])


def frozen_as(name: str, explanation: Explanation) -> str:
    """What one replacement of the attention does to the accuracy; nothing if it wasn't made."""
    own, left = explanation.frozen["own"], explanation.frozen[name]
    lost = explanation.lost[name]
    how, meaning = {
        "uniform": ("With uniform attention", "where it looks"),
        "shuffled in time": ("With its attention shuffled in time", "when it looks where"),
        "swapped between clips": (
            "With the attention of another clip", "that it looks where this clip asks it to",
        ),
    }.get(name, (f"With attention {name}", "its attention"))  # fmt: skip
    if np.isnan(lost.value):
        return ""
    if np.isnan(lost.low):
        return (
            f"{how} it is right in {percent(left.value)} of the clips, with its own in "
            f"{percent(own.value)}. {_FEW_SOURCES}."
        )
    if sign(lost) > 0:
        return (
            f"{how} it is right in {percent(left.value)} of the clips instead of "
            f"{percent(own.value)}, {points(lost)} fewer: {meaning} matters."
        )
    if sign(lost) < 0:
        gained = Estimate(-lost.value, -lost.high, -lost.low, lost.clips)
        return f"{how} it decides better, by {points(gained)}: its own attention harms it."
    # Of n clips none of which was lost, 3 / n may be, with 95 % (the rule of three).
    if max(lost.high, 3 / lost.clips) <= _NEGLIGIBLE:
        return (
            f"{how} it decides no worse ({percent(left.value)} against {percent(own.value)}): "
            f"{meaning} does not matter to it."
        )
    return (
        f"{how} no difference can be told ({percent(left.value)} against {percent(own.value)}, "
        f"{points(lost)} lost): these clips are too few to say whether {meaning} matters."
    )


def extremes(models: Mapping[str, Estimate]) -> str:
    """Which of some models has most of a share and which least."""
    known = {name: each for name, each in models.items() if not np.isnan(each.value)}
    if len(known) < 2:
        return ""
    most, least = (pick(known, key=lambda name: known[name].value) for pick in (max, min))
    return f"Highest: `{most}`, {spread(known[most])}; lowest: `{least}`, {spread(known[least])}."


def moves(explanation: Explanation) -> dict[str, str]:
    """What each number of how the attention moves says."""
    known = {
        name: estimate
        for name, estimate in explanation.moves.items()
        if not np.isnan(estimate.value)
    }
    said = {
        "entropy": "Its entropy is {share} of the largest possible (0\u00a0% would be one place, "
        "100\u00a0% everywhere alike).",
        "coverage": "Over a block it covers {share} of the picture (100\u00a0% would be every "
        "place alike).",
        "travel": "From one step to the next its centre moves by {share} of the picture's width.",
        "agreement": "Two blocks that come to the same frame with another past agree in {share} "
        "of their attention.",
    }
    return {
        name: said.get(name, f"{name}: {{number}}.").format(
            share=spread(estimate), number=_number(estimate)
        )
        for name, estimate in known.items()
    }


def change(curve: Curve) -> str:
    """The first and the last value of a curve along the steps."""
    known = known_part(curve)
    if known is None:
        return ""
    first, last = (percent(float(known.value[step])) for step in (0, -1))
    return f"{first} at the first step, {last} at the last one."


def _verdict(explanation: Explanation, measure: str) -> str:
    """Who does better, and who as well, as far as the differences by clip tell."""
    behind = {
        name: explanation.where[name].behind[measure] for name in _rivals(explanation, measure)
    }
    if not behind:
        return ""
    if all(np.isnan(difference.low) for difference in behind.values()):
        return f" {_FEW_SOURCES}."
    better = [_called(name) for name, difference in behind.items() if sign(difference) < 0]
    level = [
        f"{_called(name)}{_interval(getattr(explanation.where[name], measure))}"
        for name, difference in behind.items()
        if sign(difference) == 0
    ]
    if not better and not level:
        return " It does better than every rival."
    said = ""
    if better:
        names = _list(better)
        said += f" {names[0].upper()}{names[1:]} {'does' if len(better) == 1 else 'do'} better."
    if level:
        said += f" From {_list(level)} it cannot be told apart."
    return said


def _rivals(explanation: Explanation, measure: str) -> dict[str, Estimate]:
    found = {
        name: getattr(aiming, measure)
        for name, aiming in explanation.where.items()
        if name != explanation.maps and name in RIVALS
    }
    return {name: rival for name, rival in found.items() if not np.isnan(rival.value)}


def _called(rival: str) -> str:
    return RIVALS[rival][1]


def _map(maps: str) -> str:
    return "its attention" if maps == "attention" else f"its {maps} map"


def _at(curve: Curve, share: float) -> float:
    return float(np.interp(share, curve.at, curve.value))


def known_part(curve: Curve | None) -> Curve | None:
    """The points of a curve that are known; None where there are no two."""
    if curve is None:
        return None
    known = ~np.isnan(curve.value)
    if known.sum() < 2:
        return None
    return Curve(curve.at[known], curve.value[known], curve.low[known], curve.high[known])


def last(curve: Curve) -> Estimate:
    """The last value of a curve."""
    return _bounds(curve, -1)


def _bounds(curve: Curve, step: int) -> Estimate:
    return Estimate(float(curve.value[step]), float(curve.low[step]), float(curve.high[step]), 0)


def _number(estimate: Estimate) -> str:
    if np.isnan(estimate.low):
        return f"{estimate.value:z.2f}"
    return f"{estimate.value:z.2f} ({estimate.low:z.2f} to {estimate.high:z.2f})"


def _list(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
