"""Reading in worker processes: whatever a file does, it costs only itself."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from glimpses import video
from glimpses.utils.errors import GlimpsesError
from glimpses.utils.worker import WorkerKilledError, WorkerProcess
from tests.video.poison import opened, poison

GLIMPSES = (sys.executable, "-c", "from glimpses.cli import main; main()")
_numbers = itertools.count(10**6)

posix_only = pytest.mark.skipif(os.name != "posix", reason="needs signals")


def write_clip(path: Path, level: int = 100, frames: int = 3) -> Path:
    video.write(path, [np.full((32, 32, 3), level, np.uint8)] * frames, fps=10)
    return path


@pytest.fixture
def limit() -> Iterator[Callable[..., None]]:
    before = video.decode_options()

    def set_limits(isolated: bool = True, **options: float) -> None:
        video.set_decode_options(video.DecodeOptions(**options), isolated=isolated)  # type: ignore[arg-type]

    yield set_limits
    video.set_decode_options(before)


@pytest.fixture
def poisoned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: Callable[..., None]
) -> Callable[..., None]:
    """Start new decoders, which files can harm by their names."""
    for name, value in poison(tmp_path).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("GLIMPSES_CACHE", str(tmp_path / "cache"))
    # Decoders with other limits are not used again.
    different = {"clip_memory": 0.3, "max_samples": next(_numbers)}

    def limit_anew(**options: float) -> None:
        limit(**different | options)

    limit_anew(clip_timeout=1.0)
    return limit_anew


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("crashes.avi", r"crashes\.avi: crashed the decoder \(SIGSEGV\); convert it"),
        ("ends.avi", r"ends\.avi: crashed the decoder \(status 3\)"),
        ("hangs.avi", r"returned nothing for 1 s; .* raise --clip-timeout"),
        ("spins.avi", r"returned nothing for 1 s"),
        ("fills.avi", r"needs more than 0\.3 GB of memory to decode; .* raise --clip-memory"),
        ("raises.avi", r"cannot be read \(RuntimeError: no such luck\)"),
    ],
)
@posix_only
def test_bad_file_costs_only_itself(
    tmp_path: Path, poisoned: Callable[..., None], name: str, message: str
) -> None:
    good, bad = write_clip(tmp_path / "good.avi"), tmp_path / name
    bad.write_bytes(good.read_bytes())
    assert video.probe(good).width == 32
    readers = (video.read, video.probe, video.examine, video.read_header, video.frame_edges)
    for read in readers if name == "crashes.avi" else readers[:1]:
        with pytest.raises(GlimpsesError, match=message) as raised:
            read(bad)
        assert len(str(raised.value).splitlines()) == 1
        assert len(video.read(good).frames) == 3
    # Nothing was opened here.
    assert os.getpid() not in {pid for pid, _ in opened(tmp_path)}


@posix_only
def test_a_crash_counts_only_in_a_process_that_read_nothing_else(
    tmp_path: Path, poisoned: Callable[..., None]
) -> None:
    good, bad = write_clip(tmp_path / "good.avi"), write_clip(tmp_path / "crashes.avi")
    video.probe(good)
    with pytest.raises(GlimpsesError, match="SIGSEGV"):
        video.probe(bad)
    processes = [pid for pid, name in opened(tmp_path) if name == bad.name]
    assert len(set(processes)) == 2


@posix_only
def test_files_that_failed_come_last_until_they_change(
    tmp_path: Path, poisoned: Callable[..., None]
) -> None:
    names = ["1 crashes.avi", "2.avi", "3.avi"]
    paths = [write_clip(tmp_path / name) for name in names]
    for path in paths:
        try:
            video.probe(path)
        except GlimpsesError:
            continue
    assert [path.name for path in video.suspects_last(paths, lambda path: path)] == [
        *names[1:], names[0]
    ]  # fmt: skip
    write_clip(paths[0], frames=5)
    assert video.suspects_last(paths, lambda path: path) == paths


@posix_only
def test_files_that_hang_do_not_delay_the_others(
    tmp_path: Path, poisoned: Callable[..., None]
) -> None:
    poisoned(clip_timeout=4.0)
    names = ["0 hangs.avi", "1 hangs.avi", "2 hangs.avi", "3.avi", "4.avi", "5.avi"]
    paths = [write_clip(tmp_path / name, level=index) for index, name in enumerate(names)]
    order = []
    with video.Prefetcher(paths, fps=10, size=16) as prefetcher:
        for index, frames in prefetcher:
            order.append(index)
            if index < 3:
                with pytest.raises(GlimpsesError, match="returned nothing for 4 s"):
                    list(frames)
            else:
                assert len(list(frames)) == 3
    assert order[:3] == [3, 4, 5]


def test_work_that_is_stopped_does_not_wait_for_a_decoder(
    tmp_path: Path, poisoned: Callable[..., None]
) -> None:
    poisoned(clip_timeout=600.0)
    paths = [write_clip(tmp_path / f"{name} hangs.avi") for name in range(3)]
    with video.Prefetcher(paths, fps=10, size=16):
        pass


def test_too_many_samples_and_too_large_pictures(
    tmp_path: Path, limit: Callable[..., None]
) -> None:
    clip = write_clip(tmp_path / "clip.avi", frames=12)
    for isolated in (True, False):
        limit(max_samples=12, isolated=isolated)
        assert len(video.read(clip).frames) == 12
        limit(max_samples=11, isolated=isolated)
        with pytest.raises(GlimpsesError, match=r"clip\.avi: has more than 11 frames at this rate"):
            video.read(clip)
        limit(max_megapixels=0.001, isolated=isolated)
        with pytest.raises(GlimpsesError, match=r"pictures of 32x32 pixels, more than 0\.001 m"):
            video.probe(clip)


@pytest.mark.parametrize("name", ["clip_timeout", "clip_memory", "max_megapixels", "max_samples"])
@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf")])
def test_limits_must_be_positive(name: str, value: float) -> None:
    with pytest.raises(GlimpsesError, match=f"--{name.replace('_', '-')}"):
        video.DecodeOptions(**{name: value})  # type: ignore[arg-type]


def test_frames_equal_those_of_this_process(tmp_path: Path, limit: Callable[..., None]) -> None:
    clip = tmp_path / "clip.avi"
    noise = np.random.default_rng(0).integers(0, 256, (9, 40, 50, 3), np.uint8)
    video.write(clip, noise, fps=25)
    for size in (None, 24, (30, 20)):
        limit()
        there = video.read(clip, fps=50, size=size)
        limit(isolated=False)
        here = video.read(clip, fps=50, size=size)
        assert np.array_equal(there.frames, here.frames)
        assert np.array_equal(there.times, here.times)
    here_checked, there_thumbnails, here_thumbnails = video.examine(clip), [], []
    video.examine(clip, lambda time, pixels: here_thumbnails.append((time, pixels.copy())))
    limit()
    assert video.examine(clip, lambda *frame: there_thumbnails.append(frame)) == here_checked
    assert [when for when, _ in there_thumbnails] == pytest.approx([0, 0.12, 0.2, 0.32], abs=0.01)
    for (when, one), (other_when, other) in zip(there_thumbnails, here_thumbnails, strict=True):
        assert when == other_when
        assert np.array_equal(one, other)


def test_names_that_are_not_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    name = "a \udcff\n'.avi" if sys.platform == "linux" else "a '.avi"
    write_clip(tmp_path / name)
    assert video.probe(name).path == Path(name)
    Path("empty.avi").touch()
    with pytest.raises(GlimpsesError, match=r"^empty\.avi: is empty"):
        video.probe("empty.avi")


def test_reading_that_is_broken_off_leaves_the_decoder_usable(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.avi", frames=400)
    for _ in range(3):
        frames = iter(video.FrameReader(clip, size=128))
        assert next(frames).time == 0
        frames.close()  # type: ignore[attr-defined]
    assert len(video.read(clip, size=8).frames) == 400


@pytest.mark.parametrize("sent", ["garbage", "huge", "list", "frame"])
def test_parent_believes_nothing(sent: str) -> None:
    worker = WorkerProcess("tests.video.liars:main", {"sent": sent}, max_bytes=100)
    with pytest.raises(WorkerKilledError):
        worker.receive(20.0)
    assert not worker.alive


def _decoders(parent: int) -> list[int]:
    return [
        int(path.name)
        for path in Path("/proc").iterdir()
        if path.name.isdecimal() and _parent(path) == parent
    ]


def _parent(process: Path) -> int | None:
    try:
        state = (process / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if state[0] == "Z" else int(state[1])


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs /proc")
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_decoders_end_with_their_parent(tmp_path: Path, end: int) -> None:
    (tmp_path / "clips").mkdir()
    for index in range(3):
        write_clip(tmp_path / "clips" / f"{index} hangs.avi", level=index)
    process = subprocess.Popen(
        [*GLIMPSES, "check", tmp_path / "clips"],
        env={**os.environ, **poison(tmp_path)}, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    while not (tmp_path / "opened.txt").exists():
        assert process.poll() is None
        time.sleep(0.05)
    children = _decoders(process.pid)
    assert children
    process.send_signal(end)
    _, error = process.communicate(timeout=60)
    assert "Traceback" not in error
    if end == signal.SIGINT:
        assert process.returncode == 130
    deadline = time.monotonic() + 20
    while any(Path(f"/proc/{child}").exists() for child in children):
        assert time.monotonic() < deadline
        time.sleep(0.05)


@posix_only
def test_every_command_goes_on_and_names_the_bad_file(tmp_path: Path) -> None:
    clips = tmp_path / "clips"
    for action in ("a", "b"):
        for index in range(2):
            write_clip(clips / action / f"{index}.avi", level=80 * index + (action == "b"))
    for number, name in enumerate(("crashes", "hangs", "fills", "ends")):
        write_clip(clips / "a" / f"{name}.avi", level=10 + number)
    result = subprocess.run(
        [
            *GLIMPSES, "check", clips, "--json", "--clip-timeout", "2", "--clip-memory", "0.3",
        ],
        env={**os.environ, **poison(tmp_path)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 1, result.stderr
    problems = {clip["clip"]: clip["problem"] for clip in json.loads(result.stdout)["clips"]}
    assert problems["a/crashes.avi"] == "crashed the decoder (SIGSEGV)"
    assert problems["a/hangs.avi"] == "the decoder returned nothing for 2 s"
    assert [name for name, problem in problems.items() if problem is None] == [
        "a/0.avi", "a/1.avi", "b/0.avi", "b/1.avi",
    ]  # fmt: skip
