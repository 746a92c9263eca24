"""Overlay of a stream: classes keep their colour, and brightness changes slowly."""

from __future__ import annotations

import numpy as np
import pytest

from glimpses.viz import LiveOverlay, heatmap_scale
from glimpses.viz.heatmap import RunningHeatmapScale
from glimpses.viz.live_overlay import LivePanel

COLOURS = ((86, 180, 233), (230, 159, 0), (240, 228, 66), (204, 121, 167))


def bars(panel: LivePanel, time: float, probabilities: list[float]) -> list[int]:
    """Return the length of the bar of each colour."""
    image = np.asarray(panel.draw(time, np.array(probabilities)))
    return [int((image[:, :195] == colour).all(2).sum(1).max()) for colour in COLOURS]


def test_bar_lengths_are_proportional_to_probabilities() -> None:
    panel = LivePanel(480, 1.0, ["a", "b"])
    first, second, *_ = bars(panel, 0.0, [0.75, 0.25])
    assert first == pytest.approx(3 * second, abs=3)


def test_a_class_keeps_its_row_while_it_is_among_the_likeliest() -> None:
    panel = LivePanel(480, 1.0, list("abcdef"))
    before = bars(panel, 0.0, [0.5, 0.2, 0.2, 0.1, 0, 0])
    after = bars(panel, 0.1, [0.1, 0.2, 0.2, 0.5, 0, 0])
    assert after[0] == pytest.approx(before[3], abs=1)
    assert after[3] == pytest.approx(before[0], abs=1)
    # A new leading class replaces the least likely one at once; the others stay.
    new = bars(panel, 0.2, [0.1, 0.12, 0.03, 0.0, 0.0, 0.75])
    assert sorted(new)[-1] > 1.3 * before[0]
    assert new[0] == pytest.approx(after[0], abs=1)


def test_old_steps_are_forgotten() -> None:
    panel = LivePanel(480, 1.0, ["a", "b"])
    for step in range(60):
        panel.draw(step * 0.5, np.array([0.5, 0.5]))
    fresh = LivePanel(480, 1.0, ["a", "b"])
    for step in range(21):
        fresh.draw(step * 0.5, np.array([0.5, 0.5]))
    late = np.asarray(panel.draw(30.0, np.array([0.5, 0.5])))
    np.testing.assert_array_equal(late, np.asarray(fresh.draw(10.5, np.array([0.5, 0.5]))))


def test_the_running_scale_is_that_of_the_last_steps() -> None:
    random = np.random.default_rng(0)
    attention = random.dirichlet(np.full(49, 0.05), 30).reshape(30, 7, 7)
    scale = RunningHeatmapScale(10)
    for step in range(30):
        assert scale.update(attention[step]) == pytest.approx(
            heatmap_scale(attention[max(0, step - 9) : step + 1])
        )


def test_frames_have_one_size_and_are_brightest_at_the_attended_place() -> None:
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
        frame_light = drawn[:height, left : left + width].astype(float).mean(2)
        row, column = np.unravel_index(frame_light.argmax(), frame_light.shape)
        assert (row * 4 // height, column * 4 // width) == divmod(place, 4)
    assert len(shapes) == 1
    plain = overlay.draw(frame, time=1.0, probabilities=np.ones(3) / 3, attention=None)
    left = (plain.shape[1] - width) // 2
    np.testing.assert_array_equal(plain[:height, left : left + width], frame)
