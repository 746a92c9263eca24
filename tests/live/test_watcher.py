"""What is watched is what the stream says, drawn, counted and printed; whatever happens."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from glimpses import Recogniser, backbones, cli, runs, video
from glimpses.live import LiveStats, session, watch
from glimpses.live.sampler import SampledFrame
from glimpses.live.watcher import LiveRecogniser
from glimpses.utils.errors import GlimpsesError
from tests.fakes import GreyBackbone, make_recogniser
from tests.live.scenes import Clock, picture


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two and a half seconds, 25 frames a second, not square."""
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    frames = np.zeros((62, 48, 64, 3), np.uint8)
    for number, frame in enumerate(frames):
        frame[:, number : number + 8] = 220
    video.write(path, frames, fps=25)
    return path


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(backbones, "load", lambda *_, **__: GreyBackbone())
    made = make_recogniser()
    runs.write_config(tmp_path / "run", made.config)
    runs.save_model(tmp_path / "run", made.model)
    return tmp_path / "run"


class Shown:
    """A screen that remembers."""

    def __init__(self) -> None:
        self.pictures: list[np.ndarray] = []

    def show(self, picture: np.ndarray) -> None:
        self.pictures.append(picture)


def watcher(clock: Clock, **options: object) -> LiveRecogniser:
    return LiveRecogniser(make_recogniser(), "script", clock, **options)  # type: ignore[arg-type]


def test_a_file_read_fast_says_what_the_stream_says(
    run: Path, film: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "seen.mp4"
    assert cli.run(["watch", str(run), str(film), "--fast", "--lines", "--out", str(out)]) == 0
    *lines, last = map(json.loads, capsys.readouterr().out.splitlines())
    recogniser = Recogniser.load(run)
    stream = recogniser.stream()
    frames = list(video.FrameReader(film, fps=10, size=32))
    assert len(lines) == len(frames) == 25
    for line, frame in zip(lines, frames, strict=True):
        step = stream(frame.pixels)
        assert line["label"] == step.label
        np.testing.assert_allclose(list(line["probabilities"].values()), step.probabilities,
                                   atol=1e-5)  # fmt: skip
        np.testing.assert_allclose(line["attention"], step.attention, atol=1e-5)
        assert line["time"] == pytest.approx(frame.time, abs=1e-3)
        assert line["behind"] is None
    assert last["watched"] == {"source": str(film), "steps": 25, "dropped": 0, "seconds": 2.4,
                               "behind": None, "out": str(out)}  # fmt: skip
    written = video.probe(out)
    assert written.seconds == pytest.approx(2.5)
    assert written.fps == 10


def test_dropped_looks_are_counted_and_the_film_keeps_its_speed() -> None:
    clock = Clock()
    begin = clock.now()
    looks = [
        SampledFrame(picture(number), time, begin + time, missed)
        for number, (time, missed) in enumerate([(0.0, 0), (0.1, 0), (0.5, 3), (0.6, 0)])
    ]

    def play() -> Iterator[SampledFrame]:
        for look in looks:
            clock.time = begin + look.time + 0.07
            yield look

    own = watcher(clock, draws=True)
    drawn = list(own.watch(play()))
    assert len(drawn) == 7
    same = [np.array_equal(a, b) for a, b in pairwise(drawn)]
    # The second picture stands for what was dropped after it.
    assert same == [False, True, True, True, False, False]
    done = own.finish(None)
    assert done is not None
    assert (done.steps, done.dropped, done.behind) == (4, 3, (0.07, 0.07))
    assert "4 frames in 0.6 s, 3 dropped; 0.07 s behind live" in str(done)


def test_the_screen_sees_the_frame_that_was_looked_at() -> None:
    screen, clock = Shown(), Clock()
    pictures = [picture(grey, 640, 480) for grey in (40, 200, 90)]
    looks = iter([SampledFrame(each, k / 10, clock.now(), 0) for k, each in enumerate(pictures)])
    list(watcher(clock, screen=screen).watch(looks))
    # Without attention a picture is left as it is; with it, it only gets darker and warmer.
    light = [shown[:480].mean() for shown in screen.pictures]
    assert np.argsort(light).tolist() == [0, 2, 1]
    assert {shown.shape for shown in screen.pictures} == {screen.pictures[0].shape}


def breaking(count: int, clock: Clock) -> Iterator[SampledFrame]:
    for number in range(count):
        yield SampledFrame(picture(number), number / 10, clock.now(), 0)
    raise GlimpsesError("script: broke off")


def test_what_breaks_off_is_kept_and_told(tmp_path: Path) -> None:
    clock = Clock()
    own = watcher(clock, draws=True)
    out = tmp_path / "seen.mp4"
    video.write(out, own.watch(breaking(3, clock)), fps=10)
    assert video.examine(out).frames == 3
    with pytest.raises(GlimpsesError, match=r"script: broke off; .*seen\.mp4 has the 3 frames"):
        own.finish(out)
    with pytest.raises(GlimpsesError, match="script: broke off"):
        next(watcher(clock).watch(breaking(0, clock)))


def test_ctrl_c_is_the_way_to_end(run: Path, film: Path, tmp_path: Path,
                                  monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    before, read = signal.getsignal(signal.SIGINT), LiveRecogniser._report

    def press(self: LiveRecogniser, look: SampledFrame, step: object) -> None:
        read(self, look, step)  # type: ignore[arg-type]
        if self._steps == 7:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(LiveRecogniser, "_report", press)
    out = tmp_path / "seen.mp4"
    done = watch(run, film, fast=True, out=out)
    assert isinstance(done, LiveStats)
    assert done.steps == 7
    assert video.examine(out).frames == 7
    assert signal.getsignal(signal.SIGINT) is before


def test_a_file_may_stand_still_for_long_and_a_stream_may_not(
    run: Path, film: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    feeds = []

    class LatestFrame:
        def __init__(self, source: object, clock: object, *, patience: float | None) -> None:
            feeds.append((source, patience))

        def __enter__(self) -> None:
            return None

        def __exit__(self, *_: object) -> None:
            return None

    looks = [SampledFrame(picture(k), k / 10, None, 0) for k in range(5)]
    monkeypatch.setattr(session, "LatestFrame", LatestFrame)
    monkeypatch.setattr(session, "live", lambda *_: iter(looks))
    done = watch(run, film)
    assert isinstance(done, LiveStats)
    assert done.steps == 5
    ((source, patience),) = feeds
    assert (source.name, patience) == (str(film), None)  # type: ignore[attr-defined]
    watch(run, url="http://127.0.0.1:1/x")
    assert feeds[1][1] is not None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "one thing can be watched"),
        (["FILM", "--camera", "0"], "one thing can be watched"),
        (["--camera", "0", "--url", "rtsp://h/x"], "one thing can be watched"),
        (["--url", "rtsp://h/x", "--fast"], "--fast: is for files"),
        (["FILM", "--out", "seen.avi"], "give --out a name ending in .mp4"),
        (["FILM", "--out", "FILM"], "is the video itself"),
        (["none.mp4"], "none.mp4: no such file"),
        (["--url", "FILM"], "--url: takes an address"),
    ],
)
def test_bad_requests_are_one_line(
    arguments: list[str], message: str, run: Path, film: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [str(film) if word == "FILM" else word for word in arguments]
    assert cli.run(["watch", str(run), *given]) == 1
    out, error = capsys.readouterr()
    assert out == ""
    (line,) = error.splitlines()
    assert message in line


def test_without_a_screen_a_window_is_refused_only_if_asked_for(
    run: Path, film: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    if os.name != "posix" or os.uname().sysname == "Darwin":
        pytest.skip("there is always a screen on this platform")
    assert watch(run, film, fast=True) is not None
    with pytest.raises(GlimpsesError, match="no window"):
        watch(run, film, fast=True, window=True)


def test_nobody_reading_the_lines_ends_it_with_the_film_kept(
    run: Path, film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    printed = []

    def say(line: str, **_: object) -> None:
        printed.append(line)
        if len(printed) > 3:
            raise BrokenPipeError

    monkeypatch.setattr("builtins.print", say)
    out = tmp_path / "seen.mp4"
    with pytest.raises(BrokenPipeError):
        watch(run, film, fast=True, lines=True, out=out)
    assert video.examine(out).frames == 3
