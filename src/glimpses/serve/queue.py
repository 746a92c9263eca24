"""Job queue: clips are uploaded, processed by workers, kept for a while, and deleted."""

from __future__ import annotations

import logging
import secrets
import shutil
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

from glimpses.serve.connections import MAX_SHARE, is_local_proxy
from glimpses.serve.spool import Spool
from glimpses.serve.worker import UPLOAD, Task, Worker, WorkerKilledError, overlay_name
from glimpses.utils.errors import GlimpsesError

log = logging.getLogger(__name__)

# Seconds that loading the models may take.
_LOADING_TIMEOUT = 300.0
# First estimate of the seconds of work on a clip, and the weight of a new observation.
_FIRST_DURATION, _DURATION_WEIGHT = 5.0, 0.2
# Seconds after which to retry when too many uploads are in progress.
_UPLOAD_RETRY = 10

#: State of a job.
JobState = Literal["uploading", "queued", "running", "done", "failed"]


@dataclass(frozen=True)
class Limits:
    """Limits of a server.

    Attributes:
        max_upload_mb: largest file, in megabytes.
        max_seconds: longest clip, in seconds.
        max_queue: most clips in the queue, and most uploads in progress.
        max_results: most finished jobs to keep, and most failed ones; the oldest is deleted first.
        workers: number of worker processes.
        job_timeout: seconds of work on a clip before it is aborted.
        upload_timeout: seconds that an upload may take.
        retention: minutes that a finished job is kept after its last access.
        abandoned_after: seconds without access after which an unfinished job is dropped. Browsers
            let a page in the background poll once a minute only.
    """

    max_upload_mb: int = 100
    max_seconds: float = 60.0
    max_queue: int = 16
    max_results: int = 64
    workers: int = 1
    job_timeout: float = 120.0
    upload_timeout: float = 300.0
    retention: float = 15.0
    abandoned_after: float = 150.0


class QueueFullError(Exception):
    """The queue, or the number of uploads in progress, has reached its limit.

    Attributes:
        retry_after: seconds after which to try again.
    """

    def __init__(self, count: int, state: str, seconds: float) -> None:
        self.retry_after = max(1, round(seconds))
        clips = "clip is" if count == 1 else "clips are"
        super().__init__(
            f"{count} {clips} {state}, the most allowed; try again in {self.retry_after} seconds"
        )


@dataclass
class Job:
    """A clip to be recognised, and its results.

    Attributes:
        id: random, because everybody who knows it may see the clip.
        name: name of the file on the client.
        models: indices of the models to run.
        folder: folder of the clip and all its results.
        video: the file to read: the upload, or an example.
        labels: annotated actions, if known.
        progress: share of the work that is done.
        stage: current stage of the work.
        error: one line with the reason why the job failed.
        last_access: time of the last access, by the queue's clock.
        client: address of the client.
        overlays: overlay videos by model, drawn on request.
    """

    id: str
    name: str
    models: tuple[int, ...]
    folder: Path
    video: Path
    labels: tuple[str, ...] = ()
    state: JobState = "uploading"
    progress: float = 0.0
    stage: str = ""
    error: str | None = None
    last_access: float = 0.0
    client: str = ""
    overlays: dict[int, Future[Path]] = field(default_factory=dict, repr=False)


class _QueueItem(NamedTuple):
    """Unit of work: the recognition of a clip, or the overlay video of one model."""

    job: Job
    overlay_model: int | None = None
    overlay: Future[Path] | None = None


class JobQueue:
    """Queue of clips, a pool of worker processes, and the results.

    All methods can be called from any thread; none waits for a clip to be processed.

    Args:
        limits: limits of the server.
        start_worker: starts a worker process.
        clock: returns the time in seconds.
    """

    def __init__(
        self,
        limits: Limits,
        start_worker: Callable[[], Worker],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.limits, self._start_worker, self._clock = limits, start_worker, clock
        self._spool = Spool()
        self._folder = self._spool.folder
        self._jobs: dict[str, Job] = {}
        self._items: deque[_QueueItem] = deque()
        self._running, self._mean_duration = 0, _FIRST_DURATION
        self._changed, self._closed = threading.Condition(), threading.Event()
        self._workers: dict[int, Worker] = {}
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Start the workers and wait until they are ready.

        Raises:
            GlimpsesError: the models cannot be loaded.
        """
        try:
            for index in range(self.limits.workers):
                self._workers[index] = self._start_worker()
            for worker in self._workers.values():
                worker.wait_until_ready(_LOADING_TIMEOUT)
        except WorkerKilledError as error:
            problem = f"a worker {error} while loading the models, perhaps for lack of memory"
            raise GlimpsesError(f"{problem}; try --workers 1") from error
        for index in range(self.limits.workers):
            thread = threading.Thread(target=self._worker_loop, args=(index,), daemon=True)
            thread.start()
            self._threads.append(thread)

    def close(self) -> None:
        """Kill the workers and delete all files."""
        with self._changed:
            self._closed.set()
            self._changed.notify_all()
            workers = list(self._workers.values())
        for worker in workers:
            worker.kill()
        for thread in self._threads:
            thread.join()
        self._spool.close()

    def reserve(
        self,
        name: str,
        models: Sequence[int],
        *,
        video: Path | None = None,
        labels: Sequence[str] = (),
        client: str = "",
    ) -> Job:
        """Create a job for a clip that is about to be uploaded; see `Job` for the arguments.

        If the file is not here already, write the upload to `Job.video`.

        Raises:
            QueueFullError: too many clips are queued or being uploaded.
            OSError: the job's folder cannot be created.
        """
        self.expire()
        with self._changed:
            self._check_room()
            uploads = [job for job in self._jobs.values() if job.state == "uploading"]
            limit = self.limits.max_queue
            from_client = sum(job.client == client for job in uploads)
            if len(uploads) >= limit or (
                from_client >= max(1, MAX_SHARE * limit) and not is_local_proxy(client)
            ):
                raise QueueFullError(len(uploads), "being uploaded", _UPLOAD_RETRY)
            job_id = secrets.token_urlsafe(12)
            folder = self._folder / job_id
            # A cleaner of temporary files may have deleted the parent.
            self._folder.mkdir(mode=0o700, exist_ok=True)
            folder.mkdir()
            job = self._jobs[job_id] = Job(
                job_id, name, tuple(models), folder, video or folder / UPLOAD, tuple(labels),
                last_access=self._clock(), client=client,
            )  # fmt: skip
            self._changed.notify_all()
            return job

    def submit(self, job: Job) -> None:
        """Queue a job whose clip has been uploaded."""
        with self._changed:
            if job.id in self._jobs:
                job.state, job.last_access = "queued", self._clock()
                self._items.append(_QueueItem(job))
                self._changed.notify_all()

    def get(self, job_id: str) -> Job | None:
        """Return a job, or None if it does not exist (any more); counts as an access."""
        with self._changed:
            if (job := self._jobs.get(job_id)) is not None:
                job.last_access = self._clock()
            return job

    def jobs_ahead(self, job: Job) -> int:
        """Return the number of jobs that are processed before this one."""
        with self._changed:
            jobs = [item.job for item in self._items]
            return self._running + jobs.index(job) if job in jobs else 0

    def load(self) -> tuple[int, int]:
        """Return the number of queued items and of running ones."""
        with self._changed:
            return len(self._items), self._running

    def request_overlay(self, job: Job, model: int) -> Future[Path]:
        """Return a model's overlay video of a finished job, drawn on the first request.

        Raises:
            QueueFullError: the queue is full.
        """
        with self._changed:
            if model not in job.overlays or job.overlays[model].cancelled():
                self._check_room()
                job.overlays[model] = Future()
                self._items.append(_QueueItem(job, model, job.overlays[model]))
                self._changed.notify_all()
            return job.overlays[model]

    def remove(self, job: Job) -> None:
        """Cancel a job and delete its files."""
        with self._changed:
            self._jobs.pop(job.id, None)
            for item in [item for item in self._items if item.job is job]:
                self._items.remove(item)
            for overlay in job.overlays.values():
                overlay.cancel()
        shutil.rmtree(job.folder, ignore_errors=True)
        with self._changed:
            self._changed.notify_all()

    def expire(self) -> None:
        """Remove expired and abandoned jobs, and the oldest ones beyond `max_results`."""
        now = self._clock()
        expired, abandoned = now - 60 * self.limits.retention, now - self.limits.abandoned_after
        with self._changed:
            removed = [
                job
                for job in self._jobs.values()
                if job.state in ("queued", "running") and job.last_access < abandoned
            ]
            # Failed jobs are counted separately: many of them must not displace results.
            for state in ("done", "failed"):
                finished = [
                    job
                    for job in sorted(self._jobs.values(), key=lambda job: job.last_access)
                    if job.state == state and all(map(Future.done, job.overlays.values()))
                ]
                surplus = max(0, len(finished) - self.limits.max_results + 1)
                removed += finished[:surplus]
                removed += [job for job in finished[surplus:] if job.last_access < expired]
        for job in removed:
            self.remove(job)

    def _check_room(self) -> None:
        """Raise QueueFullError if the queue is full."""
        queued = len(self._items)
        if queued >= self.limits.max_queue:
            seconds = self._mean_duration * (queued + self._running) / self.limits.workers
            raise QueueFullError(queued, "queued", seconds)

    def _worker_loop(self, index: int) -> None:
        """Pass items to one worker until the queue is closed; replace a worker that fails."""
        while (item := self._next_item()) is not None:
            start, worker_failed, message = self._clock(), False, None
            try:
                self._run_item(index, item)
            except GlimpsesError as error:
                message = str(error)
            except WorkerKilledError as error:
                message, worker_failed = f"{item.job.name}: {self._failure_message(error)}", True
            except Exception as error:
                # The loop must go on, whatever happened to this clip.
                log.exception("%s", item.job.name)
                message = f"{item.job.name}: internal error ({type(error).__name__})"
                worker_failed = True
            if message is None:
                duration = self._clock() - start
                self._mean_duration += _DURATION_WEIGHT * (duration - self._mean_duration)
            self._finish_item(item, message)
            if worker_failed and not self._closed.is_set():
                self._replace_worker(index)

    def _failure_message(self, error: WorkerKilledError) -> str:
        if not error.timed_out:
            return "crashed the decoder; convert it to H.264 in MP4"
        timeout = f"{self.limits.job_timeout:g} seconds"
        return f"took longer than {timeout} and was aborted; make the clip shorter or smaller"

    def _next_item(self) -> _QueueItem | None:
        with self._changed:
            while True:
                self._changed.wait_for(lambda: self._items or self._closed.is_set())
                if self._closed.is_set():
                    return None
                item = self._items.popleft()
                # From here on a client that disconnects cannot cancel the overlay for others.
                if item.overlay is None or item.overlay.set_running_or_notify_cancel():
                    break
            self._running += 1
            if item.overlay_model is None:
                item.job.state = "running"
            self._changed.notify_all()
            return item

    def _run_item(self, index: int, item: _QueueItem) -> None:
        job = item.job
        # A worker may have died while idle.
        if index not in self._workers or not self._workers[index].alive:
            self._replace_worker(index)
        if index not in self._workers:
            raise GlimpsesError(f"{job.name}: the models cannot be loaded")
        task = Task(
            kind="recognise" if item.overlay is None else "draw_overlay", folder=str(job.folder),
            video=str(job.video), name=job.name,
            models=job.models if item.overlay_model is None else (item.overlay_model,),
            max_seconds=self.limits.max_seconds, labels=job.labels,
        )  # fmt: skip

        def on_progress(progress: float, stage: str) -> bool:
            if item.overlay_model is None:
                job.progress, job.stage = progress, stage
            return job.id in self._jobs

        self._workers[index].run(task, self.limits.job_timeout, on_progress)

    def _finish_item(self, item: _QueueItem, message: str | None) -> None:
        job = item.job
        # The upload is not needed any more: clients get a copy. Never delete an example.
        if item.overlay_model is None and job.video.parent == job.folder:
            job.video.unlink(missing_ok=True)
        with self._changed:
            self._running -= 1
            if item.overlay_model is None:
                job.error, job.progress = message, 1.0
                job.state = "failed" if message else "done"
                job.last_access = self._clock()
            elif item.overlay is not None and message is None:
                item.overlay.set_result(job.folder / overlay_name(item.overlay_model))
            elif item.overlay is not None:
                item.overlay.set_exception(GlimpsesError(message))
                # The next request tries again.
                job.overlays.pop(item.overlay_model, None)
            removed = job.id not in self._jobs
            self._changed.notify_all()
        if removed:
            shutil.rmtree(job.folder, ignore_errors=True)

    def _replace_worker(self, index: int) -> None:
        """Kill a worker and start another; on failure there is none until the next attempt."""
        if index in self._workers:
            self._workers.pop(index).kill()
        with self._changed:
            if self._closed.is_set():
                return
            try:
                worker = self._workers[index] = self._start_worker()
            except OSError as error:
                log.warning("cannot start a worker: %s", error.strerror or error)
                return
        try:
            worker.wait_until_ready(_LOADING_TIMEOUT)
        except (GlimpsesError, WorkerKilledError):
            self._workers.pop(index).kill()
