"""Clips wait their turn, are given up when a worker misbehaves, and leave nothing behind."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from glimpses.serve.queue import Job, JobQueue, Limits, QueueFullError
from glimpses.serve.worker import Worker
from glimpses.utils.errors import GlimpsesError
from tests.serve import workers

LIMITS = Limits(waiting=3, held=4, patience=60.0)


def start() -> Worker:
    return Worker([Path("run")], 1, workers.mannered)


@pytest.fixture
def clock() -> list[float]:
    return [0.0]


@pytest.fixture
def open_desk(clock: list[float]) -> Iterator[Callable[..., JobQueue]]:
    desks: list[JobQueue] = []

    def opened(**changes: float) -> JobQueue:
        desk = JobQueue(replace(LIMITS, **changes), start, clock=lambda: clock[0])  # type: ignore[arg-type]
        desk.open()
        desks.append(desk)
        return desk

    yield opened
    for desk in desks:
        desk.close()


def hand_in(desk: JobQueue, name: str) -> Job:
    job = desk.reserve(name, [0])
    job.video.write_bytes(b"a video")
    desk.submit(job)
    return job


def until(desk: JobQueue, job: Job, *states: str) -> Job:
    """The job when it has come so far; the desk tells of every change."""
    with desk._changed:
        assert desk._changed.wait_for(lambda: job.state in states, timeout=60)
    return job


def ended(desk: JobQueue, job: Job) -> Job:
    return until(desk, job, "done", "failed")


def test_clip_is_worked_on_and_its_upload_deleted(open_desk: Callable[..., JobQueue]) -> None:
    desk = open_desk()
    job = ended(desk, hand_in(desk, "good"))
    assert (job.state, job.problem) == ("done", None)
    assert (job.folder / "prediction.json").read_text() == "good"
    assert not job.video.exists()
    assert desk.overlay(job, 0).result(timeout=60).read_text() == "good"
    assert desk.overlay(job, 0) is desk.overlay(job, 0)


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("dies", "dies: broke the decoder; convert it to H.264 in MP4"),
        ("babbles", "babbles: broke the decoder; convert it to H.264 in MP4"),
        ("lies", "lies: broke the decoder; convert it to H.264 in MP4"),
        ("fails", "fails: gives no picture"),
    ],
)
def test_bad_clip_has_one_line_and_the_next_its_turn(
    open_desk: Callable[..., JobQueue], name: str, problem: str
) -> None:
    desk = open_desk()
    bad, good = hand_in(desk, name), hand_in(desk, "good")
    assert ended(desk, bad).problem == problem
    assert ended(desk, good).state == "done"


def test_worker_that_takes_too_long_is_killed(open_desk: Callable[..., JobQueue]) -> None:
    # The worker hangs for an hour: whatever the patience, it is never enough.
    desk = open_desk(patience=3.0)
    bad, good = hand_in(desk, "hangs"), hand_in(desk, "good")
    process = desk._workers[0]._process
    problem = ended(desk, bad).problem
    assert problem is not None
    assert problem.startswith("hangs: took longer than 3 seconds and was given up")
    assert ended(desk, good).state == "done"
    assert not process.is_alive()


def test_clip_that_is_sent_away_ends_its_work(open_desk: Callable[..., JobQueue]) -> None:
    desk = open_desk()
    job = hand_in(desk, "until told")
    process = desk._workers[0]._process
    desk.remove(job)
    assert ended(desk, hand_in(desk, "good")).state == "done"
    assert process.is_alive()
    assert desk.get(job.id) is None
    assert not job.folder.exists()


def test_only_so_many_wait(open_desk: Callable[..., JobQueue]) -> None:
    desk = open_desk()
    working = until(desk, hand_in(desk, "until told"), "working")
    waiting = [hand_in(desk, f"clip {place}") for place in range(3)]
    assert [desk.ahead(job) for job in (working, *waiting)] == [0, 1, 2, 3]
    assert desk.waiting() == (3, 1)
    with pytest.raises(QueueFullError, match=r"3 clips are waiting, .* try again in"):
        desk.reserve("one too many", [0])
    desk.remove(waiting[1])
    assert desk.ahead(waiting[2]) == 2
    desk.remove(working)
    assert ended(desk, waiting[2]).state == "done"


def test_arriving_clips_count(open_desk: Callable[..., JobQueue]) -> None:
    desk = open_desk()
    jobs = [desk.reserve("slow upload", [0]) for _ in range(3)]
    with pytest.raises(QueueFullError, match="3 clips are arriving"):
        desk.reserve("another", [0])
    desk.remove(jobs[0])
    desk.reserve("another", [0])


def test_one_address_leaves_places_to_others(open_desk: Callable[..., JobQueue]) -> None:
    desk = open_desk(waiting=8)
    for _ in range(6):
        desk.reserve("slow upload", [0], sender="10.0.0.1")
    with pytest.raises(QueueFullError, match="6 clips are arriving"):
        desk.reserve("another", [0], sender="10.0.0.1")
    desk.reserve("another", [0], sender="10.0.0.2")


def test_a_worker_that_died_at_rest_costs_no_clip(open_desk: Callable[..., JobQueue]) -> None:
    desk = open_desk()
    ended(desk, hand_in(desk, "good"))
    process = desk._workers[0]._process
    process.kill()
    process.join()
    assert ended(desk, hand_in(desk, "good")).state == "done"


def test_a_folder_that_was_cleaned_away_is_made_again(open_desk: Callable[..., JobQueue]) -> None:
    desk = open_desk()
    shutil.rmtree(desk._folder)
    assert ended(desk, hand_in(desk, "good")).state == "done"
    assert desk._folder.stat().st_mode & 0o77 == 0


def test_results_are_forgotten(open_desk: Callable[..., JobQueue], clock: list[float]) -> None:
    desk = open_desk(keep=10.0)
    old, young = (ended(desk, hand_in(desk, name)) for name in ("old", "young"))
    clock[0] = 9 * 60
    assert desk.get(young.id) is young
    clock[0] = 11 * 60
    desk.expire()
    assert desk.get(old.id) is None
    assert not old.folder.exists()
    assert desk.get(young.id) is young


def test_clips_that_nobody_asks_for_give_up_their_place(
    open_desk: Callable[..., JobQueue], clock: list[float]
) -> None:
    desk = open_desk(interest=100.0)
    working = until(desk, hand_in(desk, "until told"), "working")
    left, asked = hand_in(desk, "left"), hand_in(desk, "asked")
    clock[0] = 90
    desk.get(asked.id)
    clock[0] = 110
    desk.expire()
    assert ended(desk, asked).state == "done"
    assert [desk.get(job.id) for job in (working, left)] == [None, None]


def test_only_so_many_results_are_held(
    open_desk: Callable[..., JobQueue], clock: list[float]
) -> None:
    desk = open_desk()
    jobs = []
    for place in range(6):
        clock[0] = place
        jobs.append(ended(desk, hand_in(desk, f"clip {place}")))
    kept = [job for job in jobs if desk.get(job.id) is job]
    assert kept == jobs[-4:]
    assert [job.folder.exists() for job in jobs] == [False] * 2 + [True] * 4


def test_failures_do_not_wash_results_away(open_desk: Callable[..., JobQueue]) -> None:
    desk = open_desk()
    good = ended(desk, hand_in(desk, "good"))
    for _ in range(6):
        ended(desk, hand_in(desk, "fails"))
    assert desk.get(good.id) is good


def test_worker_that_does_not_start_does_not_stop_the_desk() -> None:
    starts = iter([start, None, start])

    def sometimes() -> Worker:
        make = next(starts)
        if make is None:
            raise OSError(24, "Too many open files")
        return make()

    desk = JobQueue(LIMITS, sometimes)
    desk.open()
    try:
        assert ended(desk, hand_in(desk, "dies")).state == "failed"
        assert ended(desk, hand_in(desk, "good")).state == "done"
    finally:
        desk.close()


def test_one_who_gives_up_takes_no_overlay_from_others(open_desk: Callable[..., JobQueue]) -> None:
    desk = open_desk()
    job = ended(desk, hand_in(desk, "good"))
    busy = until(desk, hand_in(desk, "until told"), "working")
    given_up = desk.overlay(job, 0)
    assert given_up.cancel()
    desk.remove(busy)
    assert desk.overlay(job, 0).result(timeout=60).read_text() == "good"


def test_example_is_not_deleted(open_desk: Callable[..., JobQueue], tmp_path: Path) -> None:
    example = tmp_path / "example.mp4"
    example.write_bytes(b"a video")
    desk = open_desk()
    job = desk.reserve("example", [0], video=example, truth=["jump"])
    desk.submit(job)
    desk.remove(ended(desk, job))
    assert example.exists()


def test_nothing_is_left(clock: list[float]) -> None:
    desk = JobQueue(LIMITS, start)
    desk.open()
    process = desk._workers[0]._process
    hand_in(desk, "until told")
    hand_in(desk, "waits")
    desk.close()
    assert not desk._folder.exists()
    assert not process.is_alive()
    assert not any(thread.is_alive() for thread in desk._attendants)


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="processes are not told by /proc")
def test_what_a_killed_server_left_is_swept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    left, own = (tmp_path / f"glimpses-serve-{pid}-x" for pid in (ended.pid, os.getpid()))
    for folder in (left, own):
        (folder / "clip").mkdir(parents=True)
    JobQueue(LIMITS, start).close()
    assert list(tmp_path.iterdir()) == [own]


def test_models_that_cannot_be_loaded_are_told() -> None:
    desk = JobQueue(LIMITS, lambda: Worker([Path("runs/mine")], 1, workers.unloadable))
    with pytest.raises(GlimpsesError, match="runs/mine: is damaged"):
        desk.open()
    desk.close()
