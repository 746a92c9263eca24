"""Reliability diagrams: accuracy by confidence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from glimpses.viz.style import COLOURS, FAINT, QUIET, figure_style

# Area of a marker in square points, for all clips together.
_AREA = 900


def reliability_figure(series: Mapping[str, Sequence[tuple[float, float, int]]]) -> Figure:
    """Draw reliability diagrams over each other.

    Args:
        series: by name, the confidence, accuracy and number of clips of each bin; the last one is
            drawn on top.
    """
    with figure_style():
        figure = Figure(figsize=(4.2, 3.9))
        axes = figure.add_axes((0.15, 0.14, 0.82, 0.82))
        axes.plot([0, 1], [0, 1], color=FAINT, zorder=0)
        axes.annotate(
            "perfect", (0.06, 0.085), rotation=45, color=QUIET, fontsize=8, ha="center", va="bottom"
        )
        colours = [*[QUIET] * (len(series) - 1), COLOURS[0]]
        for (name, bins), colour in zip(series.items(), colours, strict=True):
            confidence, accuracy, clips = zip(*bins, strict=True)
            areas = [max(_AREA * count / sum(clips), 6.0) for count in clips]
            axes.plot(confidence, accuracy, color=colour, linewidth=1.2, label=name)
            axes.scatter(
                confidence, accuracy, areas, color=colour, alpha=0.55, linewidths=0, zorder=3
            )
        axes.set_xlim(0, 1.02)
        axes.set_ylim(-0.02, 1.02)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(PercentFormatter(1))
        axes.set_xlabel("confidence: probability of the predicted class")
        axes.set_ylabel("clips classified correctly")
        if len(series) > 1:
            axes.legend(loc="upper left")
    return figure
