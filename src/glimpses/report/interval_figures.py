"""Figures of explanations: estimates with intervals, curves with bands, attention maps."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from glimpses.evaluation.deletion_insertion import LEAST, MOST, RANDOM
from glimpses.evaluation.explanation import Curve, Estimate
from glimpses.viz.style import FAINT, INK, QUIET, figure_style, style_text, truncate

# In inches; a figure fills a column of the page or the width of a phone.
_WIDTH, _ROW = 4.4, 0.3
# Maps in a row.
_MAPS = 8


@dataclass(frozen=True)
class SeriesStyle:
    """Style of one series, the same in every figure.

    Attributes:
        colour: colour of points and lines.
        marker: marker of points; distinguishes series without colour.
        linestyle: line style, in Matplotlib's notation.
    """

    colour: str
    marker: str = "o"
    linestyle: str = "-"


#: Styles of the model's map and the baselines, by their names in figures.
MAP_STYLES: Mapping[str, SeriesStyle] = {
    "attention": SeriesStyle("#0072b2"),
    "Grad-CAM": SeriesStyle("#009e73", "^"),
    "frame difference": SeriesStyle("#d55e00", "s", "--"),
    "usual location": SeriesStyle("#cc79a7", "v", "-."),
    "centre of the frame": SeriesStyle("#8c6d1f", "D", "-."),
    "chance level": SeriesStyle(QUIET, "x", ":"),
}
#: Styles of the orders in which places are removed or shown.
ORDER_STYLES: Mapping[str, SeriesStyle] = {
    MOST: SeriesStyle("#0072b2"),
    RANDOM: SeriesStyle(QUIET, "x", ":"),
    LEAST: SeriesStyle("#d55e00", "s", "--"),
}
# The colours of Okabe and Ito; the light ones are darkened to be visible on white.
_MODEL_COLOURS = (
    *("#0072b2", "#d55e00", "#009e73", "#cc79a7"),
    *("#8c6d1f", "#3f9fd8", "#6a3d9a", INK),
)
_MARKERS = "os^Dv"


def series_styles(names: Sequence[str]) -> dict[str, SeriesStyle]:
    """Return a distinct style for each model; beyond eight, colours repeat with other markers."""
    return {
        name: SeriesStyle(
            _MODEL_COLOURS[number % len(_MODEL_COLOURS)],
            _MARKERS[number % len(_MARKERS)],
            "-" if number < len(_MODEL_COLOURS) else "--",
        )
        for number, name in enumerate(names)
    }


def estimates_figure(
    rows: Mapping[str, Mapping[str, Estimate]],
    styles: Mapping[str, SeriesStyle],
    *,
    title: str,
    quantity: str,
    percent: bool = True,
    unit_range: bool = True,
    reference: float | None = None,
) -> Figure:
    """Draw estimates as points with confidence intervals, in labelled rows.

    Args:
        rows: row label -> series -> estimate. If every row has one estimate, its value is printed
            beside it; otherwise a legend names the series.
        styles: style of each series.
        title: title of the figure.
        quantity: label of the x axis.
        percent: whether the quantity is a fraction, shown in per cent.
        unit_range: whether the axis runs from 0 to 1.
        reference: value of a vertical reference line.
    """
    series = list(dict.fromkeys(name for row in rows.values() for name in row))
    single = all(len(row) == 1 for row in rows.values())
    # A series with a row of its own needs no slot in the other rows.
    slots = max(len(row) for row in rows.values())
    slot = {name: 0 if name in rows else index for index, name in enumerate(series)}
    if any(name in rows for name in series):
        others = [name for name in series if name not in rows]
        slot |= {name: 1 + index for index, name in enumerate(others)}
    offsets = {name: (index - (slots - 1) / 2) * 0.8 / slots for name, index in slot.items()}
    row_height = _ROW if single else max(_ROW, 0.13 * (slots + 1))
    with figure_style():
        figure = Figure(figsize=(_WIDTH, 1.0 + row_height * len(rows)), layout="constrained")
        axes = figure.subplots()
        _draw_title(figure, title)
        if reference is not None:
            axes.axvline(reference, color=QUIET, linewidth=1)
        for height, row in enumerate(rows.values()):
            for name, estimate in row.items():
                y = height if single else height + offsets[name]
                _draw_estimate(axes, estimate, y, styles[name], name)
                if single:
                    value = _format_value(estimate.value, percent)
                    transform = axes.get_yaxis_transform()
                    axes.text(1.03, y, value, transform=transform, va="center", fontsize=9.5)
        axes.set_yticks(range(len(rows)), [truncate(label, 24) for label in rows])
        for label in axes.get_yticklabels():
            style_text(label, size=9.5)
        axes.set_ylim(len(rows) - 0.4, -0.6)
        if unit_range:
            axes.set_xlim(-0.02, 1.02)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        if percent:
            axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.set_xlabel(quantity, fontsize=9)
        axes.grid(axis="x")
        axes.set_axisbelow(True)
        axes.tick_params(length=0, labelsize=9)
        axes.spines["left"].set_visible(False)
        if not single:
            _draw_legend(figure, axes, skip=rows)
            for boundary in range(1, len(rows)):
                axes.axhline(boundary - 0.5, color=FAINT, linewidth=0.8)
    return figure


def _draw_estimate(axes: Axes, estimate: Estimate, y: float, style: SeriesStyle, name: str) -> None:
    # Rounding errors must not make lengths negative; NaN stays NaN.
    interval = np.maximum([[estimate.value - estimate.low], [estimate.high - estimate.value]], 0)
    axes.errorbar(
        [estimate.value], [y], xerr=interval, color=style.colour, fmt=style.marker, markersize=6,
        markeredgewidth=1.5, elinewidth=1.8, label=name,
    )  # fmt: skip


def bands_figure(
    curves: Mapping[str, Curve],
    styles: Mapping[str, SeriesStyle],
    *,
    title: str,
    x_label: str,
    percent: bool = True,
    x_percent: bool = False,
    unit_range: bool = True,
) -> Figure:
    """Draw curves with confidence bands.

    Args:
        curves: curves by name; a legend names them if there are several.
        styles: style of each curve.
        title: title of the figure.
        x_label: label of the x axis.
        percent: whether the values are fractions, shown in per cent.
        x_percent: whether the x axis is a fraction, shown in per cent; otherwise a count.
        unit_range: whether the y axis runs from 0 to 1.
    """
    with figure_style():
        figure = Figure(figsize=(_WIDTH, 3.3), layout="constrained")
        axes = figure.subplots()
        _draw_title(figure, title)
        for name, curve in curves.items():
            style = styles[name]
            axes.fill_between(
                curve.x, curve.low, curve.high, color=style.colour, alpha=0.15, linewidth=0
            )
            # A dozen markers are enough to distinguish the lines.
            axes.plot(
                curve.x, curve.value, color=style.colour, linestyle=style.linestyle, linewidth=1.8,
                marker=style.marker, markersize=4, label=name,
                markevery=max(1, len(curve.x) // 12),
            )  # fmt: skip
        if percent:
            axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        if unit_range:
            axes.set_ylim(-0.02, 1.02)
        else:
            axes.set_ylim(bottom=0)
        if x_percent:
            axes.set_xlim(-0.02, 1.02)
            axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        else:
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel(x_label, fontsize=9)
        axes.grid(axis="y")
        axes.tick_params(length=0, labelsize=9)
        if len(curves) > 1:
            _draw_legend(figure, axes)
    return figure


def maps_figure(
    maps: Sequence[Float[np.ndarray, "T K K"]], names: Sequence[str], *, title: str
) -> Figure:
    """Draw maps place by place, one row per clip with time from left to right.

    Args:
        maps: maps of each clip, at least one clip; each step sums to 1.
        names: text above each row.
        title: title of the figure.
    """
    side, gap, label_height, title_height = 0.48, 0.07, 0.26, 0.36
    width, height = _MAPS * (side + gap), title_height + len(maps) * (side + label_height)
    with figure_style():
        figure = Figure(figsize=(width, height))
        _draw_title(figure, title)
        top = height - title_height
        for name, steps in zip(names, maps, strict=True):
            label = figure.text(0, (top - 0.18) / height, truncate(name, 70))
            style_text(label, size=8)
            top -= label_height + side
            # One scale per clip, so that its steps compare; a uniform map stays pale.
            maximum = max(float(steps.max()), 4 / steps[0].size)
            chosen = np.unique(np.linspace(0, len(steps) - 1, _MAPS).round().astype(int))
            for column, step in enumerate(chosen):
                box = (column * (side + gap) / width, top / height, side / width, side / height)
                axes = figure.add_axes(box)
                axes.imshow(steps[step], cmap="Blues", vmin=0, vmax=maximum)
                axes.set_xticks([])
                axes.set_yticks([])
                for spine in axes.spines.values():
                    spine.set(visible=True, color=FAINT)
    return figure


def _draw_title(figure: Figure, title: str) -> None:
    figure.suptitle(title, x=0.01, ha="left", fontsize=11, weight="bold")


def _draw_legend(figure: Figure, axes: Axes, skip: Collection[str] = ()) -> None:
    """Draw a legend below the plot, each name once, except names in `skip`."""
    handles = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    handles = {name: handle for name, handle in handles.items() if name not in skip}
    if not handles:
        return
    columns = 1 if any(len(name) > 18 for name in handles) else min(3, len(handles))
    legend = figure.legend(
        handles.values(), [truncate(name, 40) for name in handles],
        loc="outside lower left", ncols=columns, fontsize=9,
    )  # fmt: skip
    for text in legend.get_texts():
        style_text(text, size=9)


def _format_value(value: float, percent: bool) -> str:
    if np.isnan(value):
        return "–"
    return f"{value:.0%}" if percent else f"{value:.2f}"
