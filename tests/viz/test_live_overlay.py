"""The picture of a stream: rows that keep their colour, light that changes slowly."""

from __future__ import annotations

import numpy as np
import pytest

from glimpses.viz import LiveOverlay, heatmap_scale
from glimpses.viz.heatmap import RunningScale
from glimpses.viz.live_overlay import LivePanel

COLOURS = ((86, 180, 233), (230, 159, 0), (240, 228, 66), (204, 121, 167))


def bars(panel: LivePanel, time: float, probabilities: list[float]) -> list[int]:
    """Length of the bar of each colour."""
    image = np.asarray(panel.draw(time, np.array(probabilities)))
    return [int((image[:, :195] == colour).all(2).sum(1).max()) for colour in COLOURS]


def test_bars_are_as_long_as_probabilities() -> None:
    panel = LivePanel(480, 1.0, ["a", "b"])
    first, second, *_ = bars(panel, 0.0, [0.75, 0.25])
    assert first == pytest.approx(3 * second, abs=3)


def test_a_class_keeps_its_row_while_it_is_among_the_likeliest() -> None:
    panel = LivePanel(480, 1.0, list("abcdef"))
    before = bars(panel, 0.0, [0.5, 0.2, 0.2, 0.1, 0, 0])
    after = bars(panel, 0.1, [0.1, 0.2, 0.2, 0.5, 0, 0])
    assert after[0] == pytest.approx(before[3], abs=1)
    assert after[3] == pytest.approx(before[0], abs=1)
    # A class that leads is shown at once, in the row of the least likely; the others stay.
    led = bars(panel, 0.2, [0.1, 0.12, 0.03, 0.0, 0.0, 0.75])
    assert sorted(led)[-1] > 1.3 * before[0]
    assert led[0] == pytest.approx(after[0], abs=1)


def test_what_is_long_past_is_forgotten() -> None:
    panel = LivePanel(480, 1.0, ["a", "b"])
    for step in range(60):
        panel.draw(step * 0.5, np.array([0.5, 0.5]))
    fresh = LivePanel(480, 1.0, ["a", "b"])
    for step in range(21):
        fresh.draw(step * 0.5, np.array([0.5, 0.5]))
    late = np.asarray(panel.draw(30.0, np.array([0.5, 0.5])))
    np.testing.assert_array_equal(late, np.asarray(fresh.draw(10.5, np.array([0.5, 0.5]))))


def test_light_is_that_of_the_last_steps() -> None:
    random = np.random.default_rng(0)
    attention = random.dirichlet(np.full(49, 0.05), 30).reshape(30, 7, 7)
    light = RunningScale(10)
    for step in range(30):
        assert light(attention[step]) == pytest.approx(
            heatmap_scale(attention[max(0, step - 9) : step + 1])
        )


def test_every_picture_has_one_size_and_is_brightest_where_it_is_looked_at() -> None:
    overlay = LiveOverlay((101, 67), ["a", "b", "c"])
    width, height = overlay.size
    assert width / height == pytest.approx(101 / 67, rel=0.01)
    frame = np.full((height, width, 3), 120, np.uint8)
    shapes = set()
    for step, place in enumerate((0, 3, 15)):
        attention = np.zeros(16)
        attention[place] = 1
        drawn = overlay.draw(
            frame,
            time=step / 10,
            probabilities=np.array([0.2, 0.3, 0.5]),
            attention=attention.reshape(4, 4),
            aside="0.05 s behind live",
        )
        shapes.add(drawn.shape)
        left = (drawn.shape[1] - width) // 2
        seen = drawn[:height, left : left + width].astype(float).mean(2)
        row, column = np.unravel_index(seen.argmax(), seen.shape)
        assert (row * 4 // height, column * 4 // width) == divmod(place, 4)
    assert len(shapes) == 1
    plain = overlay.draw(frame, time=1.0, probabilities=np.ones(3) / 3, attention=None)
    left = (plain.shape[1] - width) // 2
    np.testing.assert_array_equal(plain[:height, left : left + width], frame)
