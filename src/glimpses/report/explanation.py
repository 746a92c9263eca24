"""Sections of the explanation of one model: localisation, faithfulness, attention statistics."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np

from glimpses.evaluation.explanation import Curve, Estimate, Explanation
from glimpses.report import text
from glimpses.report.interval_figures import (
    MAP_STYLES,
    ORDER_STYLES,
    SeriesStyle,
    bands_figure,
    estimates_figure,
    maps_figure,
)
from glimpses.report.measures import deletions_of, figure_name, measure_rows
from glimpses.report.sections import Section, SectionFigure
from glimpses.utils.errors import GlimpsesError
from glimpses.utils.progress import bar
from glimpses.viz import Filmstrip

log = logging.getLogger(__name__)

# Clips at either end of the atlas, and classes in a figure at most.
_ATLAS, _MAX_CLASSES = 4, 24
_SENTENCES = {"pointing": text.pointing, "energy": text.energy, "auc": text.auc}
_MODEL_STYLE = SeriesStyle("#0072b2")

#: Title and x label of the figure of each localisation measure.
LOCALISATION_TITLES = {
    "pointing": ("Strongest place on the actor", "fraction of steps"),
    "energy": ("Map on the actor", "fraction of the map"),
    "auc": ("Detection of the actor's places", "area under the ROC curve"),
}


def sections_of(explanation: Explanation) -> list[Section]:
    """Return all sections about one model; what was not measured is left out."""
    return [
        localisation_section(explanation),
        faithfulness_section(explanation),
        attention_stats_section(explanation),
        *atlas_sections(explanation),
        Section(
            "All numbers",
            table=[
                ["measure", "value"],
                *([label, *cells] for label, cells in measure_rows({"": explanation})),
            ],
        ),
    ]


def localisation_section(explanation: Explanation) -> Section:
    """Show localisation of the actor and the baselines: overall, by class and by step."""
    heading = "Does it look at the actor?"
    maps = explanation.localisation
    model_map = maps.get(explanation.map_name)
    if model_map is None or np.isnan(model_map.pointing.value):
        return Section(heading, [text.pointing(explanation)])
    figures = []
    for measure, (title, quantity) in LOCALISATION_TITLES.items():
        rows = {
            figure_name(name): {figure_name(name): getattr(localisation, measure)}
            for name, localisation in maps.items()
        }
        caption = _SENTENCES[measure](explanation)
        file = f"localisation-{measure}"
        figures.append(draw_estimates(file, title, quantity, rows, MAP_STYLES, caption))
    # Worst classes first, because they deserve attention; both ends if there are many.
    pointing = {name: measures["pointing"].value for name, measures in model_map.by_class.items()}
    measured = [name for name, value in pointing.items() if not np.isnan(value)]
    order = sorted(measured, key=pointing.__getitem__)
    shown = order if len(order) <= _MAX_CLASSES else [*order[:12], *order[-12:]]
    title = "Strongest place on the actor, by class"
    classes = {
        label: {
            figure_name(name): localisation.by_class[label]["pointing"]
            for name, localisation in maps.items()
            if label in localisation.by_class
            and name in (explanation.map_name, "motion energy", "uniform")
        }
        for label in shown
    }
    caption = text.by_class(model_map)
    if shown != order:
        caption += f" The figure shows the 12 best and the 12 worst of {len(order)} classes."
    if classes:
        figures.append(
            draw_estimates(
                "localisation-by-class", title, "fraction of steps", classes, MAP_STYLES, caption
            )
        )
    title = "Strongest place on the actor, by step"
    steps = {
        figure_name(name): localisation.by_step["pointing"]
        for name, localisation in maps.items()
        if text.finite_part(localisation.by_step.get("pointing")) is not None
    }
    caption, label = text.by_step(model_map), "step of a block"
    figures += draw_bands("localisation-by-step", title, label, steps, MAP_STYLES, caption)
    return Section(heading, figures=figures)


def faithfulness_section(explanation: Explanation) -> Section:
    """Show whether the decision depends on the map: deletion, insertion, attention ablation."""
    figures: list[SectionFigure] = []
    for name, deletion in deletions_of(explanation).items():
        title, x_label = deletion_titles(name)
        curves = {
            _order_name(order, explanation.map_name): curve
            for order, curve in deletion.curves.items()
        }
        styles = {
            _order_name(order, explanation.map_name): style for order, style in ORDER_STYLES.items()
        }
        caption = text.deletion(name, deletion, explanation.map_name)
        figures += draw_bands(
            name.replace(" ", "-"), title, x_label, curves, styles, caption, x_percent=True
        )
    if explanation.attention_ablation:
        title = "Accuracy with replaced attention"
        rows = {name: {name: e} for name, e in explanation.attention_ablation.items()}
        styles = dict.fromkeys(rows, _MODEL_STYLE)
        sentences = [text.ablation(name, explanation) for name in explanation.accuracy_drop]
        caption = " ".join(filter(None, sentences))
        figures.append(
            draw_estimates("attention-ablation", title, "accuracy", rows, styles, caption)
        )
    return Section("Does its decision depend on where it looks?", figures=figures)


def _order_name(order: str, map_name: str) -> str:
    """Name an order; a model that pools attends to nothing."""
    if map_name == "attention":
        return order
    return order.replace("most attended", "strongest").replace("least attended", "weakest")


def deletion_titles(name: str) -> tuple[str, str]:
    """Return the title and the x label of a figure of deletion or insertion."""
    action = "shown" if name.endswith("insertion") else "removed"
    target = "frames" if name.startswith("pixel") else "feature cube"
    kind = name.split()[-1].capitalize()
    return f"{kind} on the {target}: class probability", f"fraction of places {action}"


def attention_stats_section(explanation: Explanation) -> Section:
    """Show the statistics of the attention, overall and by step."""
    sentences = text.attention_stats(explanation)
    figures: list[SectionFigure] = []
    for name, curve in explanation.attention_stats_by_step.items():
        if text.finite_part(curve) is not None:
            figures += draw_bands(
                f"attention-{name.replace('_', '-')}", stats_title(name), "step of a block",
                {name: curve}, {name: _MODEL_STYLE}, text.first_and_last(curve),
                unit_range=name == "entropy",
            )  # fmt: skip
    paragraphs = [" ".join(sentences.values())] if sentences else ()
    return Section("How does its attention move?", paragraphs, figures)


def stats_title(name: str) -> str:
    """Return the title of a figure of an attention statistic by step."""
    return f"{name.replace('_', ' ').capitalize()} of the attention by step"


def atlas_sections(explanation: Explanation) -> list[Section]:
    """Show the most and the least faithful clips as maps and, if there are videos, as frames."""
    if not explanation.predictions:
        return []
    measured = np.flatnonzero(~np.isnan(explanation.faithfulness))
    order = measured[np.argsort(-explanation.faithfulness[measured], kind="stable")].tolist()
    count = min(_ATLAS, len(order) // 2) or len(order)
    ends = {"most": order[:count], "least": order[::-1][:count] if len(order) > 1 else []}
    sections = []
    with bar("drawing the atlas", sum(map(len, ends.values())), transient=True) as progress:
        for end, indices in ends.items():
            strips = []
            for index in indices:
                if (strip := _draw_strip(explanation, index)) is not None:
                    strips.append((strip, clip_note(explanation, index)))
                progress.advance()
            figures = _atlas_maps(explanation, indices, end)
            if strips or figures:
                sections.append(
                    Section(
                        f"The {end} faithful clips",
                        [_ATLAS_TEXT[end]],
                        figures,
                        strips=strips,
                        strips_file=f"atlas-{end}-faithful",
                        highlight="where the model looks"
                        if explanation.map_name == "attention"
                        else f"where its {explanation.map_name} map is strong",
                    )
                )
    return sections


_ATLAS_TEXT = {
    "most": "In these clips the class probability falls fastest when the strongest places are "
    "removed first: the decision depends on the bright places.",
    "least": "In these clips removing the strongest places first has the least effect compared "
    "with random places; below 0 it has less effect than they have. The decision depends on "
    "something other than the bright places.",
}


def _atlas_maps(explanation: Explanation, indices: list[int], end: str) -> list[SectionFigure]:
    shown = [
        (index, maps)
        for index in indices
        if (maps := explanation.predictions[index].attention) is not None
    ]
    if not shown:
        return []
    names = [
        f"{explanation.predictions[index].name}: {clip_note(explanation, index)}"
        for index, _ in shown
    ]
    map_name = explanation.map_name
    title = f"{map_name[0].upper()}{map_name[1:]}, place by place"
    figure = maps_figure([maps for _, maps in shown], names, title=title)
    alt = (
        f"Heat maps of {map_name} in the {end} faithful clips, place by place, from the first step "
        "to the last"
    )
    return [SectionFigure(f"maps-{end}-faithful", figure, alt)]


def clip_note(explanation: Explanation, index: int) -> str:
    """Return faithfulness and pointing of a clip in a few words."""
    note = f"faithfulness {explanation.faithfulness[index]:z.2f}"
    pointing = explanation.pointing[index]
    return note if np.isnan(pointing) else f"{note}, on the actor in {text.percent(pointing)}"


def _draw_strip(explanation: Explanation, index: int) -> Filmstrip | None:
    prediction = explanation.predictions[index]
    if not prediction.has_video:
        return None
    try:
        return prediction.strip(
            labels=explanation.true_labels[index] if explanation.true_labels else None
        )
    except GlimpsesError as error:
        log.warning("left out of the atlas: %s", error)
        return None


def draw_estimates(
    file: str,
    title: str,
    quantity: str,
    rows: Mapping[str, Mapping[str, Estimate]],
    styles: Mapping[str, SeriesStyle],
    caption: str = "",
    **options: Any,
) -> SectionFigure:
    """Draw estimates by row and series; see `estimates_figure` for the options."""
    figure = estimates_figure(rows, styles, title=title, quantity=quantity, **options)
    return SectionFigure(file, figure, estimates_alt(title, rows), caption)


def draw_bands(
    file: str,
    title: str,
    x_label: str,
    curves: Mapping[str, Curve],
    styles: Mapping[str, SeriesStyle],
    caption: str = "",
    **options: Any,
) -> list[SectionFigure]:
    """Draw curves, if there are any; see `bands_figure` for the options."""
    if not curves:
        return []
    figure = bands_figure(curves, styles, title=title, x_label=x_label, **options)
    return [SectionFigure(file, figure, bands_alt(title, curves), caption)]


def estimates_alt(title: str, rows: Mapping[str, Mapping[str, Estimate]]) -> str:
    """Return the text alternative of a figure of estimates."""
    parts = [
        f"{label}: " * (len(row) > 1)
        + ", ".join(f"{name} {_format(estimate)}" for name, estimate in row.items())
        for label, row in rows.items()
    ]
    return f"{title}. {'; '.join(parts)}"


def bands_alt(title: str, curves: Mapping[str, Curve]) -> str:
    """Return the text alternative of a figure of curves."""
    parts = [
        f"{name} from {values[0]:.2f} over {values[len(values) // 2]:.2f} to {values[-1]:.2f}"
        for name, curve in curves.items()
        if len(values := curve.value[np.isfinite(curve.value)])
    ]
    return f"{title}. {'; '.join(parts)}"


def _format(estimate: Estimate) -> str:
    return "not measured" if np.isnan(estimate.value) else text.percent_interval(estimate)
