"""The panel below overlays: position of the playhead and lengths of the bars."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from glimpses.viz.panel_layout import ClipPanel

# The leading class is blue, the last of those shown purple.
FIRST, LAST = (86, 180, 233), (204, 121, 167)


def panel(
    step_probabilities: np.ndarray, labels: tuple[str, ...] = (), scale: float = 1
) -> ClipPanel:
    steps, classes = step_probabilities.shape
    return ClipPanel(
        480,
        scale,
        times=np.arange(steps) / 10,
        step_probabilities=step_probabilities,
        probabilities=step_probabilities.mean(axis=0),
        classes=[f"class {number}" for number in range(classes)],
        labels=labels,
        duration=steps / 10,
    )


def playhead(image: Image.Image) -> int:
    """Return the column with the most ink-coloured pixels right of the list."""
    ink = np.asarray(image)[:, 220:].min(axis=2) > 230
    return 220 + int(ink.sum(axis=0).argmax())


def bar(image: Image.Image, colour: tuple[int, int, int]) -> int:
    """Return the length of the bar of a colour in the list."""
    return int((np.asarray(image)[:, :205] == colour).all(axis=2).sum(axis=1).max())


def test_the_playhead_moves_evenly() -> None:
    steady = panel(np.full((40, 3), 1 / 3))

    columns = np.diff([playhead(steady.draw(time)) for time in (0, 1, 2, 3, 4)])

    assert columns.min() > 40
    assert np.ptp(columns) <= 1


def test_bar_lengths_are_proportional_to_probabilities() -> None:
    leading = np.linspace(0.5, 1, 11)
    shown = panel(np.stack([leading, 1 - leading], axis=1))
    full = bar(shown.draw(1.0), FIRST)

    assert bar(shown.draw(0.0), FIRST) == pytest.approx(full / 2, abs=1)
    assert bar(shown.draw(0.5), FIRST) == pytest.approx(full * 0.75, abs=1)
    # Half way between two steps.
    assert bar(shown.draw(0.55), FIRST) == pytest.approx(full * 0.775, abs=1)


def test_the_true_class_is_shown_even_when_it_comes_last() -> None:
    probabilities = np.full((10, 100), 0.01)
    probabilities[:, 77] = 0.001

    labelled, unlabelled = panel(probabilities, ("class 77",)), panel(probabilities)

    assert bar(unlabelled.draw(0.0), LAST) > bar(labelled.draw(0.0), LAST)


def test_an_hour_of_steps_is_averaged() -> None:
    """Values alternating between 0 and 1 are drawn as a level line at 1/2, not as a solid block."""
    alternating = np.tile([[0.0, 1.0], [1.0, 0.0]], (18_000, 1))

    drawn = np.asarray(panel(alternating).draw(0.0))[:, 250:460]

    coloured = np.ptp(drawn.astype(int), axis=2) > 60
    assert coloured.any(axis=0).mean() > 0.95
    assert coloured.sum(axis=0).max() < 12


@pytest.mark.parametrize("scale", [1, 1.7])
def test_hostile_and_long_names_stay_inside(scale: float) -> None:
    names = ["<b>&amp;$\\alpha$</b>" * 20, "𓀀 hieroglyph", "", "two\nlines"]
    for labels in ((), (names[0],), tuple(names)):
        hostile = ClipPanel(
            480,
            scale,
            times=np.zeros(1),
            step_probabilities=np.full((1, 4), 0.25),
            probabilities=np.full(4, 0.25),
            classes=names,
            labels=labels,
            duration=0.04,
        )
        edge = np.asarray(hostile.draw(0.0))[:, -4:]
        assert (edge == edge[0, 0]).all()
