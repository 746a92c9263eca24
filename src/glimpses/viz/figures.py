"""Figures for reports and papers: film strips, confusion matrices, training curves, scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Int
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from glimpses.viz.filmstrip import Filmstrip, FilmstripFrame
from glimpses.viz.style import COLOURS, INK, QUIET, figure_style, style_text, truncate

_CORRECT, _ERROR = "#00795a", "#c2410c"
# Width of a column of frames in inches.
_COLUMN = 1.75


def filmstrip_figure(strips: Sequence[Filmstrip], *, names: Sequence[str] | None = None) -> Figure:
    """Draw film strips below each other, as in Figures 2 and 3 of the paper.

    Each frame has its prediction below, marked and coloured as correct or not. Each row has the
    clip's prediction, its probability and, if it is wrong, the labels above.

    Args:
        strips: at least one.
        names: prefix of each row's title.
    """
    columns = max(len(strip.frames) for strip in strips)
    sizes = [_fit_column(strip.frames[0]) for strip in strips]
    title_height, caption_height = 0.42, 0.30
    total_height = sum(height + title_height + caption_height for _, height in sizes)
    total_width = columns * _COLUMN
    with figure_style():
        figure = Figure(figsize=(total_width, total_height))
        top = total_height
        rows = zip(strips, sizes, names or [""] * len(strips), strict=True)
        for strip, (width, height), name in rows:
            left = (_COLUMN - width) / 2 / total_width
            headline = f"{name}    {_headline(strip)}" if name else _headline(strip)
            title = figure.text(left, (top - 0.28) / total_height, headline)
            style_text(title, size=10.5, weight="bold")
            top -= title_height + height
            for column, frame in enumerate(strip.frames):
                box = (
                    left + column * _COLUMN / total_width,
                    top / total_height,
                    width / total_width,
                    height / total_height,
                )
                axes = figure.add_axes(box)
                axes.imshow(frame.image, aspect="auto", interpolation="lanczos")
                axes.set_axis_off()
                label = _with_mark(truncate(frame.label, 20), frame.correct)
                caption = axes.text(
                    0.5, -0.06 / height, label, transform=axes.transAxes, ha="center", va="top"
                )
                style_text(caption, size=8.5, colour=_mark_colour(frame.correct))
            top -= caption_height
    return figure


def confusion_figure(confusion: Int[np.ndarray, "C C"], classes: Sequence[str]) -> Figure:
    """Draw a confusion matrix, coloured by the fraction of each true class.

    Args:
        confusion: number of clips by true class (row) and predicted class (column).
        classes: names of the actions.
    """
    count = len(classes)
    totals = confusion.sum(axis=1, keepdims=True)
    fraction = np.divide(confusion, totals, out=np.zeros(confusion.shape), where=totals > 0)
    names = [truncate(name, 24) for name in classes]
    cell = float(np.clip(7.0 / count, 0.2, 0.75))
    font_size = 9.5 if count <= 20 else 7.5
    longest = font_size * 0.0088 * max(map(len, names))
    margin = 0.6 + longest
    side = cell * count
    with figure_style():
        figure = Figure(figsize=(margin + side + 1.1, margin + side + 0.35))
        size = figure.get_size_inches()
        axes = figure.add_axes((margin / size[0], margin / size[1], side / size[0], side / size[1]))
        image = axes.imshow(fraction, cmap="Blues", vmin=0, vmax=1)
        axes.set_xticks(range(count), names, rotation=90 if longest > cell else 0)
        axes.set_yticks(range(count), names)
        for label in (*axes.get_xticklabels(), *axes.get_yticklabels()):
            style_text(label, size=font_size)
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
                colour = "white" if fraction[row, column] > 0.5 else INK
                text = str(confusion[row, column])
                axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=9)
        bar_box = ((margin + side + 0.2) / size[0], margin / size[1], 0.12 / size[0])
        bar = figure.colorbar(
            image, cax=figure.add_axes((*bar_box, side / size[1])), format=PercentFormatter(1)
        )
        bar.set_label("fraction of the true class", fontsize=8)
        bar.outline.set_visible(False)
        bar.ax.tick_params(length=0, labelsize=8)
    return figure


def curves_figure(
    curves: Mapping[str, Sequence[float]], *, best_epoch: int | None = None
) -> Figure:
    """Draw training curves: one plot per quantity, one line per subset of the split.

    Args:
        curves: values of each epoch, NaN where not measured. A name is a subset and a quantity:
            `training loss`, `validation loss`, `validation accuracy`.
        best_epoch: the epoch whose weights are used, from 1; marked in every plot.
    """
    quantities: dict[str, dict[str, Sequence[float]]] = {}
    for name, values in curves.items():
        subset, _, quantity = name.rpartition(" ")
        quantities.setdefault(quantity, {})[subset or quantity] = values
    with figure_style():
        figure = Figure(figsize=(4.4 * len(quantities), 3.2), layout="constrained")
        panels = figure.subplots(1, len(quantities), squeeze=False)[0]
        for axes, (quantity, subsets) in zip(panels, quantities.items(), strict=True):
            axes.set_title(quantity)
            _draw_curves(axes, subsets, best_epoch)
            if quantity in {"accuracy", "mAP"}:
                axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
                axes.set_ylim(0, 1.02)
            else:
                axes.set_ylim(bottom=0)
    return figure


def _draw_curves(
    axes: Axes, subsets: Mapping[str, Sequence[float]], best_epoch: int | None
) -> None:
    for colour, (subset, values) in zip(COLOURS, subsets.items(), strict=False):
        epochs = np.arange(1, len(values) + 1)
        marker = "o" if len(values) == 1 else None
        axes.plot(epochs, values, color=colour, linewidth=1.8, label=subset, marker=marker)
        if best_epoch is not None and best_epoch <= len(values):
            best = (best_epoch, values[best_epoch - 1])
            axes.plot(*best, "o", color=colour, markersize=6, clip_on=False)
    if best_epoch is not None:
        axes.axvline(
            best_epoch, color=QUIET, linewidth=1, linestyle=(0, (2, 3)), label="weights used"
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
    """Draw scores of several models on one axis: every run, their mean, and the reported score.

    Args:
        scores: scores of all runs of each model; empty for a model that was not run.
        reported: score of each model in the paper; None if not reported.
        title: title of the figure.
        quantity: label of the axis, with its unit.
    """
    names = list(scores)
    with figure_style():
        figure = Figure(figsize=(8.6, 1.3 + 0.42 * len(names)), layout="constrained")
        axes = figure.subplots()
        axes.set_title(title, loc="left")
        positions = range(len(names))
        axes.set_yticks(positions, [truncate(name, 48) for name in names])
        for label in axes.get_yticklabels():
            style_text(label, size=9.5)
        for y, name in zip(positions, names, strict=True):
            runs, reported_score = scores[name], reported.get(name)
            if runs:
                mean = float(np.mean(runs))
                axes.plot(runs, [y] * len(runs), "o", color=COLOURS[0], alpha=0.35, ms=6)
                axes.plot([mean, mean], [y - 0.28, y + 0.28], color=COLOURS[0], lw=2.5)
            if reported_score is not None:
                axes.plot(reported_score, y, "D", color=COLOURS[1], ms=6)
        axes.plot([], [], "o", color=COLOURS[0], alpha=0.35, label="ours, single runs")
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


def _fit_column(frame: FilmstripFrame) -> tuple[float, float]:
    """Return width and height of a frame whose longer side fits the column width."""
    height, width, _ = frame.image.shape
    scale = (_COLUMN - 0.06) / max(height, width)
    return width * scale, height * scale


def _headline(strip: Filmstrip) -> str:
    headline = f"{_with_mark(truncate(strip.predicted, 32), strip.correct)} {strip.probability:.0%}"
    if strip.correct is not False:
        return headline
    return f"{headline}, label: {truncate(', '.join(strip.labels), 48)}"


def _with_mark(text: str, correct: bool | None) -> str:
    return text if correct is None else f"{'✓' if correct else '✗'} {text}"


def _mark_colour(correct: bool | None) -> str:
    return INK if correct is None else _CORRECT if correct else _ERROR
