"""Figures of explanations hold what they were given."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from glimpses.evaluation.explanation import Estimate
from glimpses.report.interval_figures import (
    MAPS,
    ORDERS,
    dots_figure,
    heat_figure,
    lines_figure,
    series_styles,
)
from glimpses.viz import encode
from tests.evaluation.made import curve, estimate, predictions

NOTHING = Estimate(np.nan, np.nan, np.nan, 0)


def test_estimates_stand_where_they_are_with_their_intervals() -> None:
    rows = {"attention": {"attention": estimate(0.9)}, "chance": {"chance": estimate(0.25, 0.1)}}

    figure = dots_figure(rows, MAPS, title="a $ and a $", quantity="share")

    (axes,) = figure.axes
    drawn = [container.lines for container in axes.containers]
    assert [point.get_xdata()[0] for point, _, _ in drawn] == [0.9, 0.25]
    ends = [bars[0].get_segments()[0][:, 0].tolist() for _, _, bars in drawn]
    np.testing.assert_allclose(ends, [[0.87, 0.93], [0.15, 0.35]])
    assert [label.get_text() for label in axes.get_yticklabels()] == ["attention", "chance"]
    assert [text.get_text() for text in axes.texts] == ["90%", "25%"]
    assert figure.get_suptitle() == "a $ and a $"


def test_several_in_a_row_are_told_by_a_legend_but_for_the_row_itself() -> None:
    models = ["[b] :smile:", "other"]
    rows = {
        name: {name: estimate(0.5), "chance": estimate(0.2), "Grad-CAM": NOTHING} for name in models
    }

    figure = dots_figure(rows, {**MAPS, **series_styles(models)}, title="", quantity="")

    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["chance", "Grad-CAM"]
    heights = [container.lines[0].get_ydata()[0] for container in figure.axes[0].containers]
    assert len(set(heights)) == len(heights)
    encode(figure)


def test_curves_have_their_bands() -> None:
    curves = {"random": curve([0.9, 0.5, 0.1], [0, 0.5, 1], half=0.1)}

    figure = lines_figure(curves, ORDERS, title="", across="share removed", shares=True)

    (axes,) = figure.axes
    (line,) = axes.lines
    np.testing.assert_allclose(line.get_xydata(), [[0, 0.9], [0.5, 0.5], [1, 0.1]])
    band = axes.collections[0].get_paths()[0].vertices
    for x, low, high in [(0, 0.8, 1.0), (0.5, 0.4, 0.6), (1, 0.0, 0.2)]:
        at = band[band[:, 0] == x][:, 1]
        np.testing.assert_allclose([at.min(), at.max()], [low, high], atol=1e-12)
    assert not figure.legends


def test_heat_maps_are_drawn_as_they_are_on_one_scale() -> None:
    maps = predictions(1)[0].attention

    figure = heat_figure([maps, maps[:3]], ["[b] $x$ :smile:.avi", "短い"], title="Attention")

    assert len(figure.axes) == 8 + 3
    for axes, step in zip(figure.axes, [*maps, *maps[:3]], strict=True):
        np.testing.assert_array_equal(axes.images[0].get_array(), step)
    assert len({axes.images[0].get_clim() for axes in figure.axes}) == 1
    encode(figure)


def test_every_model_has_a_look_of_its_own() -> None:
    looks = series_styles([str(number) for number in range(16)])

    assert len(set(looks.values())) == 16
    assert len({look.colour for look in list(looks.values())[:8]}) == 8


def test_a_hundred_classes_fit() -> None:
    rows = {f"a rather long name {number}": {"attention": estimate(0.5)} for number in range(101)}

    with Image.open(io.BytesIO(encode(dots_figure(rows, MAPS, title="", quantity="")))) as picture:
        assert picture.width < 900
