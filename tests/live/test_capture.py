"""Tests of the capture thread: newest frame, arrival times, errors."""

from __future__ import annotations

import gc
from pathlib import Path

import numpy as np
import pytest
from av.video.frame import VideoFrame

from glimpses import video
from glimpses.live.capture import FilePlayback, LatestFrame
from glimpses.utils.errors import GlimpsesError
from tests.live.scenes import FakeClock, FakeSource


def test_only_the_newest_frame_is_kept() -> None:
    source = FakeSource([index / 25 for index in range(500)], stay_open=True)
    with LatestFrame(source, FakeClock(), timeout=None) as capture:
        assert source.exhausted.wait(60)
        latest = capture.latest()
        assert latest is not None
        assert latest.number == 499
        assert not capture.ended
        frames_in_memory = [item for item in gc.get_objects() if type(item) is VideoFrame]
        assert 1 <= len(frames_in_memory) < 5
        source.release.set()


def test_last_frame_is_available_after_the_end() -> None:
    source = FakeSource([0.0, 0.1])
    with LatestFrame(source, FakeClock(), timeout=None) as capture:
        capture._thread.join()
        assert capture.ended
        latest = capture.latest()
        assert latest is not None
        assert latest.number == 1


def test_errors_of_the_source_are_raised_by_latest() -> None:
    source = FakeSource([0.0], error=GlimpsesError("cable: unplugged"))
    with LatestFrame(source, FakeClock(), timeout=None) as capture:
        capture._thread.join()
        with pytest.raises(GlimpsesError, match="cable: unplugged"):
            capture.latest()


def test_blocked_device_times_out() -> None:
    clock, source = FakeClock(), FakeSource([0.0], stay_open=True)
    with LatestFrame(source, clock, timeout=15) as capture:
        assert source.exhausted.wait(60)
        clock.sleep(14.9)
        assert capture.latest() is not None
        clock.sleep(0.2)
        with pytest.raises(GlimpsesError, match="fake: sent no frame for 15 s"):
            capture.latest()
        source.release.set()


def capture_delays(
    timestamps: list[float | None], decoded: list[float]
) -> tuple[list[float], list[bool]]:
    """Return the delay of each frame and `keyframes_only` after it.

    Args:
        timestamps: of the frames, by the source's clock.
        decoded: when each frame leaves the decoder, in seconds from now.
    """
    clock, delays = FakeClock(), []
    start = clock.now()

    def before_frame(index: int) -> None:
        if index:
            latest = capture.latest()
            assert latest is not None
            delays.append(clock.now() - latest.arrival)
        clock.time = start + decoded[index] if index < len(decoded) else clock.time

    # One more frame, so that the delay of the last one is measured, too.
    source = FakeSource([*timestamps, timestamps[-1]], before_frame=before_frame)
    capture = LatestFrame(source, clock, timeout=None)
    with capture:
        capture._thread.join()
    return delays, source.keyframes_only_log


def test_frames_queued_in_the_network_count_as_late() -> None:
    # Sent at 30 frames a second, decoded at 20.
    sent = [index / 30 for index in range(120)]
    delays, keyframes_only = capture_delays(list(sent), [index / 20 for index in range(120)])
    expected = np.arange(120) / 20 - np.array(sent)
    np.testing.assert_allclose(delays, expected, atol=2e-3)
    assert not keyframes_only[20]
    assert keyframes_only[100]


def test_all_frames_are_decoded_again_after_catching_up() -> None:
    sent = [index / 10 for index in range(60)]
    decoded = [time + (2.0 if 2 <= time < 4 else 0.0) for time in sent]
    _, keyframes_only = capture_delays(list(sent), decoded)
    assert keyframes_only[25]
    assert not keyframes_only[-5]


def test_clock_drift_and_restarts_cause_no_delay() -> None:
    # The camera's clock is 100 ppm slow: a third of a second in an hour.
    times = [float(second) for second in range(3600)]
    delays, _ = capture_delays([time * (1 - 1e-4) for time in times], times)
    assert max(delays) < 0.02
    restarted = [*times[:100], *times[:100]]
    delays, _ = capture_delays(list(restarted), times[:200])
    assert max(delays) < 0.02
    delays, _ = capture_delays([None] * 10, times[:10])
    assert max(delays) == 0


def test_file_plays_at_its_own_speed(tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    video.write(path, np.zeros((20, 32, 48, 3), np.uint8), fps=20)
    clock = FakeClock()
    start = clock.now()
    shown = [(time, clock.now() - start) for time, _ in FilePlayback(path, clock).decoded_frames()]
    assert len(shown) == 20
    for time, now in shown:
        assert now == pytest.approx(time, abs=1e-9)
    with pytest.raises(GlimpsesError, match="no such file"):
        FilePlayback(tmp_path / "none.mp4", clock)
