"""The measures one by one: what each is called, how it is written, and its estimate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from rich.table import Table
from rich.text import Text

from glimpses.evaluation.explanation import DeletionCurves, Estimate, Explanation


@dataclass(frozen=True)
class Measure:
    """One number of an explanation.

    Attributes:
        label: what people read.
        share: whether it is written in per cent.
    """

    label: str
    share: bool = True

    def say(self, estimate: Estimate, *, signed: bool = False) -> str:
        """An estimate with its interval, as "91.2 (87.0 to 94.1)" in per cent, or "0.43 (...)"."""
        if np.isnan(estimate.value):
            return "–"
        scale, digits = (100, 1) if self.share else (1, 3)
        value, low, high = (
            f"{scale * number:{'+' if signed else ''}z.{digits}f}"
            for number in (estimate.value, estimate.low, estimate.high)
        )
        return value if np.isnan(estimate.low) else f"{value} ({low} to {high})"


#: What rivals in `Explanation.where` are called, in figures and in sentences, which have more room.
RIVALS: Mapping[str, tuple[str, str]] = {
    "uniform": ("chance", "chance"),
    "centre prior": ("middle of the picture", "the middle of the picture"),
    "place prior": ("actors' usual place", "the actors' usual place in training clips"),
    "motion energy": ("frame difference", "frame difference"),
    "Grad-CAM": ("Grad-CAM", "Grad-CAM of a pooling model"),
}

#: By name in `Explanation.by_clip`, in the order in which they are told.
MEASURES: Mapping[str, Measure] = {
    "accuracy": Measure("accuracy, %"),
    "energy": Measure("map on the actor, %"),
    "pointing": Measure("strongest place on the actor, %"),
    "auc": Measure("actor's places told from others, AUC", share=False),
    "deletion": Measure("deletion: area, strongest first", share=False),
    "deletion gain": Measure("faithfulness: deletion's gain over random", share=False),
    "insertion": Measure("insertion: area, strongest first", share=False),
    "insertion gain": Measure("insertion's gain over random", share=False),
    "pixel deletion": Measure("on pixels, deletion: area, strongest first", share=False),
    "pixel deletion gain": Measure("on pixels, deletion: gain over random", share=False),
    "pixel insertion": Measure("on pixels, insertion: area, strongest first", share=False),
    "pixel insertion gain": Measure("on pixels, insertion: gain over random", share=False),
    "lost: uniform": Measure("lost with uniform attention, points"),
    "lost: shuffled in time": Measure("lost with attention shuffled in time, points"),
    "lost: swapped between clips": Measure("lost with another clip's attention, points"),
    "entropy": Measure("entropy, % of the largest"),
    "coverage": Measure("coverage of a block, %"),
    "travel": Measure("travel between steps, % of the width"),
    "agreement": Measure("agreement of neighbouring blocks, %"),
}
_FIRST = "most attended first"


def called(name: str) -> str:
    """What a map of `Explanation.where` is called in figures."""
    return RIVALS[name][0] if name in RIVALS else name


def estimates_of(explanation: Explanation) -> dict[str, Estimate]:
    """The estimate of every measure that an explanation has, by the names of `MEASURES`."""
    found = {"accuracy": explanation.accuracy}
    if own := explanation.where.get(explanation.maps):
        found |= {"energy": own.energy, "pointing": own.pointing, "auc": own.auc}
    for name, removal in removals_of(explanation).items():
        found |= {name: removal.areas[_FIRST], f"{name} gain": removal.gain}
    found |= {f"lost: {name}": estimate for name, estimate in explanation.lost.items()}
    found |= explanation.moves
    return {key: found[key] for key in MEASURES if key in found}


def removals_of(explanation: Explanation) -> dict[str, DeletionCurves]:
    """The removals that were made, by name."""
    made = {
        "deletion": explanation.deletion,
        "insertion": explanation.insertion,
        "pixel deletion": explanation.pixel_deletion,
        "pixel insertion": explanation.pixel_insertion,
    }
    return {name: removal for name, removal in made.items() if removal is not None}


def table_of(explanations: Mapping[str, Explanation]) -> Table:
    """All measures of one or more models, for a terminal."""
    table = Table("")
    for name in explanations:
        table.add_column(Text(name), justify="right")
    for label, cells in cells_of(explanations):
        table.add_row(label, *cells)
    return table


def cells_of(explanations: Mapping[str, Explanation]) -> list[tuple[str, list[str]]]:
    """All measures of one or more models as text: what each is called, and each model's."""
    known = [estimates_of(explanation) for explanation in explanations.values()]
    return [
        (measure.label, [measure.say(one[key]) if key in one else "–" for one in known])
        for key, measure in MEASURES.items()
        if any(key in one for one in known)
    ]
