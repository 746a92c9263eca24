"""Tests of `glimpses watch`: output, end of a session, bad arguments."""

from __future__ import annotations

import json
import os
import re
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from glimpses import Recogniser, backbones, cli, runs, video
from glimpses.live import LiveStats, session, watch
from glimpses.live.live_recogniser import LiveRecogniser
from glimpses.live.sampler import SampledFrame
from glimpses.segments import DecodeOptions, SegmentOptions
from glimpses.utils.errors import GlimpsesError
from tests.fakes import GreyBackbone, make_lively, make_recogniser, scenes
from tests.live.scenes import grey_frame


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a video of 2.5 seconds at 25 frames a second, not square."""
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    frames = np.zeros((62, 48, 64, 3), np.uint8)
    for index, frame in enumerate(frames):
        frame[:, index : index + 8] = 220
    video.write(path, frames, fps=25)
    return path


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(backbones, "load", lambda *_, **__: GreyBackbone())
    recogniser = make_recogniser()
    runs.write_config(tmp_path / "run", recogniser.config)
    runs.save_model(tmp_path / "run", recogniser.model)
    return tmp_path / "run"


def test_fast_file_equals_the_stream(
    run: Path, film: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "seen.mp4"
    assert cli.run(["watch", str(run), str(film), "--fast", "--jsonl", "--out", str(out)]) == 0
    *lines, last = map(json.loads, capsys.readouterr().out.splitlines())
    recogniser = Recogniser.load(run)
    stream = recogniser.stream()
    frames = list(video.FrameReader(film, fps=10, size=32))
    assert len(lines) == len(frames) == 25
    for line, frame in zip(lines, frames, strict=True):
        step = stream(frame.pixels)
        assert line["label"] == step.label
        np.testing.assert_allclose(
            list(line["probabilities"].values()), step.probabilities, atol=1e-5
        )
        np.testing.assert_allclose(line["attention"], step.attention, atol=1e-5)
        assert line["time"] == pytest.approx(frame.time, abs=1e-3)
        assert line["delay"] is None
    assert last["summary"] == {
        "source": str(film), "frames": 25, "dropped": 0, "seconds": 2.4, "delay": None,
        "out": str(out),
    }  # fmt: skip
    written = video.probe(out)
    assert written.seconds == pytest.approx(2.5)
    assert written.fps == 10


def test_segments_are_those_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    film, run = tmp_path / "film.mp4", tmp_path / "run"
    video.write(film, scenes(150, 3), fps=10)
    monkeypatch.setattr(backbones, "load", lambda *_, **__: GreyBackbone())
    recogniser = make_lively()
    # A low threshold, so that the last segment lasts until the end.
    learned = DecodeOptions(threshold=0.4, smoothing=2, min_length=0.2, join_gap=0.3)
    runs.write_config(run, replace(recogniser.config, segment_decoding=learned))
    runs.save_model(run, recogniser.model)
    expected = Recogniser.load(run).segments(film, SegmentOptions(causal=True))
    assert len(expected) > 3

    assert cli.run(["watch", str(run), str(film), "--fast", "--jsonl"]) == 0
    lines = list(map(json.loads, capsys.readouterr().out.splitlines()))
    assert len(lines) == 151
    found = [(line.get("time"), one) for line in lines for one in line["segments"]]
    assert len(found) == len(expected)
    for (time, one), other in zip(found, expected, strict=True):
        assert (one["label"], one["frames"]) == (other.label, list(other.frames or ()))
        for name in ("start", "end", "score", "peak", "box"):
            assert one[name] == pytest.approx(getattr(other, name), abs=1e-4)
        # As soon as it can no longer be joined.
        assert time is None or one["end"] - 1e-6 <= time <= one["end"] + 0.5
    assert [time for time, _ in found].count(None) == 1

    assert cli.run(["watch", str(run), str(film), "--fast"]) == 0
    printed = re.findall(
        r"^ *([\d.]+) s to ([\d.]+) s  (\w) (\d+)%$", capsys.readouterr().out, re.M
    )
    assert printed == [
        (f"{one.start:.1f}", f"{one.end:.1f}", one.label, f"{100 * (one.score or 0):.0f}")
        for one in expected
    ]


def test_ctrl_c_ends_the_session_cleanly(
    run: Path, film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    handler, report = signal.getsignal(signal.SIGINT), LiveRecogniser._report

    def interrupt(self: LiveRecogniser, sample: SampledFrame, step: object) -> None:
        report(self, sample, step)  # type: ignore[arg-type]
        if self._frames == 7:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(LiveRecogniser, "_report", interrupt)
    out = tmp_path / "seen.mp4"
    stats = watch(str(run), str(film), fast=True, out=str(out))
    assert isinstance(stats, LiveStats)
    assert stats.frames == 7
    assert video.examine(out).frames == 7
    assert signal.getsignal(signal.SIGINT) is handler


def test_only_live_sources_time_out(run: Path, film: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    captures = []

    class LatestFrame:
        def __init__(self, source: object, clock: object, *, timeout: float | None) -> None:
            captures.append((source, timeout))

        def __enter__(self) -> None:
            return None

        def __exit__(self, *_: object) -> None:
            return None

    samples = [SampledFrame(grey_frame(k), k / 10, None, 0) for k in range(5)]
    monkeypatch.setattr(session, "LatestFrame", LatestFrame)
    monkeypatch.setattr(session, "sample_live", lambda *_: iter(samples))
    stats = watch(run, film)
    assert isinstance(stats, LiveStats)
    assert stats.frames == 5
    ((source, timeout),) = captures
    assert (source.name, timeout) == (str(film), None)  # type: ignore[attr-defined]
    watch(run, url="http://127.0.0.1:1/x")
    assert captures[1][1] is not None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "one source is needed"),
        (["FILM", "--camera", "0"], "one source is needed"),
        (["--camera", "0", "--url", "rtsp://h/x"], "one source is needed"),
        (["--url", "rtsp://h/x", "--fast"], "--fast: works with files only"),
        (["FILM", "--out", "seen.avi"], "give --out a name ending in .mp4"),
        (["FILM", "--out", "FILM"], "is the input video"),
        (["none.mp4"], "none.mp4: no such file"),
        (["--url", "FILM"], "--url: must be an address"),
    ],
)
def test_bad_arguments_are_reported_in_one_line(
    arguments: list[str], message: str, run: Path, film: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [str(film) if word == "FILM" else word for word in arguments]
    assert cli.run(["watch", str(run), *words]) == 1
    out, error = capsys.readouterr()
    assert out == ""
    (line,) = error.splitlines()
    assert message in line


def test_missing_display_is_an_error_only_if_a_window_is_required(
    run: Path, film: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    if os.name != "posix" or os.uname().sysname == "Darwin":
        pytest.skip("this platform always has a display")
    assert watch(run, film, fast=True) is not None
    with pytest.raises(GlimpsesError, match="no window"):
        watch(run, film, fast=True, window=True)


def test_closed_pipe_ends_the_session_and_keeps_the_video(
    run: Path, film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    printed = []

    def fake_print(line: str, **_: object) -> None:
        printed.append(line)
        if len(printed) > 3:
            raise BrokenPipeError

    monkeypatch.setattr("builtins.print", fake_print)
    out = tmp_path / "seen.mp4"
    with pytest.raises(BrokenPipeError):
        watch(run, film, fast=True, jsonl=True, out=out)
    assert video.examine(out).frames == 3
