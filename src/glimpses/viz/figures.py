"""Figures for reports and papers: strips, confusion matrices, training curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Int
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from glimpses.viz.filmstrip import Filmstrip, FilmstripFrame
from glimpses.viz.style import COLOURS, INK, QUIET, shortened, style, write

_RIGHT, _WRONG = "#00795a", "#c2410c"
# Of the pictures of a strip, in inches.
_COLUMN = 1.75


def filmstrip_figure(strips: Sequence[Filmstrip], *, names: Sequence[str] | None = None) -> Figure:
    """Draw strips one under the other, as in Figures 2 and 3 of the paper.

    Under every frame stands what the model said at that step, with a mark and a colour for right
    and wrong; over every row the truth, the clip's prediction and its probability.

    Args:
        strips: at least one.
        names: what each row is, to stand before its headline; nothing if not given.
    """
    columns = max(len(strip.glimpses) for strip in strips)
    sizes = [_fitted(strip.glimpses[0]) for strip in strips]
    title, caption = 0.42, 0.30
    total = sum(height + title + caption for _, height in sizes)
    across = columns * _COLUMN
    with style():
        figure = Figure(figsize=(across, total))
        top = total
        rows = zip(strips, sizes, names or [""] * len(strips), strict=True)
        for strip, (width, height), name in rows:
            left = (_COLUMN - width) / 2 / across
            said = f"{name}    {_headline(strip)}" if name else _headline(strip)
            headline = figure.text(left, (top - 0.28) / total, said)
            write(headline, size=10.5, weight="bold")
            top -= title + height
            for column, glimpse in enumerate(strip.glimpses):
                box = (
                    left + column * _COLUMN / across,
                    top / total,
                    width / across,
                    height / total,
                )
                axes = figure.add_axes(box)
                axes.imshow(glimpse.picture, aspect="auto", interpolation="lanczos")
                axes.set_axis_off()
                said = _marked(shortened(glimpse.label, 20), glimpse.right)
                under = axes.text(
                    0.5, -0.06 / height, said, transform=axes.transAxes, ha="center", va="top"
                )
                write(under, size=8.5, colour=_mark_colour(glimpse.right))
            top -= caption
    return figure


def confusion_figure(confusion: Int[np.ndarray, "C C"], classes: Sequence[str]) -> Figure:
    """Draw a confusion matrix, coloured by the share of each true class.

    Args:
        confusion: clips by true class (row) and predicted class (column).
        classes: names of the actions.
    """
    count = len(classes)
    totals = confusion.sum(axis=1, keepdims=True)
    share = np.divide(confusion, totals, out=np.zeros(confusion.shape), where=totals > 0)
    names = [shortened(name, 24) for name in classes]
    cell = float(np.clip(7.0 / count, 0.2, 0.75))
    letters = 9.5 if count <= 20 else 7.5
    longest = letters * 0.0088 * max(map(len, names))
    margin = 0.6 + longest
    side = cell * count
    with style():
        figure = Figure(figsize=(margin + side + 1.1, margin + side + 0.35))
        size = figure.get_size_inches()
        axes = figure.add_axes((margin / size[0], margin / size[1], side / size[0], side / size[1]))
        image = axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
        axes.set_xticks(range(count), names, rotation=90 if longest > cell else 0)
        axes.set_yticks(range(count), names)
        for label in (*axes.get_xticklabels(), *axes.get_yticklabels()):
            write(label, size=letters)
        axes.tick_params(length=0)
        axes.set_xticks(np.arange(count + 1) - 0.5, minor=True)
        axes.set_yticks(np.arange(count + 1) - 0.5, minor=True)
        axes.grid(which="minor", color="white", linewidth=1.5 if count <= 20 else 0.5)
        axes.tick_params(which="minor", length=0)
        axes.spines[:].set_visible(False)
        axes.set_xlabel("predicted")
        axes.set_ylabel("true")
        if count <= 20:
            for row, column in zip(*np.nonzero(confusion), strict=True):
                colour = "white" if share[row, column] > 0.5 else INK
                text = str(confusion[row, column])
                axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=9)
        bar_at = ((margin + side + 0.2) / size[0], margin / size[1], 0.12 / size[0])
        bar = figure.colorbar(
            image, cax=figure.add_axes((*bar_at, side / size[1])), format=PercentFormatter(1)
        )
        bar.set_label("share of the true class", fontsize=8)
        bar.outline.set_visible(False)
        bar.ax.tick_params(length=0, labelsize=8)
    return figure


def curves_figure(
    curves: Mapping[str, Sequence[float]], *, best_epoch: int | None = None
) -> Figure:
    """Draw training curves: one plot per quantity, one line per side of the split.

    Args:
        curves: values by epoch, from the first. A name is a side and a quantity, as in
            `training loss`, `validation loss`, `validation accuracy`. NaN where not measured.
        best_epoch: the epoch whose weights were kept, from 1; marked in every plot.
    """
    quantities: dict[str, dict[str, Sequence[float]]] = {}
    for name, values in curves.items():
        side, _, quantity = name.rpartition(" ")
        quantities.setdefault(quantity, {})[side or quantity] = values
    with style():
        figure = Figure(figsize=(4.4 * len(quantities), 3.2), layout="constrained")
        panels = figure.subplots(1, len(quantities), squeeze=False)[0]
        for axes, (quantity, sides) in zip(panels, quantities.items(), strict=True):
            axes.set_title(quantity)
            _draw_curves(axes, sides, best_epoch)
            if quantity in {"accuracy", "mAP"}:
                axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
                axes.set_ylim(0, 1.02)
            else:
                axes.set_ylim(bottom=0)
    return figure


def _draw_curves(axes: Axes, sides: Mapping[str, Sequence[float]], best_epoch: int | None) -> None:
    for colour, (side, values) in zip(COLOURS, sides.items(), strict=False):
        epochs = np.arange(1, len(values) + 1)
        marker = "o" if len(values) == 1 else None
        axes.plot(epochs, values, color=colour, linewidth=1.8, label=side, marker=marker)
        if best_epoch is not None and best_epoch <= len(values):
            at = (best_epoch, values[best_epoch - 1])
            axes.plot(*at, "o", color=colour, markersize=6, clip_on=False)
    if best_epoch is not None:
        axes.axvline(
            best_epoch, color=QUIET, linewidth=1, linestyle=(0, (2, 3)), label="weights kept"
        )
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(axis="y")
    axes.tick_params(length=0)
    axes.legend(fontsize=9)


def scores_figure(
    scores: Mapping[str, Sequence[float]],
    reported: Mapping[str, float | None],
    *,
    title: str,
    quantity: str,
) -> Figure:
    """Draw scores of several models on one scale: every run, their mean, and what was reported.

    Args:
        scores: of every run of each model; empty for a model that was not run.
        reported: what each model's paper says, where it says something.
        title: heading.
        quantity: what the scale shows, with its unit.
    """
    names = list(scores)
    with style():
        figure = Figure(figsize=(8.6, 1.3 + 0.42 * len(names)), layout="constrained")
        axes = figure.subplots()
        axes.set_title(title, loc="left")
        heights = range(len(names))
        axes.set_yticks(heights, [shortened(name, 48) for name in names])
        for label in axes.get_yticklabels():
            write(label, size=9.5)
        for height, name in zip(heights, names, strict=True):
            runs, paper = scores[name], reported.get(name)
            if runs:
                mean = float(np.mean(runs))
                axes.plot(runs, [height] * len(runs), "o", color=COLOURS[0], alpha=0.35, ms=6)
                axes.plot([mean, mean], [height - 0.28, height + 0.28], color=COLOURS[0], lw=2.5)
            if paper is not None:
                axes.plot(paper, height, "D", color=COLOURS[1], ms=6)
        axes.plot([], [], "o", color=COLOURS[0], alpha=0.35, label="ours, a run each")
        axes.plot([], [], color=COLOURS[0], lw=2.5, label="ours, mean")
        if any(value is not None for value in reported.values()):
            axes.plot([], [], "D", color=COLOURS[1], label="the paper")
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.set_xlabel(quantity)
        axes.grid(axis="x")
        axes.tick_params(length=0)
        axes.spines["left"].set_visible(False)
        figure.legend(fontsize=9, loc="outside lower right", ncols=3)
    return figure


def _fitted(glimpse: FilmstripFrame) -> tuple[float, float]:
    """Width and height of a picture that fills its column, or is as high as a column is wide."""
    height, width, _ = glimpse.picture.shape
    scale = (_COLUMN - 0.06) / max(height, width)
    return width * scale, height * scale


def _headline(strip: Filmstrip) -> str:
    said = f"{_marked(shortened(strip.predicted, 32), strip.right)} {strip.probability:.0%}"
    if strip.right is not False:
        return said
    return f"{said}, truth: {shortened(', '.join(strip.truth), 48)}"


def _marked(text: str, right: bool | None) -> str:
    return text if right is None else f"{'✓' if right else '✗'} {text}"


def _mark_colour(right: bool | None) -> str:
    return INK if right is None else _RIGHT if right else _WRONG
