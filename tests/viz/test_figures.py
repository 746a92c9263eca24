"""Figures for reports show the given data."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from glimpses.viz import (
    confusion_figure,
    curves_figure,
    draw_filmstrip,
    encode_figure,
    filmstrip_figure,
)
from glimpses.viz.fonts import font_for
from tests.viz.clips import grey_clip, model_output

CONFUSION = np.array([[6, 2, 0], [0, 0, 0], [1, 0, 3]])


def test_confusion_is_coloured_by_the_fraction_of_the_true_class() -> None:
    figure = confusion_figure(CONFUSION, ["run", "jump", "a $ or two $"])
    axes = figure.axes[0]

    np.testing.assert_allclose(
        axes.images[0].get_array(), [[0.75, 0.25, 0], [0, 0, 0], [0.25, 0, 0.75]]
    )
    assert [label.get_text() for label in axes.get_yticklabels()] == ["run", "jump", "a $ or two $"]
    counts = {(text.get_position()): text.get_text() for text in axes.texts}
    assert counts == {(0, 0): "6", (1, 0): "2", (0, 2): "1", (2, 2): "3"}


@pytest.mark.parametrize("classes", [1, 2, 100])
def test_any_number_of_classes(classes: int) -> None:
    figure = confusion_figure(
        np.eye(classes, dtype=int), ["a rather long name of a class"] * classes
    )

    with Image.open(io.BytesIO(encode_figure(figure, dpi=72))) as image:
        assert max(image.size) < 2500


def test_the_same_figure_gives_the_same_bytes() -> None:
    for kind in ("png", "svg", "pdf"):
        first, second = (
            encode_figure(confusion_figure(CONFUSION, list("abc")), kind) for _ in range(2)
        )
        assert first == second


def test_curves_are_drawn_unchanged() -> None:
    curves = {
        "training loss": [2.0, 1.0, 0.5],
        "validation loss": [2.1, 1.4, 1.5],
        "validation accuracy": [0.2, 0.6, 0.5],
    }

    figure = curves_figure(curves, best_epoch=2)

    loss, accuracy = figure.axes
    assert (loss.get_title(loc="left"), accuracy.get_title(loc="left")) == ("loss", "accuracy")
    lines = {line.get_label(): line for line in loss.lines}
    assert list(lines["training"].get_xdata()) == [1, 2, 3]
    assert list(lines["validation"].get_ydata()) == [2.1, 1.4, 1.5]
    assert list(lines["weights used"].get_xdata()) == [2, 2]


def test_curves_of_one_epoch_and_with_missing_values() -> None:
    figure = curves_figure({"training loss": [1.0], "validation loss": [float("nan")]})
    values = [list(line.get_ydata()) for line in figure.axes[0].get_lines()]
    assert [1.0] in values
    assert encode_figure(figure).startswith(b"\x89PNG")


def test_a_filmstrip_figure_has_every_frame_and_its_prediction(tmp_path: Path) -> None:
    clip = grey_clip(tmp_path / "clip.mp4", count=6)
    strips = [
        draw_filmstrip(clip, **model_output(steps=6), labels="action 0"),
        draw_filmstrip(clip, **model_output(steps=3), labels="$x$ <b>"),
    ]

    figure = filmstrip_figure(strips)

    assert len(figure.axes) == 6 + 3
    for axes, frame in zip(figure.axes, [*strips[0].frames, *strips[1].frames], strict=True):
        np.testing.assert_array_equal(axes.images[0].get_array(), frame.image)
        assert axes.texts[0].get_text() == f"{'✓' if frame.correct else '✗'} {frame.label}"
    assert "label: $x$ <b>" in figure.texts[1].get_text()
    encode_figure(figure)


def test_characters_missing_in_all_fonts_are_reported_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """U+13000 is an Egyptian hieroglyph, in few fonts; the test holds with and without one."""
    assert font_for("Łódź → Ωмега", bold=True).name == "DejaVuSans-Bold.ttf"
    for text in ("run \U00013000", "walk \U00013000"):
        font = font_for(text)
        assert font.is_file()
        assert not font.name.startswith("LastResort")
    assert len([record for record in caplog.records if "\U00013000" in record.message]) <= 1
