"""Figures of an explanation: estimates with their intervals, curves with their bands, heat maps."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from glimpses.evaluation.explanation import Curve, Estimate
from glimpses.viz.style import FAINT, INK, QUIET, shortened, style, write

# In inches: a figure fills a column of the page, or the width of a phone.
_WIDTH, _ROW = 4.4, 0.3
# Steps of a row of heat maps.
_MAPS = 8


@dataclass(frozen=True)
class SeriesStyle:
    """How one thing that is compared is drawn, the same in every figure.

    Attributes:
        colour: of its points and lines.
        marker: of its points; tells it from others where colours don't.
        dashes: of its lines, as Matplotlib names them.
    """

    colour: str
    marker: str = "o"
    dashes: str = "-"


#: Attention and its rivals, by what they are called in figures.
MAPS: Mapping[str, SeriesStyle] = {
    "attention": SeriesStyle("#0072b2"),
    "Grad-CAM": SeriesStyle("#009e73", "^"),
    "frame difference": SeriesStyle("#d55e00", "s", "--"),
    "actors' usual place": SeriesStyle("#cc79a7", "v", "-."),
    "middle of the picture": SeriesStyle("#8c6d1f", "D", "-."),
    "chance": SeriesStyle(QUIET, "x", ":"),
}
#: The orders in which places are removed or shown.
ORDERS: Mapping[str, SeriesStyle] = {
    "most attended first": SeriesStyle("#0072b2"),
    "random": SeriesStyle(QUIET, "x", ":"),
    "least attended first": SeriesStyle("#d55e00", "s", "--"),
}
# Okabe and Ito's colours, the light ones darkened until they show on white.
_MODELS = (
    *("#0072b2", "#d55e00", "#009e73", "#cc79a7"),
    *("#8c6d1f", "#3f9fd8", "#6a3d9a", INK),
)
_MARKERS = "os^Dv"


def series_styles(names: Sequence[str]) -> dict[str, SeriesStyle]:
    """A look for each of some models; past eight the colours come again with other shapes."""
    return {
        name: SeriesStyle(
            _MODELS[number % len(_MODELS)],
            _MARKERS[number % len(_MARKERS)],
            "-" if number < len(_MODELS) else "--",
        )
        for number, name in enumerate(names)
    }


def dots_figure(
    rows: Mapping[str, Mapping[str, Estimate]],
    looks: Mapping[str, SeriesStyle],
    *,
    title: str,
    quantity: str,
    percent: bool = True,
    whole: bool = True,
    line: float | None = None,
) -> Figure:
    """Draw estimates as points with their confidence intervals, a row for each thing.

    Args:
        rows: by label, the estimate of each thing that is compared. Where every row has one, its
            value stands beside it; else a legend tells them apart.
        looks: of each thing that is compared.
        title: heading.
        quantity: what the scale shows.
        percent: whether it is a share.
        whole: whether the scale is to run from 0 to 1.
        line: where a line stands for comparison, such as no difference.
    """
    series = list(dict.fromkeys(name for row in rows.values() for name in row))
    single = all(len(row) == 1 for row in rows.values())
    # A thing that has a row of its own takes no place in the others.
    beside = max(len(row) for row in rows.values())
    ranks = {name: 0 if name in rows else rank for rank, name in enumerate(series)}
    if any(name in rows for name in series):
        others = [name for name in series if name not in rows]
        ranks |= {name: 1 + rank for rank, name in enumerate(others)}
    places = {name: (rank - (beside - 1) / 2) * 0.8 / beside for name, rank in ranks.items()}
    tall = _ROW if single else max(_ROW, 0.13 * (beside + 1))
    with style():
        figure = Figure(figsize=(_WIDTH, 1.0 + tall * len(rows)), layout="constrained")
        axes = figure.subplots()
        _head(figure, title)
        if line is not None:
            axes.axvline(line, color=QUIET, linewidth=1)
        for height, row in enumerate(rows.values()):
            for name, estimate in row.items():
                at = height if single else height + places[name]
                _draw_estimate(axes, estimate, at, looks[name], name)
                if single:
                    said = _number(estimate.value, percent)
                    across = axes.get_yaxis_transform()
                    axes.text(1.03, at, said, transform=across, va="center", fontsize=9.5)
        axes.set_yticks(range(len(rows)), [shortened(label, 24) for label in rows])
        for label in axes.get_yticklabels():
            write(label, size=9.5)
        axes.set_ylim(len(rows) - 0.4, -0.6)
        if whole:
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
            _legend(figure, axes, rows)
            for between in range(1, len(rows)):
                axes.axhline(between - 0.5, color=FAINT, linewidth=0.8)
    return figure


def _draw_estimate(axes: Axes, estimate: Estimate, at: float, look: SeriesStyle, name: str) -> None:
    # What is left by rounding may not point the wrong way; not known stays so.
    interval = np.maximum([[estimate.value - estimate.low], [estimate.high - estimate.value]], 0)
    axes.errorbar(
        [estimate.value], [at], xerr=interval, color=look.colour, fmt=look.marker, markersize=6,
        markeredgewidth=1.5, elinewidth=1.8, label=name,
    )  # fmt: skip


def lines_figure(
    curves: Mapping[str, Curve],
    looks: Mapping[str, SeriesStyle],
    *,
    title: str,
    across: str,
    percent: bool = True,
    shares: bool = False,
    whole: bool = True,
) -> Figure:
    """Draw curves with their bands of confidence.

    Args:
        curves: by what they are of. Of one curve the heading says enough; else a legend tells.
        looks: of each.
        title: heading.
        across: what the axis is.
        percent: whether the quantity is a share.
        shares: whether the axis is one, else it counts.
        whole: whether the scale is to run from 0 to 1.
    """
    with style():
        figure = Figure(figsize=(_WIDTH, 3.3), layout="constrained")
        axes = figure.subplots()
        _head(figure, title)
        for name, curve in curves.items():
            look = looks[name]
            axes.fill_between(
                curve.at, curve.low, curve.high, color=look.colour, alpha=0.15, linewidth=0
            )
            axes.plot(
                curve.at, curve.value, color=look.colour, linestyle=look.dashes, linewidth=1.8,
                marker=look.marker, markersize=4, label=name, markevery=_every(len(curve.at)),
            )  # fmt: skip
        if percent:
            axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        if whole:
            axes.set_ylim(-0.02, 1.02)
        else:
            axes.set_ylim(bottom=0)
        if shares:
            axes.set_xlim(-0.02, 1.02)
            axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        else:
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel(across, fontsize=9)
        axes.grid(axis="y")
        axes.tick_params(length=0, labelsize=9)
        if len(curves) > 1:
            _legend(figure, axes)
    return figure


def heat_figure(
    maps: Sequence[Float[np.ndarray, "T K K"]], names: Sequence[str], *, title: str
) -> Figure:
    """Draw maps as they are, place by place, a row for each clip and time from left to right.

    Args:
        maps: of each clip, at least one; each step sums to 1.
        names: what to write over each row.
        title: heading.
    """
    side, gap, over, head = 0.48, 0.07, 0.26, 0.36
    width, height = _MAPS * (side + gap), head + len(maps) * (side + over)
    with style():
        figure = Figure(figsize=(width, height))
        _head(figure, title)
        top = height - head
        for name, steps in zip(names, maps, strict=True):
            said = figure.text(0, (top - 0.18) / height, shortened(name, 70))
            write(said, size=8)
            top -= over + side
            # One scale for a clip, so that its steps compare; an even map stays pale.
            most = max(float(steps.max()), 4 / steps[0].size)
            chosen = np.unique(np.linspace(0, len(steps) - 1, _MAPS).round().astype(int))
            for column, step in enumerate(chosen):
                box = (column * (side + gap) / width, top / height, side / width, side / height)
                axes = figure.add_axes(box)
                axes.imshow(steps[step], cmap="Blues", vmin=0, vmax=most)
                axes.set_xticks([])
                axes.set_yticks([])
                for spine in axes.spines.values():
                    spine.set(visible=True, color=FAINT)
    return figure


def _head(figure: Figure, title: str) -> None:
    figure.suptitle(title, x=0.01, ha="left", fontsize=11, weight="bold")


def _every(count: int) -> int:
    """Markers are there to tell lines apart, a dozen do."""
    return max(1, count // 12)


def _legend(figure: Figure, axes: Axes, told: Collection[str] = ()) -> None:
    """Name what is drawn, once each, below the plot, unless it is told beside it."""
    known = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    known = {name: handle for name, handle in known.items() if name not in told}
    if not known:
        return
    columns = 1 if any(len(name) > 18 for name in known) else min(3, len(known))
    legend = figure.legend(
        known.values(), [shortened(name, 40) for name in known],
        loc="outside lower left", ncols=columns, fontsize=9,
    )  # fmt: skip
    for text in legend.get_texts():
        write(text, size=9)


def _number(value: float, percent: bool) -> str:
    if np.isnan(value):
        return "–"
    return f"{value:.0%}" if percent else f"{value:.2f}"
