"""Figures of explanations show the given numbers."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from glimpses.evaluation.explanation import Estimate
from glimpses.report.interval_figures import (
    MAP_STYLES,
    ORDER_STYLES,
    bands_figure,
    estimates_figure,
    maps_figure,
    series_styles,
)
from glimpses.viz import encode_figure
from tests.report.example_explanation import curve, estimate, predictions

MISSING = Estimate(np.nan, np.nan, np.nan, 0)


def test_estimates_are_drawn_with_their_intervals() -> None:
    rows = {
        "attention": {"attention": estimate(0.9)},
        "chance level": {"chance level": estimate(0.25, 0.1)},
    }

    figure = estimates_figure(rows, MAP_STYLES, title="a $ and a $", quantity="share")

    (axes,) = figure.axes
    lines = [container.lines for container in axes.containers]
    assert [point.get_xdata()[0] for point, _, _ in lines] == [0.9, 0.25]
    ends = [bars[0].get_segments()[0][:, 0].tolist() for _, _, bars in lines]
    np.testing.assert_allclose(ends, [[0.87, 0.93], [0.15, 0.35]])
    assert [label.get_text() for label in axes.get_yticklabels()] == ["attention", "chance level"]
    assert [text.get_text() for text in axes.texts] == ["90%", "25%"]
    assert figure.get_suptitle() == "a $ and a $"


def test_a_legend_names_several_series_except_the_row_itself() -> None:
    models = ["[b] :smile:", "other"]
    rows = {
        name: {name: estimate(0.5), "chance level": estimate(0.2), "Grad-CAM": MISSING}
        for name in models
    }

    figure = estimates_figure(rows, {**MAP_STYLES, **series_styles(models)}, title="", quantity="")

    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        "chance level",
        "Grad-CAM",
    ]
    heights = [container.lines[0].get_ydata()[0] for container in figure.axes[0].containers]
    assert len(set(heights)) == len(heights)
    encode_figure(figure)


def test_curves_are_drawn_with_their_bands() -> None:
    curves = {"random": curve([0.9, 0.5, 0.1], [0, 0.5, 1], half=0.1)}

    figure = bands_figure(
        curves, ORDER_STYLES, title="", x_label="fraction removed", x_percent=True
    )

    (axes,) = figure.axes
    (line,) = axes.lines
    np.testing.assert_allclose(line.get_xydata(), [[0, 0.9], [0.5, 0.5], [1, 0.1]])
    band = axes.collections[0].get_paths()[0].vertices
    for x, low, high in [(0, 0.8, 1.0), (0.5, 0.4, 0.6), (1, 0.0, 0.2)]:
        edge = band[band[:, 0] == x][:, 1]
        np.testing.assert_allclose([edge.min(), edge.max()], [low, high], atol=1e-12)
    assert not figure.legends


def test_maps_are_drawn_unchanged_on_one_scale() -> None:
    maps = predictions(1)[0].attention

    figure = maps_figure([maps, maps[:3]], ["[b] $x$ :smile:.avi", "短い"], title="Attention")

    assert len(figure.axes) == 8 + 3
    for axes, step in zip(figure.axes, [*maps, *maps[:3]], strict=True):
        np.testing.assert_array_equal(axes.images[0].get_array(), step)
    assert len({axes.images[0].get_clim() for axes in figure.axes}) == 1
    encode_figure(figure)


def test_every_model_has_its_own_style() -> None:
    styles = series_styles([str(number) for number in range(16)])

    assert len(set(styles.values())) == 16
    assert len({style.colour for style in list(styles.values())[:8]}) == 8


def test_a_hundred_classes_fit() -> None:
    rows = {f"a rather long name {number}": {"attention": estimate(0.5)} for number in range(101)}

    with Image.open(
        io.BytesIO(encode_figure(estimates_figure(rows, MAP_STYLES, title="", quantity="")))
    ) as picture:
        assert picture.width < 900
