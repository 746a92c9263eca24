"""Where clips are handed in, wait, are worked on, kept for a while, and thrown away."""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

from glimpses.serve.connections import SHARE, is_local_proxy
from glimpses.serve.worker import UPLOAD, Task, Worker, WorkerKilledError, overlay_name
from glimpses.utils.errors import GlimpsesError

log = logging.getLogger(__name__)

# Seconds that loading the models may take.
_LOADING = 300.0
# Begins the name of a server's folder of clips; the number of its process follows.
_PREFIX = "glimpses-serve-"

#: What has become of a clip.
State = Literal["arriving", "waiting", "working", "done", "failed"]


@dataclass(frozen=True)
class Limits:
    """What is let in, and how long it may take.

    Attributes:
        megabytes: of a file.
        seconds: length of a clip.
        waiting: clips that may wait at a time, and as many that may arrive.
        held: results kept at a time, and failures; beyond it the oldest goes.
        workers: clips worked on at a time.
        patience: seconds of work on a clip before it is given up.
        upload_patience: seconds that an upload may take.
        keep: minutes that a result is kept after it was last asked for.
        interest: seconds after which a clip that waits or is worked on is given up if nobody has
            asked for it. Browsers let a page that is out of sight ask once a minute.
    """

    megabytes: int = 100
    seconds: float = 60.0
    waiting: int = 16
    held: int = 64
    workers: int = 1
    patience: float = 120.0
    upload_patience: float = 300.0
    keep: float = 15.0
    interest: float = 150.0


class QueueFullError(Exception):
    """As many clips wait or arrive as may; `after` is in how many seconds to try again."""

    def __init__(self, what: str, seconds: float) -> None:
        self.after = max(1, round(seconds))
        super().__init__(f"{what}, which is all that may; try again in {self.after} seconds")


@dataclass
class Job:
    """One clip on its way.

    Attributes:
        id: cannot be guessed: whoever knows it may see the clip.
        name: what its sender calls it.
        models: which runs are to look at it, by number.
        folder: everything of it.
        video: the file to read; the upload, or an example.
        truth: what it is known to show.
        state: see `State`.
        progress: share of the work that is done.
        doing: what is being done, a word.
        problem: why it failed, one line.
        asked: when it was last asked for, by the desk's clock.
        sender: address that it comes from.
    """

    id: str
    name: str
    models: tuple[int, ...]
    folder: Path
    video: Path
    truth: tuple[str, ...] = ()
    state: State = "arriving"
    progress: float = 0.0
    doing: str = ""
    problem: str | None = None
    asked: float = 0.0
    sender: str = ""
    overlays: dict[int, Future[Path]] = field(default_factory=dict, repr=False)


class _QueuedTask(NamedTuple):
    """Something for a worker: a clip to recognise, or the overlay of one of its models."""

    job: Job
    overlay: int | None = None
    drawn: Future[Path] | None = None


class JobQueue:
    """Takes clips in, has them worked on by a few processes, and forgets them.

    All methods may be called from any thread, and none waits for a clip.

    Args:
        limits: what is let in.
        start_worker: starts a worker process.
        clock: seconds; another one for tests.
    """

    def __init__(
        self,
        limits: Limits,
        start_worker: Callable[[], Worker],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.limits = limits
        self._start_worker = start_worker
        self._clock = clock
        _sweep()
        self._folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-"))
        self._jobs: dict[str, Job] = {}
        self._queue: deque[_QueuedTask] = deque()
        self._busy = 0
        self._took = 5.0
        self._changed = threading.Condition()
        self._closed = threading.Event()
        self._workers: dict[int, Worker] = {}
        self._attendants: list[threading.Thread] = []

    def open(self) -> None:
        """Start the workers and wait until they are ready.

        Raises:
            GlimpsesError: the models cannot be loaded.
        """
        try:
            for place in range(self.limits.workers):
                self._workers[place] = self._start_worker()
            for worker in self._workers.values():
                worker.wait(_LOADING)
        except WorkerKilledError as error:
            raise GlimpsesError(
                f"a worker {error} while it loaded the models; is there memory enough? try "
                "--workers 1"
            ) from error
        for place in range(self.limits.workers):
            thread = threading.Thread(target=self._worker_loop, args=(place,), daemon=True)
            thread.start()
            self._attendants.append(thread)

    def close(self) -> None:
        """Kill the workers and delete every file."""
        with self._changed:
            self._closed.set()
            self._changed.notify_all()
            workers = list(self._workers.values())
        for worker in workers:
            worker.kill()
        for thread in self._attendants:
            thread.join()
        shutil.rmtree(self._folder, ignore_errors=True)

    def reserve(
        self,
        name: str,
        models: Sequence[int],
        *,
        video: Path | None = None,
        truth: Sequence[str] = (),
        sender: str = "",
    ) -> Job:
        """Keep a place for a clip that is about to arrive.

        Args:
            name: what its sender calls it.
            models: which runs are to look at it.
            video: the file, where nothing is sent; else it is to be written to `Job.video`.
            truth: what it is known to show.
            sender: address that it comes from; see `SHARE`.

        Raises:
            QueueFullError: too many clips wait.
            OSError: nothing can be written.
        """
        self.expire()
        with self._changed:
            self._require_room()
            arriving = [job for job in self._jobs.values() if job.state == "arriving"]
            own = 0 if is_local_proxy(sender) else sum(job.sender == sender for job in arriving)
            if len(arriving) >= self.limits.waiting or own >= max(1, SHARE * self.limits.waiting):
                raise QueueFullError(_clips(len(arriving), "arriving"), 10)
            key = secrets.token_urlsafe(12)
            folder = self._folder / key
            # Whatever cleans the system's temporary files may have taken it.
            self._folder.mkdir(mode=0o700, exist_ok=True)
            folder.mkdir()
            job = Job(key, name, tuple(models), folder, video or folder / UPLOAD, tuple(truth))
            job.asked, job.sender = self._clock(), sender
            self._jobs[key] = job
            self._changed.notify_all()
            return job

    def submit(self, job: Job) -> None:
        """A clip has arrived; it waits for its turn from now on."""
        with self._changed:
            if job.id in self._jobs:
                job.state, job.asked = "waiting", self._clock()
                self._queue.append(_QueuedTask(job))
                self._changed.notify_all()

    def get(self, key: str) -> Job | None:
        """A clip by its id; None if there is none, or none any more."""
        with self._changed:
            job = self._jobs.get(key)
            if job is not None:
                job.asked = self._clock()
            return job

    def ahead(self, job: Job) -> int:
        """How many clips are worked on before this one gets its turn."""
        with self._changed:
            tasks = [task.job for task in self._queue]
            return self._busy + tasks.index(job) if job in tasks else 0

    def waiting(self) -> tuple[int, int]:
        """How many clips wait, and how many are worked on."""
        with self._changed:
            return len(self._queue), self._busy

    def overlay(self, job: Job, model: int) -> Future[Path]:
        """The overlay video of one of its models, drawn when it is first asked for.

        Args:
            job: a clip that is done.
            model: number of the run.

        Raises:
            QueueFullError: too much waits.
        """
        with self._changed:
            if model not in job.overlays or job.overlays[model].cancelled():
                self._require_room()
                job.overlays[model] = Future()
                self._queue.append(_QueuedTask(job, model, job.overlays[model]))
                self._changed.notify_all()
            return job.overlays[model]

    def remove(self, job: Job) -> None:
        """Forget a clip and delete its files; work on it is given up."""
        with self._changed:
            self._jobs.pop(job.id, None)
            for task in [task for task in self._queue if task.job is job]:
                self._queue.remove(task)
            for overlay in job.overlays.values():
                overlay.cancel()
        shutil.rmtree(job.folder, ignore_errors=True)
        with self._changed:
            self._changed.notify_all()

    def expire(self) -> None:
        """Forget what nobody has asked for in a while, and the oldest of too many."""
        now = self._clock()
        old, left = now - 60 * self.limits.keep, now - self.limits.interest
        with self._changed:
            gone = [
                job
                for job in self._jobs.values()
                if job.state in ("waiting", "working") and job.asked < left
            ]
            # Failures are counted apart: a flood of them must not wash results away.
            for state in ("done", "failed"):
                resting = sorted(
                    (
                        job
                        for job in self._jobs.values()
                        if job.state == state and all(each.done() for each in job.overlays.values())
                    ),
                    key=lambda job: job.asked,
                )
                many = len(resting) - self.limits.held + 1
                gone += [job for at, job in enumerate(resting) if at < many or job.asked < old]
        for job in gone:
            self.remove(job)

    def _require_room(self) -> None:
        """Refuse what would wait behind too much."""
        waiting = len(self._queue)
        if waiting >= self.limits.waiting:
            seconds = self._took * (waiting + self._busy) / self.limits.workers
            raise QueueFullError(_clips(waiting, "waiting"), seconds)

    def _worker_loop(self, place: int) -> None:
        """Hand one worker its tasks, and replace it when it had to be killed."""
        while (task := self._next()) is not None:
            started, useless, problem = self._clock(), False, None
            try:
                self._hand_over(place, task)
            except GlimpsesError as error:
                problem = str(error)
            except WorkerKilledError as error:
                problem, useless = f"{task.job.name}: {_why(error, self.limits)}", True
            except Exception as error:
                # Whatever it is, the next clip must have its turn.
                log.exception("%s", task.job.name)
                problem, useless = f"{task.job.name}: went wrong ({type(error).__name__})", True
            if problem is None:
                self._took += 0.2 * (self._clock() - started - self._took)
            self._finish(task, problem)
            if useless and not self._closed.is_set():
                self._replace(place)

    def _next(self) -> _QueuedTask | None:
        with self._changed:
            while True:
                self._changed.wait_for(lambda: self._queue or self._closed.is_set())
                if self._closed.is_set():
                    return None
                task = self._queue.popleft()
                # From now on nobody who gives up waiting takes an overlay from the others.
                if task.drawn is None or task.drawn.set_running_or_notify_cancel():
                    break
            self._busy += 1
            if task.overlay is None:
                task.job.state = "working"
            self._changed.notify_all()
            return task

    def _hand_over(self, place: int, task: _QueuedTask) -> None:
        job = task.job
        # One may have died while nobody needed it.
        if place not in self._workers or not self._workers[place].alive:
            self._replace(place)
        if place not in self._workers:
            raise GlimpsesError(f"{job.name}: the models cannot be loaded any more")
        order = Task(
            kind="recognise" if task.overlay is None else "draw",
            folder=str(job.folder),
            video=str(job.video),
            name=job.name,
            models=job.models if task.overlay is None else (task.overlay,),
            most_seconds=self.limits.seconds,
            truth=job.truth,
        )

        def progress(share: float, doing: str) -> bool:
            if task.overlay is None:
                job.progress, job.doing = share, doing
            return job.id in self._jobs

        self._workers[place].run(order, self.limits.patience, progress)

    def _finish(self, task: _QueuedTask, problem: str | None) -> None:
        job = task.job
        # Only copies are shown from now on. An example is not ours to delete.
        if task.overlay is None and job.video.parent == job.folder:
            job.video.unlink(missing_ok=True)
        with self._changed:
            self._busy -= 1
            if task.overlay is None:
                job.problem, job.progress = problem, 1.0
                job.state = "failed" if problem else "done"
                job.asked = self._clock()
            elif task.drawn is not None:
                if problem is None:
                    task.drawn.set_result(job.folder / overlay_name(task.overlay))
                else:
                    task.drawn.set_exception(GlimpsesError(problem))
                    # Whoever asks again may have better luck.
                    job.overlays.pop(task.overlay, None)
            gone = job.id not in self._jobs
            self._changed.notify_all()
        if gone:
            shutil.rmtree(job.folder, ignore_errors=True)

    def _replace(self, place: int) -> None:
        """Start a worker in place of one that is of no use any more; none if it does not start."""
        if place in self._workers:
            self._workers.pop(place).kill()
        with self._changed:
            if self._closed.is_set():
                return
            try:
                worker = self._workers[place] = self._start_worker()
            except OSError as error:
                log.warning("no worker can be started: %s", error.strerror or error)
                return
        try:
            worker.wait(_LOADING)
        except (GlimpsesError, WorkerKilledError):
            self._workers.pop(place).kill()


def _sweep() -> None:
    """Delete what servers left that were killed before they could."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        owner = folder.name.removeprefix(_PREFIX).partition("-")[0]
        if owner.isdecimal() and not Path("/proc", owner).exists() and Path("/proc/self").exists():
            shutil.rmtree(folder, ignore_errors=True)


def _clips(many: int, doing: str) -> str:
    return f"{many} {'clip is' if many == 1 else 'clips are'} {doing}"


def _why(error: WorkerKilledError, limits: Limits) -> str:
    if str(error) == "took too long":
        return (
            f"took longer than {limits.patience:g} seconds and was given up; make the clip shorter "
            "or smaller"
        )
    return "broke the decoder; convert it to H.264 in MP4"
