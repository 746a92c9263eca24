"""Tests of the live recogniser: drawing, statistics, errors."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from glimpses import video
from glimpses.live.live_recogniser import LiveRecogniser
from glimpses.live.sampler import SampledFrame
from glimpses.utils.errors import GlimpsesError
from tests.fakes import make_recogniser
from tests.live.scenes import FakeClock, grey_frame


class FakeScreen:
    """Screen that records the pictures."""

    def __init__(self) -> None:
        self.pictures: list[np.ndarray] = []

    def show(self, picture: np.ndarray) -> None:
        self.pictures.append(picture)


def make_live(clock: FakeClock, **options: object) -> LiveRecogniser:
    return LiveRecogniser(make_recogniser(), "script", clock, **options)  # type: ignore[arg-type]


def test_dropped_samples_are_counted_and_the_video_keeps_its_speed() -> None:
    clock = FakeClock()
    start = clock.now()
    samples = [
        SampledFrame(grey_frame(index), time, start + time, dropped)
        for index, (time, dropped) in enumerate([(0.0, 0), (0.1, 0), (0.5, 3), (0.6, 0)])
    ]

    def play() -> Iterator[SampledFrame]:
        for sample in samples:
            clock.time = start + sample.time + 0.07
            yield sample

    live = make_live(clock, draw=True)
    pictures = list(live.process(play()))
    assert len(pictures) == 7
    repeated = [np.array_equal(a, b) for a, b in pairwise(pictures)]
    # The second picture is repeated for the three samples dropped after it.
    assert repeated == [False, True, True, True, False, False]
    stats = live.finish(None)
    assert stats is not None
    assert (stats.frames, stats.dropped, stats.delay) == (4, 3, (0.07, 0.07))
    assert "4 frames in 0.6 s, 3 dropped; delay 0.07 s (median)" in str(stats)


def test_screen_shows_the_processed_frames() -> None:
    screen, clock = FakeScreen(), FakeClock()
    frames = [grey_frame(grey, 640, 480) for grey in (40, 200, 90)]
    samples = iter([SampledFrame(frame, k / 10, clock.now(), 0) for k, frame in enumerate(frames)])
    list(make_live(clock, screen=screen).process(samples))
    # The heat map darkens and warms a picture, but keeps the order of brightness.
    brightness = [picture[:480].mean() for picture in screen.pictures]
    assert np.argsort(brightness).tolist() == [0, 2, 1]
    assert {picture.shape for picture in screen.pictures} == {screen.pictures[0].shape}


def failing_samples(count: int, clock: FakeClock) -> Iterator[SampledFrame]:
    for index in range(count):
        yield SampledFrame(grey_frame(index), index / 10, clock.now(), 0)
    raise GlimpsesError("script: broke off")


def test_video_is_kept_when_the_source_breaks_off(tmp_path: Path) -> None:
    clock = FakeClock()
    live = make_live(clock, draw=True)
    out = tmp_path / "seen.mp4"
    video.write(out, live.process(failing_samples(3, clock)), fps=10)
    assert video.examine(out).frames == 3
    with pytest.raises(GlimpsesError, match=r"script: broke off; .*seen\.mp4 holds the 3 frames"):
        live.finish(out)
    with pytest.raises(GlimpsesError, match="script: broke off"):
        next(make_live(clock).process(failing_samples(0, clock)))
