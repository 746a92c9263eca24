"""The timeline of segments below overlay videos: colours at their times, playhead, rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from glimpses import video, viz
from glimpses.segments import Segment
from glimpses.viz.panel_layout import COLOURS, INK
from glimpses.viz.segment_panel import SegmentPanel


def segment(label: str, start: float, end: float) -> Segment:
    return Segment(file="a.mp4", start=start, end=end, label=label, score=0.8)


SEGMENTS = [segment("run", 10, 20), segment("sit", 15, 30), segment("run", 70, 80)]


def shares(pixels: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """Return whether each column has a colour."""
    return (pixels == colour).all(-1).any(0)


def test_segments_are_drawn_at_their_times() -> None:
    panel = SegmentPanel(1000, 1.0, segments=SEGMENTS, duration=100)
    pixels = np.asarray(panel.draw(99))
    assert pixels.shape == (panel.height, 1000, 3)
    # The timeline is from 280 to 984.
    at = (np.arange(1000) - 280) / 704 * 100
    for row, spans in ((0, [(10, 20), (70, 80)]), (1, [(15, 30)])):
        drawn = shares(pixels, COLOURS[row])
        for start, end in spans:
            assert drawn[(at > start + 0.3) & (at < end - 0.5)].all()
        assert drawn.sum() == pytest.approx(sum(end - start for start, end in spans) * 7.04, abs=5)


@pytest.mark.parametrize("time", [0.0, 25.0, 50.0, 100.0])
def test_the_playhead_is_at_the_present(time: float) -> None:
    panel = SegmentPanel(1000, 1.0, segments=SEGMENTS, duration=100)
    pixels = np.asarray(panel.draw(time))[55]
    columns = np.flatnonzero((pixels[280:] == INK).all(-1)) + 280
    assert columns.mean() == pytest.approx(280 + 7.04 * time, abs=1.5)


def test_the_header_changes_with_the_segments() -> None:
    panel = SegmentPanel(1000, 1.0, segments=SEGMENTS, duration=100)
    # Left of the time.
    headers = [np.asarray(panel.draw(time))[:40, :700].tobytes() for time in (5, 12, 17, 25, 40)]
    assert headers[0] == headers[4]
    assert len(set(headers)) == 4


@pytest.mark.parametrize("count", [0, 1, 30])
def test_any_number_of_classes_fits(count: int) -> None:
    segments = [segment(f"class {index}", index, index + 2) for index in range(count)]
    panel = SegmentPanel(480, 1.0, segments=segments, duration=0)
    assert panel.draw(1).size == (480, panel.height)
    assert panel.height < 250


def test_the_video_keeps_its_length(tmp_path: Path) -> None:
    path, out = tmp_path / "a.mp4", tmp_path / "out.mp4"
    video.write(path, np.full((30, 48, 64, 3), 99, np.uint8), fps=10)
    times = np.arange(30) / 10
    attention = np.full((30, 2, 2), 0.25)
    viz.draw_segments(
        path, out, segments=[segment("run", 1, 2)], times=times, attention=attention
    )  # fmt: skip
    assert video.examine(out).frames == 30
    frames = [frame.pixels for frame in video.FrameReader(out, fps=10, size=(64, 64))]
    # The panel of the second frame differs from that of the one in the segment.
    assert len({frames[0][50:].tobytes(), frames[15][50:].tobytes()}) == 2
