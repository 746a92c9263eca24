"""Tests of the job queue: order, limits, failing workers, expiry, clean-up."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from glimpses.serve.queue import Job, JobQueue, Limits, QueueFullError
from glimpses.serve.worker import Worker
from glimpses.utils.errors import GlimpsesError
from tests.serve import workers

LIMITS = Limits(max_queue=3, max_results=4, job_timeout=60.0)


def start_worker() -> Worker:
    return Worker([Path("run")], 1, workers.scripted)


@pytest.fixture
def clock() -> list[float]:
    return [0.0]


@pytest.fixture
def make_queue(clock: list[float]) -> Iterator[Callable[..., JobQueue]]:
    queues: list[JobQueue] = []

    def make(**limits: float) -> JobQueue:
        queue = JobQueue(replace(LIMITS, **limits), start_worker, clock=lambda: clock[0])  # type: ignore[arg-type]
        queue.start()
        queues.append(queue)
        return queue

    yield make
    for queue in queues:
        queue.close()


def submit(queue: JobQueue, name: str) -> Job:
    job = queue.reserve(name, [0])
    job.video.write_bytes(b"a video")
    queue.submit(job)
    return job


def wait_for(queue: JobQueue, job: Job, *states: str) -> Job:
    """Wait until a job is in one of the states."""
    with queue._changed:
        assert queue._changed.wait_for(lambda: job.state in states, timeout=60)
    return job


def finish(queue: JobQueue, job: Job) -> Job:
    return wait_for(queue, job, "done", "failed")


def test_clip_is_processed_and_its_upload_deleted(make_queue: Callable[..., JobQueue]) -> None:
    queue = make_queue()
    job = finish(queue, submit(queue, "good"))
    assert (job.state, job.error) == ("done", None)
    assert (job.folder / "prediction.json").read_text() == "good"
    assert not job.video.exists()
    assert queue.request_overlay(job, 0).result(timeout=60).read_text() == "good"
    assert queue.request_overlay(job, 0) is queue.request_overlay(job, 0)


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("dies", "dies: crashed the decoder; convert it to H.264 in MP4"),
        ("sends garbage", "sends garbage: crashed the decoder; convert it to H.264 in MP4"),
        (
            "sends a bad message",
            "sends a bad message: crashed the decoder; convert it to H.264 in MP4",
        ),
        ("fails", "fails: contains no frames"),
    ],
)
def test_bad_clip_fails_with_one_line_and_the_next_is_processed(
    make_queue: Callable[..., JobQueue], name: str, error: str
) -> None:
    queue = make_queue()
    bad, good = submit(queue, name), submit(queue, "good")
    assert finish(queue, bad).error == error
    assert finish(queue, good).state == "done"


def test_worker_that_takes_too_long_is_killed(make_queue: Callable[..., JobQueue]) -> None:
    # The worker hangs for an hour, so that any timeout is exceeded.
    queue = make_queue(job_timeout=3.0)
    bad, good = submit(queue, "hangs"), submit(queue, "good")
    process = queue._workers[0]._process
    error = finish(queue, bad).error
    assert error is not None
    assert error.startswith("hangs: took longer than 3 seconds and was aborted")
    assert finish(queue, good).state == "done"
    assert not process.is_alive()


def test_removed_clip_is_cancelled(make_queue: Callable[..., JobQueue]) -> None:
    queue = make_queue()
    job = submit(queue, "until cancelled")
    process = queue._workers[0]._process
    queue.remove(job)
    assert finish(queue, submit(queue, "good")).state == "done"
    assert process.is_alive()
    assert queue.get(job.id) is None
    assert not job.folder.exists()


def test_queue_is_limited(make_queue: Callable[..., JobQueue]) -> None:
    queue = make_queue()
    running = wait_for(queue, submit(queue, "until cancelled"), "running")
    queued = [submit(queue, f"clip {index}") for index in range(3)]
    assert [queue.jobs_ahead(job) for job in (running, *queued)] == [0, 1, 2, 3]
    assert queue.load() == (3, 1)
    with pytest.raises(QueueFullError, match=r"3 clips are queued, .* try again in"):
        queue.reserve("one too many", [0])
    queue.remove(queued[1])
    assert queue.jobs_ahead(queued[2]) == 2
    queue.remove(running)
    assert finish(queue, queued[2]).state == "done"


def test_uploads_in_progress_are_limited(make_queue: Callable[..., JobQueue]) -> None:
    queue = make_queue()
    jobs = [queue.reserve("slow upload", [0]) for _ in range(3)]
    with pytest.raises(QueueFullError, match="3 clips are being uploaded"):
        queue.reserve("another", [0])
    queue.remove(jobs[0])
    queue.reserve("another", [0])


def test_one_address_cannot_occupy_all_uploads(make_queue: Callable[..., JobQueue]) -> None:
    queue = make_queue(max_queue=8)
    for _ in range(6):
        queue.reserve("slow upload", [0], client="10.0.0.1")
    with pytest.raises(QueueFullError, match="6 clips are being uploaded"):
        queue.reserve("another", [0], client="10.0.0.1")
    queue.reserve("another", [0], client="10.0.0.2")


def test_worker_that_dies_while_idle_is_replaced(make_queue: Callable[..., JobQueue]) -> None:
    queue = make_queue()
    finish(queue, submit(queue, "good"))
    process = queue._workers[0]._process
    process.kill()
    process.join()
    assert finish(queue, submit(queue, "good")).state == "done"


def test_deleted_folder_is_created_again(make_queue: Callable[..., JobQueue]) -> None:
    queue = make_queue()
    shutil.rmtree(queue._folder)
    assert finish(queue, submit(queue, "good")).state == "done"
    assert queue._folder.stat().st_mode & 0o77 == 0


def test_results_expire(make_queue: Callable[..., JobQueue], clock: list[float]) -> None:
    queue = make_queue(retention=10.0)
    old, young = (finish(queue, submit(queue, name)) for name in ("old", "young"))
    clock[0] = 9 * 60
    assert queue.get(young.id) is young
    clock[0] = 11 * 60
    queue.expire()
    assert queue.get(old.id) is None
    assert not old.folder.exists()
    assert queue.get(young.id) is young


def test_abandoned_clips_are_removed(
    make_queue: Callable[..., JobQueue], clock: list[float]
) -> None:
    queue = make_queue(abandoned_after=100.0)
    running = wait_for(queue, submit(queue, "until cancelled"), "running")
    abandoned, polled = submit(queue, "abandoned"), submit(queue, "polled")
    clock[0] = 90
    queue.get(polled.id)
    clock[0] = 110
    queue.expire()
    assert finish(queue, polled).state == "done"
    assert [queue.get(job.id) for job in (running, abandoned)] == [None, None]


def test_results_are_limited(make_queue: Callable[..., JobQueue], clock: list[float]) -> None:
    queue = make_queue()
    jobs = []
    for index in range(6):
        clock[0] = index
        jobs.append(finish(queue, submit(queue, f"clip {index}")))
    kept = [job for job in jobs if queue.get(job.id) is job]
    assert kept == jobs[-4:]
    assert [job.folder.exists() for job in jobs] == [False] * 2 + [True] * 4


def test_failures_do_not_displace_results(make_queue: Callable[..., JobQueue]) -> None:
    queue = make_queue()
    good = finish(queue, submit(queue, "good"))
    for _ in range(6):
        finish(queue, submit(queue, "fails"))
    assert queue.get(good.id) is good


def test_worker_that_cannot_be_started_is_retried() -> None:
    starts = iter([True, False, True])

    def start_sometimes() -> Worker:
        if not next(starts):
            raise OSError(24, "Too many open files")
        return start_worker()

    queue = JobQueue(LIMITS, start_sometimes)
    queue.start()
    try:
        assert finish(queue, submit(queue, "dies")).state == "failed"
        assert finish(queue, submit(queue, "good")).state == "done"
    finally:
        queue.close()


def test_cancelled_request_does_not_cancel_the_overlay_for_others(
    make_queue: Callable[..., JobQueue],
) -> None:
    queue = make_queue()
    job = finish(queue, submit(queue, "good"))
    running = wait_for(queue, submit(queue, "until cancelled"), "running")
    assert queue.request_overlay(job, 0).cancel()
    queue.remove(running)
    assert queue.request_overlay(job, 0).result(timeout=60).read_text() == "good"


def test_examples_are_not_deleted(make_queue: Callable[..., JobQueue], tmp_path: Path) -> None:
    example = tmp_path / "example.mp4"
    example.write_bytes(b"a video")
    queue = make_queue()
    job = queue.reserve("example", [0], video=example, labels=["jump"])
    queue.submit(job)
    queue.remove(finish(queue, job))
    assert example.exists()


def test_close_deletes_everything(clock: list[float]) -> None:
    queue = JobQueue(LIMITS, start_worker)
    queue.start()
    process = queue._workers[0]._process
    submit(queue, "until cancelled")
    submit(queue, "queued")
    queue.close()
    assert not queue._folder.exists()
    assert not process.is_alive()
    assert not any(thread.is_alive() for thread in queue._threads)


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs /proc")
def test_folders_of_killed_servers_are_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    stale, live = (tmp_path / f"glimpses-serve-{pid}-x" for pid in (process.pid, os.getpid()))
    for folder in (stale, live):
        (folder / "clip").mkdir(parents=True)
    JobQueue(LIMITS, start_worker).close()
    assert list(tmp_path.iterdir()) == [live]


def test_uploads_do_not_survive_the_kill_of_the_server(tmp_path: Path) -> None:
    code = (
        "import time, pathlib; from glimpses.serve.spool import Spool; spool = Spool();"
        "(spool.folder / 'clip').mkdir(); (spool.folder / 'clip' / 'a.mp4').write_bytes(b'a');"
        "print(spool.folder, flush=True); time.sleep(600)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    ) as server:  # fmt: skip
        assert server.stdout is not None
        folder = Path(server.stdout.readline().strip())
        assert folder.parent == tmp_path
        assert (folder / "clip" / "a.mp4").exists()
        server.kill()
    deadline = time.monotonic() + 60
    while folder.exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_loading_errors_are_raised() -> None:
    queue = JobQueue(LIMITS, lambda: Worker([Path("runs/mine")], 1, workers.unloadable))
    with pytest.raises(GlimpsesError, match="runs/mine: is damaged"):
        queue.start()
    queue.close()
