"""Comparison of models on the same clips: differences with confidence intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Group
from rich.table import Table
from rich.text import Text

from glimpses.evaluation.attention_ablation import SWAPPED, UNIFORM
from glimpses.evaluation.bootstrap import Bootstrap
from glimpses.evaluation.deletion_insertion import MOST, RANDOM
from glimpses.evaluation.explanation import Estimate, Explanation, to_jsonable
from glimpses.report import text
from glimpses.report.explanation import (
    LOCALISATION_TITLES,
    deletion_titles,
    draw_bands,
    draw_estimates,
    stats_title,
)
from glimpses.report.interval_figures import SeriesStyle, series_styles
from glimpses.report.measures import MEASURES, deletions_of, estimates_of, figure_name
from glimpses.report.sections import Section, SectionFigure
from glimpses.utils.errors import GlimpsesError
from glimpses.viz.style import QUIET

# With more models, the curves of random order would hide the others.
_MAX_WITH_RANDOM = 4
# Colours stand for models here, so baselines are grey.
_BASELINE_STYLES = {"motion energy": SeriesStyle(QUIET, "s"), "uniform": SeriesStyle(QUIET, "x")}
# Measures in the sentence about two models.
_SENTENCE_MEASURES = {
    "accuracy": "accuracy",
    "pointing": "strongest place on the actor",
    "deletion gain": "faithfulness",
    f"accuracy drop: {UNIFORM}": "accuracy drop with uniform attention",
}
# Measures in the figure of differences.
_FIGURE_MEASURES = {
    "accuracy": "accuracy",
    "energy": "map on the actor",
    "pointing": "strongest place on it",
    f"accuracy drop: {UNIFORM}": "drop if uniform",
    f"accuracy drop: {SWAPPED}": "drop if swapped",
}


@dataclass(frozen=True)
class Comparison:
    """Explanations of several models, and their differences to the first.

    Attributes:
        models: explanations by display name, in the given order.
        differences: for every model but the first, each measure minus that of the first model,
            paired by clip.
        files: the files written, the page first.
    """

    models: Mapping[str, Explanation]
    differences: Mapping[str, Mapping[str, Estimate]]
    files: tuple[Path, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return all numbers as JSON values."""
        files = {"files": [str(file) for file in self.files]} if self.files else {}
        return {
            "models": {
                name: {
                    "run": explanation.run,
                    "model": explanation.model,
                    "clips": len(explanation.clips),
                    **to_jsonable(estimates_of(explanation)),
                }
                for name, explanation in self.models.items()
            },
            "differences": to_jsonable(self.differences),
            **files,
        }

    def table(self) -> list[list[str]]:
        """Return rows of cells, heads first; a second line is the difference to the first model."""
        models = {name: estimates_of(explanation) for name, explanation in self.models.items()}
        rows = [["", *models]]
        for key, measure in MEASURES.items():
            if any(key in estimates for estimates in models.values()):
                cells = [measure.format(e[key]) if key in e else "–" for e in models.values()]
                for column, name in enumerate(self.models):
                    if key in self.differences.get(name, {}):
                        difference = measure.format(self.differences[name][key], signed=True)
                        cells[column] += f"\n{difference}"
                rows.append([measure.label, *cells])
        return rows

    def __rich__(self) -> Group:
        head, *rows = self.table()
        table = Table()
        for column, name in enumerate(head):
            table.add_column(Text(name), justify="right" if column else "left")
        for row in rows:
            table.add_row(*(Text(cell) for cell in row), end_section=True)
        lines = [Text(line.replace("\u00a0%", "%")) for line in self.summary()]
        note = Text("Second line of a cell: difference to the first model, paired by clip.")
        files = [Text(f"written: {self.files[0]}, images in its folder")] if self.files else []
        return Group(table, note, *lines, *files)

    def summary(self) -> list[str]:
        """Return one sentence per model on its differences, and how to read the numbers."""
        first = next(iter(self.models))
        lines = []
        for name, differences in self.differences.items():
            parts = [
                _describe_difference(title, differences[key], percent=MEASURES[key].percent)
                for key, title in _SENTENCE_MEASURES.items()
                if key in differences and not np.isnan(differences[key].value)
            ]
            lines.append(f"`{name}` compared with `{first}`: {'; '.join(parts)}.")
        return [*lines, text.reading_guide(self.models)]


def _describe_difference(title: str, difference: Estimate, *, percent: bool) -> str:
    scale, digits, unit = (100, 0, " points") if percent else (1, 2, "")
    value, low, high = (
        scale * number for number in (difference.value, difference.low, difference.high)
    )
    if text.sign(difference) == 0:
        interval = "" if np.isnan(low) else f", {low:+z.{digits}f} to {high:+z.{digits}f}"
        return f"{title} not significantly different ({value:+z.{digits}f}{unit}{interval})"
    ends = sorted((abs(low), abs(high)))
    return (
        f"{title} {abs(value):.{digits}f}{unit} {'higher' if value > 0 else 'lower'} "
        f"({ends[0]:.{digits}f} to {ends[1]:.{digits}f})"
    )


def compare_models(explanations: Sequence[Explanation]) -> Comparison:
    """Compare models, paired by clip.

    Args:
        explanations: at least two, of the same classes and clips; clips may be in any order.

    Raises:
        GlimpsesError: the classes or the clips differ.
    """
    first, *others = explanations
    aligned = [first, *(_align(other, first) for other in others)]
    names = [explanation.name for explanation in explanations]
    if len(set(names)) < len(names):
        names = [explanation.run for explanation in explanations]
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


def require_same_classes(
    run: str, classes: Sequence[str], first_run: str, first_classes: Sequence[str]
) -> None:
    """Refuse to compare models of different classes.

    Raises:
        GlimpsesError: the classes differ.
    """
    if set(classes) != set(first_classes):
        example = min(set(classes) ^ set(first_classes))
        raise GlimpsesError(
            f"{run}: has other classes than {first_run} (only one of them has {example}); compare "
            "runs of one data set"
        )


def require_same_clips(other: Explanation, first: Explanation) -> None:
    """Refuse to compare models that were evaluated on different clips.

    Raises:
        GlimpsesError: the clips differ.
    """
    if set(other.clips) != set(first.clips):
        common = len(set(other.clips) & set(first.clips))
        raise GlimpsesError(
            f"{other.run}: was evaluated on other clips than {first.run} ({common} of "
            f"{len(first.clips)} in common); give clips unseen by both with --data"
        )
    digests = dict(zip(first.clips, first.digests, strict=bool(first.digests)))
    for clip, digest in zip(other.clips, other.digests, strict=bool(other.digests)):
        if digests.get(clip, digest) != digest:
            raise GlimpsesError(
                f"{other.run}: was evaluated on other videos than {first.run}, though of the same "
                f"names ({clip}); give clips unseen by both with --data"
            )


def _align(other: Explanation, first: Explanation) -> Explanation:
    """Return the parts of an explanation that are compared, with clips in the first one's order."""
    require_same_classes(other.run, other.classes, first.run, first.classes)
    require_same_clips(other, first)
    position = {clip: index for index, clip in enumerate(other.clips)}
    order = np.array([position[clip] for clip in first.clips])
    return replace(
        other, clips=first.clips, groups=first.groups,
        by_clip={key: values[order] for key, values in other.by_clip.items()},
        faithfulness=other.faithfulness[order], pointing=other.pointing[order], predictions=(),
        true_labels=(), digests=first.digests,
    )  # fmt: skip


def sections_of(comparison: Comparison) -> list[Section]:
    """Return all sections of a comparison."""
    models = comparison.models
    styles = series_styles(list(models))
    return [
        Section("How do they differ?", figures=_difference_figures(comparison, styles)),
        Section("Where do they look?", figures=_localisation_figures(models, styles)),
        Section(
            "Do their decisions depend on where they look?",
            figures=_faithfulness_figures(models, styles),
        ),
        Section("How does their attention move?", figures=_stats_figures(models, styles)),
        Section(
            "All numbers",
            ["The second line of a cell is the difference to the first model, paired by clip."],
            table=comparison.table(),
        ),
    ]


def _difference_figures(
    comparison: Comparison, styles: Mapping[str, SeriesStyle]
) -> list[SectionFigure]:
    accuracy = {name: model.accuracy for name, model in comparison.models.items()}
    rows = {name: {name: estimate} for name, estimate in accuracy.items()}
    figures = [
        draw_estimates("accuracy", "Accuracy", "accuracy", rows, styles, text.extremes(accuracy))
    ]
    rows = {
        label: {
            name: differences[key]
            for name, differences in comparison.differences.items()
            if key in differences and not np.isnan(differences[key].value)
        }
        for key, label in _FIGURE_MEASURES.items()
    }
    rows = {label: row for label, row in rows.items() if row}
    if rows:
        first = next(iter(comparison.models))
        figures.append(
            draw_estimates(
                "differences", "Difference to the first model", "points, paired by clip", rows,
                styles, f"Right of the line: more than `{first}`. An interval that crosses the "
                "line: no significant difference.", unit_range=False, reference=0,
            )
        )  # fmt: skip
    return figures


def _localisation_figures(
    models: Mapping[str, Explanation], styles: Mapping[str, SeriesStyle]
) -> list[SectionFigure]:
    maps = {
        name: model.localisation
        for name, model in models.items()
        if model.map_name in model.localisation
    }
    model_maps = {name: localisation[models[name].map_name] for name, localisation in maps.items()}
    if not model_maps:
        return []
    figures = []
    for measure, (title, quantity) in LOCALISATION_TITLES.items():
        # Chance level and motion depend on the grid, so every model has its own.
        rows = {
            name: {
                name: getattr(model_maps[name], measure),
                **{
                    figure_name(baseline): getattr(localisation[baseline], measure)
                    for baseline in _BASELINE_STYLES
                    if baseline in localisation
                },
            }
            for name, localisation in maps.items()
        }
        caption = text.extremes({name: rows[name][name] for name in rows})
        caption += " Grey: baselines without knowledge of actions, on the same grid."
        row_styles = {
            **{figure_name(name): style for name, style in _BASELINE_STYLES.items()},
            **styles,
        }
        figures.append(
            draw_estimates(f"localisation-{measure}", title, quantity, rows, row_styles, caption)
        )
    classes = {
        label: {
            name: localisation.by_class[label]["pointing"]
            for name, localisation in model_maps.items()
            if label in localisation.by_class
        }
        for label in next(iter(models.values())).classes
    }
    classes = {label: row for label, row in classes.items() if row}
    if classes:
        figures.append(
            draw_estimates(
                "localisation-by-class", "Strongest place on the actor, by class",
                "fraction of steps", classes, styles, "Models differ clearly in a class if their "
                "intervals do not overlap.",
            )
        )  # fmt: skip
    steps = {
        name: localisation.by_step["pointing"]
        for name, localisation in model_maps.items()
        if "pointing" in localisation.by_step
    }
    caption = text.extremes({name: text.estimate_at(curve, -1) for name, curve in steps.items()})
    figures += draw_bands(
        "localisation-by-step", "Strongest place on the actor, by step", "step of a block", steps,
        styles, f"At the last step. {caption}" if caption else "",
    )  # fmt: skip
    return figures


def _faithfulness_figures(
    models: Mapping[str, Explanation], styles: Mapping[str, SeriesStyle]
) -> list[SectionFigure]:
    figures = []
    deletions = {name: deletions_of(model) for name, model in models.items()}
    for kind in dict.fromkeys(kind for curves in deletions.values() for kind in curves):
        title, x_label = deletion_titles(kind)
        most = {name: d[kind].curves[MOST] for name, d in deletions.items() if kind in d}
        random = {f"{name}, random": deletions[name][kind].curves[RANDOM] for name in most}
        with_random = len(most) <= _MAX_WITH_RANDOM
        dotted = {f"{name}, random": SeriesStyle(styles[name].colour, "", ":") for name in most}
        order = "random places (dotted) for comparison. " if with_random else ""
        action, verb = ("shown", "rises") if kind.endswith("insertion") else ("removed", "falls")
        caption = (
            f"The strongest places are {action} first{'; ' if order else '. '}{order}The faster a "
            f"curve {verb}, the better the map shows what the decisions depend on."
        )
        figures += draw_bands(
            kind.replace(" ", "-"), title, x_label, most | random if with_random else most,
            {**styles, **dotted}, caption, x_percent=True,
        )  # fmt: skip
    gains = {name: {name: model.deletion.gain} for name, model in models.items()}
    figures.append(
        draw_estimates(
            "faithfulness", "Faithfulness: gain over random order", "area between the curves",
            gains, styles, "Right of the line, the map ranks places better than random order; left "
            "of it, worse. An interval that crosses the line: no significant difference.",
            percent=False, unit_range=False, reference=0,
        )
    )  # fmt: skip
    kinds = dict.fromkeys(kind for model in models.values() for kind in model.attention_ablation)
    rows = {
        kind: {
            name: model.attention_ablation[kind]
            for name, model in models.items()
            if kind in model.attention_ablation
        }
        for kind in kinds
    }
    if rows:
        caption = " ".join(
            f"`{name}` loses {text.points(model.accuracy_drop[UNIFORM])} with uniform attention."
            for name, model in models.items()
            if UNIFORM in model.accuracy_drop
        )
        title = "Accuracy with replaced attention"
        figures.append(
            draw_estimates("attention-ablation", title, "accuracy", rows, styles, caption)
        )
    return figures


def _stats_figures(
    models: Mapping[str, Explanation], styles: Mapping[str, SeriesStyle]
) -> list[SectionFigure]:
    figures = []
    for name in dict.fromkeys(n for m in models.values() for n in m.attention_stats_by_step):
        curves = {
            label: model.attention_stats_by_step[name]
            for label, model in models.items()
            if name in model.attention_stats_by_step
        }
        caption = text.extremes(
            {
                label: model.attention_stats[name]
                for label, model in models.items()
                if name in model.attention_stats
            }
        )
        figures += draw_bands(
            f"attention-{name.replace('_', '-')}", stats_title(name), "step of a block", curves,
            styles, caption, unit_range=name == "entropy",
        )  # fmt: skip
    return figures
