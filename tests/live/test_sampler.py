"""Which pictures are looked at: the newest, on time, and none twice without need."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from glimpses import video
from glimpses.live import sampler
from glimpses.utils.errors import GlimpsesError
from tests.live.scenes import Clock, Script


def looked(
    arrivals: list[float], *, takes: float = 0.0, fps: video.FrameRate = 10.0, rate: float = 25
) -> tuple[list[sampler.SampledFrame], list[float]]:
    """What is looked at, and how old each picture was then; every look takes some time."""
    clock = Clock()
    feed = Script(clock, arrivals)
    feed.rate = rate  # type: ignore[assignment]
    looks, ages = [], []
    for look in sampler.live(feed, fps, clock, lambda: False):  # type: ignore[arg-type]
        looks.append(look)
        assert look.arrived is not None
        ages.append(clock.now() - look.arrived)
        clock.sleep(takes)
    return looks, ages


@pytest.mark.parametrize("source", [10, 15, 25, 30, 60])
def test_a_quick_model_sees_a_picture_every_tenth_of_a_second(source: int) -> None:
    looks, ages = looked([number / source for number in range(5 * source)])
    assert len(looks) in (49, 50, 51)
    assert sum(look.missed for look in looks) == 0
    np.testing.assert_allclose(np.diff([look.time for look in looks]), 0.1, atol=0.04)
    # Never older than the newest there is.
    assert max(ages) <= 1 / source + 0.01


def test_jitter_makes_nothing_be_missed_or_seen_twice() -> None:
    random = np.random.default_rng(0)
    arrivals = np.arange(100) / 10 + random.uniform(0, 0.04, 100)
    looks, _ = looked(arrivals.tolist())
    arrived = [look.arrived for look in looks]
    assert len(set(arrived)) == len(arrived) == 100
    assert sum(look.missed for look in looks) == 0


def test_a_slow_model_drops_and_never_falls_behind() -> None:
    looks, ages = looked([number / 25 for number in range(250)], takes=0.35)
    # Ten seconds hold 100 looks; of seven that are due two are made.
    assert 27 <= len(looks) <= 30
    assert len(looks) + sum(look.missed for look in looks) in range(99, 104)
    # However long it goes on, it looks at what came last (the very last has no successor).
    assert max(ages[:-1]) <= 0.05


def test_a_slow_source_is_looked_at_again_as_a_file_would_be() -> None:
    looks, _ = looked([number / 4 for number in range(12)])
    assert len({look.arrived for look in looks}) == 12
    assert len(looks) in range(27, 31)
    assert sum(look.missed for look in looks) == 0


def test_native_takes_what_comes() -> None:
    looks, _ = looked([number / 25 for number in range(50)], fps="native")
    assert len({look.arrived for look in looks}) == 50


def test_it_stops_when_told_and_fails_as_the_source_does() -> None:
    clock = Clock()
    script = Script(clock, [0.0, 0.1, 0.2], breaks=True)
    with pytest.raises(GlimpsesError, match="broke off"):
        list(sampler.live(script, 10.0, clock, lambda: False))  # type: ignore[arg-type]
    clock = Clock()
    end = clock.now() + 1
    script = Script(clock, [number / 10 for number in range(1000)])
    stopped = list(sampler.live(script, 10.0, clock, lambda: clock.now() > end))  # type: ignore[arg-type]
    assert len(stopped) in (10, 11)


def test_a_file_read_fast_gives_what_prediction_reads(tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    frames = np.random.default_rng(0).integers(0, 256, (50, 32, 48, 3), np.uint8)
    video.write(path, frames, fps=25)
    looks = list(sampler.every(path, 10.0, lambda: False))
    assert [look.time for look in looks] == [f.time for f in video.FrameReader(path, fps=10)]
    assert len(looks) == 20
    assert looks[0].picture.size == (48, 32)
