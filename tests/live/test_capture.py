"""A feed keeps the newest picture, knows how late it is, and tells what went wrong."""

from __future__ import annotations

import gc
from pathlib import Path

import numpy as np
import pytest
from av.video.frame import VideoFrame

from glimpses import video
from glimpses.live.capture import FilePlayback, LatestFrame
from glimpses.utils.errors import GlimpsesError
from tests.live.scenes import Clock, Told


def test_only_the_newest_picture_is_kept() -> None:
    source = Told([number / 25 for number in range(500)], stays=True)
    with LatestFrame(source, Clock(), patience=None) as feed:
        assert source.given.wait(60)
        newest = feed.newest()
        assert newest is not None
        assert newest.number == 499
        assert not feed.ended
        held = [each for each in gc.get_objects() if type(each) is VideoFrame]
        assert 1 <= len(held) < 5
        source.go.set()


def test_the_end_is_told_after_the_last_picture() -> None:
    source = Told([0.0, 0.1])
    with LatestFrame(source, Clock(), patience=None) as feed:
        feed._thread.join()
        assert feed.ended
        newest = feed.newest()
        assert newest is not None
        assert newest.number == 1


def test_what_went_wrong_is_for_whoever_asks() -> None:
    source = Told([0.0], error=GlimpsesError("cable: pulled"))
    with LatestFrame(source, Clock(), patience=None) as feed:
        feed._thread.join()
        with pytest.raises(GlimpsesError, match="cable: pulled"):
            feed.newest()


def test_a_device_that_blocks_is_given_up() -> None:
    clock, source = Clock(), Told([0.0], stays=True)
    with LatestFrame(source, clock, patience=15) as feed:
        assert source.given.wait(60)
        clock.sleep(14.9)
        assert feed.newest() is not None
        clock.sleep(0.2)
        with pytest.raises(GlimpsesError, match="told: sent no picture for 15 s"):
            feed.newest()
        source.go.set()


def arrivals(stamps: list[float | None], handed: list[float]) -> tuple[list[float], list[bool]]:
    """How late a feed finds pictures that are handed to it at some times; whether it hurried."""
    clock, lateness = Clock(), []
    begin = clock.now()

    def hand(number: int) -> None:
        if number:
            newest = feed.newest()
            assert newest is not None
            lateness.append(clock.now() - newest.arrived)
        clock.time = begin + handed[number] if number < len(handed) else clock.time

    # One more, so that the last is measured, too.
    source = Told([*stamps, stamps[-1]], between=hand)
    feed = LatestFrame(source, clock, patience=None)
    with feed:
        feed._thread.join()
    return lateness, source.hurried


def test_pictures_that_queue_in_the_network_are_known_to_be_late() -> None:
    # Sent at 30 a second, decoded at 20.
    sent = [number / 30 for number in range(120)]
    lateness, hurried = arrivals(list(sent), [number / 20 for number in range(120)])
    truth = np.arange(120) / 20 - np.array(sent)
    np.testing.assert_allclose(lateness, truth, atol=2e-3)
    assert not hurried[20]
    assert hurried[100]


def test_it_stops_hurrying_once_it_has_caught_up() -> None:
    sent = [number / 10 for number in range(60)]
    late = [time + (2.0 if 2 <= time < 4 else 0.0) for time in sent]
    _, hurried = arrivals(list(sent), late)
    assert hurried[25]
    assert not hurried[-5]


def test_clocks_that_drift_apart_are_no_delay_and_a_stream_may_begin_anew() -> None:
    # The camera's clock goes 100 parts in a million slow: a third of a second in an hour.
    times = [float(second) for second in range(3600)]
    lateness, _ = arrivals([time * (1 - 1e-4) for time in times], times)
    assert max(lateness) < 0.02
    again = [*times[:100], *times[:100]]
    lateness, _ = arrivals(list(again), times[:200])
    assert max(lateness) < 0.02
    lateness, _ = arrivals([None] * 10, times[:10])
    assert max(lateness) == 0


def test_a_file_plays_at_its_own_speed(tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    video.write(path, np.zeros((20, 32, 48, 3), np.uint8), fps=20)
    clock = Clock()
    begin = clock.now()
    shown = [(time, clock.now() - begin) for time, _ in FilePlayback(path, clock).pictures()]
    assert len(shown) == 20
    for time, now in shown:
        assert now == pytest.approx(time, abs=1e-9)
    with pytest.raises(GlimpsesError, match="no such file"):
        FilePlayback(tmp_path / "none.mp4", clock)
