"""Tests of the samplers: newest frame, on time, no needless repeats."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from glimpses import video
from glimpses.live.sampler import SampledFrame, sample_file, sample_live
from glimpses.utils.errors import GlimpsesError
from tests.live.scenes import FakeClock, ScriptedCapture


def sample(
    arrivals: list[float],
    *,
    step_time: float = 0.0,
    fps: video.FrameRate = 10.0,
    rate: float = 25,
) -> tuple[list[SampledFrame], list[float]]:
    """Return the samples, and the age of each frame when it was sampled.

    Args:
        arrivals: arrival time of each frame.
        step_time: seconds the consumer takes for each sample.
        fps: samples per second.
        rate: declared frame rate of the source.
    """
    clock = FakeClock()
    capture = ScriptedCapture(clock, arrivals)
    capture.rate = rate  # type: ignore[assignment]
    samples, ages = [], []
    for item in sample_live(capture, fps, clock, lambda: False):  # type: ignore[arg-type]
        samples.append(item)
        assert item.arrival is not None
        ages.append(clock.now() - item.arrival)
        clock.sleep(step_time)
    return samples, ages


@pytest.mark.parametrize("source_fps", [10, 15, 25, 30, 60])
def test_fast_model_gets_a_frame_every_tenth_of_a_second(source_fps: int) -> None:
    samples, ages = sample([index / source_fps for index in range(5 * source_fps)])
    assert len(samples) in (49, 50, 51)
    assert sum(item.dropped for item in samples) == 0
    np.testing.assert_allclose(np.diff([item.time for item in samples]), 0.1, atol=0.04)
    # Never older than the newest frame.
    assert max(ages) <= 1 / source_fps + 0.01


def test_jitter_causes_no_drops_and_no_repeats() -> None:
    random = np.random.default_rng(0)
    arrivals = np.arange(100) / 10 + random.uniform(0, 0.04, 100)
    samples, _ = sample(arrivals.tolist())
    arrived = [item.arrival for item in samples]
    assert len(set(arrived)) == len(arrived) == 100
    assert sum(item.dropped for item in samples) == 0


def test_slow_model_drops_samples_and_never_falls_behind() -> None:
    samples, ages = sample([index / 25 for index in range(250)], step_time=0.35)
    # 100 samples are due in ten seconds; two of every seven are taken.
    assert 27 <= len(samples) <= 30
    assert len(samples) + sum(item.dropped for item in samples) in range(99, 104)
    # The age does not grow (the last frame has no successor).
    assert max(ages[:-1]) <= 0.05


def test_frames_of_a_slow_source_are_sampled_again() -> None:
    samples, _ = sample([index / 4 for index in range(12)])
    assert len({item.arrival for item in samples}) == 12
    assert len(samples) in range(27, 31)
    assert sum(item.dropped for item in samples) == 0


def test_native_rate_takes_every_frame() -> None:
    samples, _ = sample([index / 25 for index in range(50)], fps="native")
    assert len({item.arrival for item in samples}) == 50


def test_sampler_stops_on_request_and_raises_source_errors() -> None:
    clock = FakeClock()
    capture = ScriptedCapture(clock, [0.0, 0.1, 0.2], fails=True)
    with pytest.raises(GlimpsesError, match="broke off"):
        list(sample_live(capture, 10.0, clock, lambda: False))  # type: ignore[arg-type]
    clock = FakeClock()
    end = clock.now() + 1
    capture = ScriptedCapture(clock, [index / 10 for index in range(1000)])
    samples = list(sample_live(capture, 10.0, clock, lambda: clock.now() > end))  # type: ignore[arg-type]
    assert len(samples) in (10, 11)


def test_fast_file_yields_the_frames_of_prediction(tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    frames = np.random.default_rng(0).integers(0, 256, (50, 32, 48, 3), np.uint8)
    video.write(path, frames, fps=25)
    samples = list(sample_file(path, 10.0, lambda: False))
    assert [item.time for item in samples] == [f.time for f in video.FrameReader(path, fps=10)]
    assert len(samples) == 20
    assert samples[0].frame.size == (48, 32)
