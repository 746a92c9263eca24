"""Measures of an explanation: labels, number format and estimates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from rich.table import Table
from rich.text import Text

from glimpses.evaluation.deletion_insertion import MOST
from glimpses.evaluation.explanation import DeletionCurves, Estimate, Explanation


@dataclass(frozen=True)
class Measure:
    """Label of one measure in tables, and whether its values are shown in per cent."""

    label: str
    percent: bool = True

    def format(self, estimate: Estimate, *, signed: bool = False) -> str:
        """Format an estimate as "91.2 (87.0 to 94.1)" in per cent, or as "0.430 (...)"."""
        if np.isnan(estimate.value):
            return "–"
        scale, digits = (100, 1) if self.percent else (1, 3)
        value, low, high = (
            f"{scale * number:{'+' if signed else ''}z.{digits}f}"
            for number in (estimate.value, estimate.low, estimate.high)
        )
        return value if np.isnan(estimate.low) else f"{value} ({low} to {high})"


#: Names of the baselines of `Explanation.localisation`: in figures, and in sentences.
BASELINES: Mapping[str, tuple[str, str]] = {
    "uniform": ("chance level", "chance level"),
    "centre prior": ("centre of the frame", "the centre of the frame"),
    "location prior": ("usual location", "the actor's usual location in training clips"),
    "motion energy": ("frame difference", "frame difference"),
    "Grad-CAM": ("Grad-CAM", "Grad-CAM of a pooling model"),
}

#: All measures by their name in `Explanation.by_clip`, in display order.
MEASURES: Mapping[str, Measure] = {
    "accuracy": Measure("accuracy, %"),
    "energy": Measure("map on the actor, %"),
    "pointing": Measure("strongest place on the actor, %"),
    "auc": Measure("detection of the actor's places, AUC", percent=False),
    "deletion": Measure("deletion: area, strongest first", percent=False),
    "deletion gain": Measure("faithfulness: deletion, gain over random", percent=False),
    "insertion": Measure("insertion: area, strongest first", percent=False),
    "insertion gain": Measure("insertion: gain over random", percent=False),
    "pixel deletion": Measure("pixel deletion: area, strongest first", percent=False),
    "pixel deletion gain": Measure("pixel deletion: gain over random", percent=False),
    "pixel insertion": Measure("pixel insertion: area, strongest first", percent=False),
    "pixel insertion gain": Measure("pixel insertion: gain over random", percent=False),
    "accuracy drop: uniform": Measure("accuracy drop, uniform attention, points"),
    "accuracy drop: shuffled in time": Measure("accuracy drop, attention shuffled in time, points"),
    "accuracy drop: swapped between clips": Measure(
        "accuracy drop, attention of another clip, points"
    ),
    "entropy": Measure("entropy, % of the maximum"),
    "coverage": Measure("coverage of a block, %"),
    "centroid_shift": Measure("centroid shift per step, % of the width"),
    "overlap": Measure("overlap of neighbouring blocks, %"),
}


def figure_name(name: str) -> str:
    """Return the name of a map of `Explanation.localisation` in figures."""
    return BASELINES[name][0] if name in BASELINES else name


def estimates_of(explanation: Explanation) -> dict[str, Estimate]:
    """Return the estimates of an explanation by their names in `MEASURES`, in that order."""
    estimates = {"accuracy": explanation.accuracy}
    if model_map := explanation.localisation.get(explanation.map_name):
        estimates |= {name: getattr(model_map, name) for name in ("energy", "pointing", "auc")}
    for name, curves in deletions_of(explanation).items():
        estimates |= {name: curves.areas[MOST], f"{name} gain": curves.gain}
    estimates |= {f"accuracy drop: {name}": e for name, e in explanation.accuracy_drop.items()}
    estimates |= explanation.attention_stats
    return {name: estimates[name] for name in MEASURES if name in estimates}


def deletions_of(explanation: Explanation) -> dict[str, DeletionCurves]:
    """Return the deletions and insertions that were measured, by name."""
    curves = {
        "deletion": explanation.deletion,
        "insertion": explanation.insertion,
        "pixel deletion": explanation.pixel_deletion,
        "pixel insertion": explanation.pixel_insertion,
    }
    return {name: measured for name, measured in curves.items() if measured is not None}


def measures_table(explanations: Mapping[str, Explanation]) -> Table:
    """Return a terminal table of all measures of one or more models."""
    table = Table("")
    for name in explanations:
        table.add_column(Text(name), justify="right")
    for label, cells in measure_rows(explanations):
        table.add_row(label, *cells)
    return table


def measure_rows(explanations: Mapping[str, Explanation]) -> list[tuple[str, list[str]]]:
    """Return the label of each measure and its formatted value for each model."""
    models = [estimates_of(explanation) for explanation in explanations.values()]
    return [
        (measure.label, [measure.format(e[name]) if name in e else "–" for e in models])
        for name, measure in MEASURES.items()
        if any(name in e for e in models)
    ]
