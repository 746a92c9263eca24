"""Models side by side on the same clips, every difference with its interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Group
from rich.table import Table
from rich.text import Text

from glimpses.evaluation.bootstrap import Bootstrap
from glimpses.evaluation.explanation import Curve, Estimate, Explanation, plain
from glimpses.report import text
from glimpses.report.explanation import AIMS, alt_of_dots, alt_of_lines, removal_titles
from glimpses.report.interval_figures import SeriesStyle, dots_figure, lines_figure, series_styles
from glimpses.report.measures import MEASURES, called, estimates_of, removals_of
from glimpses.report.sections import Picture, Section
from glimpses.utils.errors import GlimpsesError
from glimpses.viz.style import QUIET

# Of more models the random order's curves would hide the others.
_WITH_RANDOM = 4
# Colours are the models' own here.
_RIVALS = {"motion energy": SeriesStyle(QUIET, "s"), "uniform": SeriesStyle(QUIET, "x")}
# What a sentence tells of two models.
_TOLD = {
    "accuracy": "accuracy",
    "pointing": "strongest place on the actor",
    "deletion gain": "faithfulness",
    "lost: uniform": "loss with uniform attention",
}


@dataclass(frozen=True)
class Comparison:
    """Some models, and how each differs from the first.

    Attributes:
        models: by what they are called, in the order given.
        differences: of every model but the first, by measure, its value less the first's, paired
            by clip.
        files: what was written, the page first.
    """

    models: Mapping[str, Explanation]
    differences: Mapping[str, Mapping[str, Estimate]]
    files: tuple[Path, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Everything, for programs."""
        written = {"files": [str(file) for file in self.files]} if self.files else {}
        return {
            "models": {
                name: {
                    "run": model.run,
                    "shape": model.shape,
                    "clips": len(model.clips),
                    **plain(estimates_of(model)),
                }
                for name, model in self.models.items()
            },
            "differences": plain(self.differences),
            **written,
        }

    def table(self) -> list[list[str]]:
        """Rows of cells, heads first; a second line in a cell is the difference to the first."""
        known = {name: estimates_of(model) for name, model in self.models.items()}
        rows = [["", *known]]
        for key, measure in MEASURES.items():
            if any(key in one for one in known.values()):
                cells = [measure.say(one[key]) if key in one else "–" for one in known.values()]
                for place, name in enumerate(self.models):
                    if key in self.differences.get(name, {}):
                        said = measure.say(self.differences[name][key], signed=True)
                        cells[place] += f"\n{said}"
                rows.append([measure.label, *cells])
        return rows

    def __rich__(self) -> Group:
        head, *rows = self.table()
        table = Table()
        for place, name in enumerate(head):
            table.add_column(Text(name), justify="right" if place else "left")
        for row in rows:
            table.add_row(*(Text(cell) for cell in row), end_section=True)
        said = [Text(line.replace("\u00a0%", "%")) for line in self.words()]
        note = "Below a value: its difference to the first model, paired by clip."
        written = [Text(f"written: {self.files[0]}, pictures beside it")] if self.files else []
        return Group(table, Text(note), *said, *written)

    def words(self) -> list[str]:
        """How each model differs from the first, a sentence each; then how to read the numbers."""
        first = next(iter(self.models))
        lines = []
        for name, found in self.differences.items():
            parts = [
                _difference(title, found[key], share=MEASURES[key].share)
                for key, title in _TOLD.items()
                if key in found and not np.isnan(found[key].value)
            ]
            lines.append(f"`{name}` beside `{first}`: {'; '.join(parts)}.")
        return [*lines, text.key(self.models)]


def _difference(title: str, found: Estimate, *, share: bool) -> str:
    scale, digits, unit = (100, 0, " points") if share else (1, 2, "")
    value, low, high = (scale * end for end in (found.value, found.low, found.high))
    if text.sign(found) == 0:
        interval = "" if np.isnan(low) else f", {low:+z.{digits}f} to {high:+z.{digits}f}"
        return f"{title} not clearly different ({value:+z.{digits}f}{unit}{interval})"
    ends = sorted((abs(low), abs(high)))
    return (
        f"{title} {abs(value):.{digits}f}{unit} {'higher' if value > 0 else 'lower'} "
        f"({ends[0]:.{digits}f} to {ends[1]:.{digits}f})"
    )


def compare_models(explanations: Sequence[Explanation]) -> Comparison:
    """Pair some models by clip.

    Args:
        explanations: at least two, of the same classes and clips; clips may be in any order.

    Raises:
        GlimpsesError: their classes or clips are not the same.
    """
    first, *others = explanations
    aligned = [first, *(_aligned(other, first) for other in others)]
    names = [each.name for each in explanations]
    if len(set(names)) < len(names):
        names = [each.run for each in explanations]
    models = dict(zip(names, aligned, strict=True))
    bootstrap = Bootstrap(first.groups)
    differences = {
        name: {
            key: bootstrap.estimate(model.by_clip[key] - first.by_clip[key])
            for key in MEASURES
            if key in model.by_clip and key in first.by_clip
        }
        for name, model in list(models.items())[1:]
    }
    return Comparison(models, differences)


def require_same_classes(run: str, classes: Sequence[str], first: str, its: Sequence[str]) -> None:
    """Refuse to compare models that have to choose among different actions."""
    if set(classes) != set(its):
        odd = sorted(set(classes) ^ set(its))[0]
        raise GlimpsesError(
            f"{run}: has other classes than {first} ({odd} is in one only); compare runs of one "
            "data set"
        )


def require_same_clips(other: Explanation, first: Explanation) -> None:
    """Refuse to compare models that were not put to the same test."""
    if set(other.clips) != set(first.clips):
        common = len(set(other.clips) & set(first.clips))
        raise GlimpsesError(
            f"{other.run}: was put to the test on other clips than {first.run} ({common} of "
            f"{len(first.clips)} in common); give clips that neither has seen with --data"
        )
    theirs = dict(zip(first.clips, first.digests, strict=bool(first.digests)))
    for clip, digest in zip(other.clips, other.digests, strict=bool(other.digests)):
        if theirs.get(clip, digest) != digest:
            raise GlimpsesError(
                f"{other.run}: was put to the test on other videos than {first.run}, though of the "
                f"same names ({clip}); give clips that neither has seen with --data"
            )


def _aligned(other: Explanation, first: Explanation) -> Explanation:
    """What a comparison needs of another explanation, its clips in the first one's order."""
    require_same_classes(other.run, other.classes, first.run, first.classes)
    require_same_clips(other, first)
    place = {clip: number for number, clip in enumerate(other.clips)}
    order = np.array([place[clip] for clip in first.clips])
    return replace(
        other,
        clips=first.clips,
        groups=first.groups,
        by_clip={key: values[order] for key, values in other.by_clip.items()},
        faithfulness=other.faithfulness[order],
        pointing=other.pointing[order],
        predictions=(),
        true_labels=(),
        digests=first.digests,
    )


def sections_of(comparison: Comparison) -> list[Section]:
    """Everything that is to be shown of models side by side."""
    models = comparison.models
    looks = series_styles(list(models))
    return [
        Section("How they differ", pictures=_differences(comparison, looks)),
        Section("Where they look", pictures=_where(models, looks)),
        Section("What their decisions hang on", pictures=_whether(models, looks)),
        Section("How their attention moves", pictures=_movement(models, looks)),
        Section(
            "All numbers",
            ["Below a value stands its difference to the first model, paired by clip."],
            table=comparison.table(),
        ),
    ]


def _differences(comparison: Comparison, looks: Mapping[str, SeriesStyle]) -> list[Picture]:
    right = {name: model.accuracy for name, model in comparison.models.items()}
    rows = {name: {name: each} for name, each in right.items()}
    pictures = [_dots("accuracy", "Accuracy", "accuracy", rows, looks, text.extremes(right))]
    short = {
        "accuracy": "accuracy",
        "energy": "map on the actor",
        "pointing": "strongest place on it",
        "lost: uniform": "lost if uniform",
        "lost: swapped between clips": "lost if swapped",
    }
    rows = {
        label: {
            name: found[key]
            for name, found in comparison.differences.items()
            if key in found and not np.isnan(found[key].value)
        }
        for key, label in short.items()
    }
    rows = {label: row for label, row in rows.items() if row}
    if rows:
        first = next(iter(comparison.models))
        figure = dots_figure(
            rows, looks, title="Difference to the first model", whole=False, line=0,
            quantity="points, paired by clip",
        )  # fmt: skip
        alt = alt_of_dots("Difference to the first model", rows)
        said = f"Right of the line: more than `{first}`. An interval across it: no difference told."
        pictures.append(Picture("differences", figure, alt, said))
    return pictures


def _where(models: Mapping[str, Explanation], looks: Mapping[str, SeriesStyle]) -> list[Picture]:
    known = {name: model.where for name, model in models.items() if model.maps in model.where}
    own = {name: where[models[name].maps] for name, where in known.items()}
    if not own:
        return []
    pictures = []
    for measure, (title, quantity) in AIMS.items():
        # Chance and motion depend on the grid, so that every model has its own.
        rows = {
            name: {
                name: getattr(own[name], measure),
                **{
                    called(rival): getattr(where[rival], measure)
                    for rival in _RIVALS
                    if rival in where
                },
            }
            for name, where in known.items()
        }
        said = text.extremes({name: rows[name][name] for name in rows})
        said += " Grey is what maps that know no actions reach on the same grid."
        looked = {**{called(rival): look for rival, look in _RIVALS.items()}, **looks}
        pictures.append(_dots(f"where-{measure}", title, quantity, rows, looked, said))
    classes = {
        label: {
            name: aiming.by_class[label]["pointing"]
            for name, aiming in own.items()
            if label in aiming.by_class
        }
        for label in next(iter(models.values())).classes
    }
    classes = {label: row for label, row in classes.items() if row}
    if classes:
        title = "Strongest place on the actor, by class"
        said = "Every class has clips of its own; where intervals part, so do the models."
        pictures.append(_dots("where-by-class", title, "share of steps", classes, looks, said))
    steps = {
        name: aiming.by_step["pointing"]
        for name, aiming in own.items()
        if "pointing" in aiming.by_step
    }
    title = "Strongest place on the actor, step by step"
    said = text.extremes({name: text.last(curve) for name, curve in steps.items()})
    said = f"At the last step. {said}" if said else ""
    return [*pictures, *_lines("where-by-step", title, "step of a block", steps, looks, said)]


def _whether(models: Mapping[str, Explanation], looks: Mapping[str, SeriesStyle]) -> list[Picture]:
    pictures = []
    made = {name: removals_of(model) for name, model in models.items()}
    for kind in dict.fromkeys(kind for each in made.values() for kind in each):
        title, across = removal_titles(kind)
        curves = {
            name: each[kind].curves["most attended first"]
            for name, each in made.items()
            if kind in each
        }
        random = {f"{name}, random": made[name][kind].curves["random"] for name in curves}
        shown = curves | random if len(curves) <= _WITH_RANDOM else curves
        faint = {f"{name}, random": SeriesStyle(looks[name].colour, "", ":") for name in curves}
        rises = kind.endswith("insertion")
        said = (
            f"The strongest places go first{', dotted random ones' if shown != curves else ''}. "
            f"The sooner a line {'rises' if rises else 'falls'}, the more its model's map shows "
            "what its decisions hang on."
        )
        pictures += _lines(
            kind.replace(" ", "-"), title, across, shown, {**looks, **faint}, said, shares=True
        )
    gains = {name: {name: model.deletion.gain} for name, model in models.items()}
    pictures.append(
        _dots(
            "faithfulness", "Faithfulness: gain over random order", "area between the curves",
            gains, looks, "Right of the line the map tells what matters, left of it random order "
            "does better; across it neither can be said.", percent=False, whole=False, line=0,
        )
    )  # fmt: skip
    kinds = dict.fromkeys(kind for model in models.values() for kind in model.frozen)
    rows = {
        kind: {name: model.frozen[kind] for name, model in models.items() if kind in model.frozen}
        for kind in kinds
    }
    if rows:
        title = "Accuracy with the attention replaced"
        said = " ".join(
            f"`{name}` loses {text.points(model.lost['uniform'])} with uniform attention."
            for name, model in models.items()
            if "uniform" in model.lost
        )
        pictures.append(_dots("frozen", title, "accuracy", rows, looks, said))
    return pictures


def _movement(models: Mapping[str, Explanation], looks: Mapping[str, SeriesStyle]) -> list[Picture]:
    said = {
        name: text.extremes(
            {label: model.moves[name] for label, model in models.items() if name in model.moves}
        )
        for name in dict.fromkeys(name for model in models.values() for name in model.moves_by_step)
    }
    pictures = []
    for name in said:
        curves = {
            label: model.moves_by_step[name]
            for label, model in models.items()
            if name in model.moves_by_step
        }
        pictures += _lines(
            f"moves-{name}", f"{name.capitalize()} of the attention by step", "step of a block",
            curves, looks, said[name], whole=name == "entropy",
        )  # fmt: skip
    return pictures


def _dots(
    file: str,
    title: str,
    quantity: str,
    rows: Mapping[str, Mapping[str, Estimate]],
    looks: Mapping[str, SeriesStyle],
    said: str = "",
    **options: Any,
) -> Picture:
    figure = dots_figure(rows, looks, title=title, quantity=quantity, **options)
    return Picture(file, figure, alt_of_dots(title, rows), said)


def _lines(
    file: str,
    title: str,
    across: str,
    curves: Mapping[str, Curve],
    looks: Mapping[str, SeriesStyle],
    said: str = "",
    **options: Any,
) -> list[Picture]:
    if not curves:
        return []
    figure = lines_figure(curves, looks, title=title, across=across, **options)
    return [Picture(file, figure, alt_of_lines(title, curves), said)]
