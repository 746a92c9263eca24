"""Worker process that decodes untrusted files, and the handle that controls it.

Only workers decode uploads. Server and worker exchange one JSON object per message, so that a
compromised decoder cannot make the server execute anything.
"""

from __future__ import annotations

import errno
import json
import logging
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from glimpses.utils.errors import GlimpsesError

# Limits in bytes: memory for one clip beside the models, and size of a written file.
_MAX_MEMORY, _MAX_FILE = 3 << 30, 1 << 30
# Shortest interval, in seconds, between two progress messages of the same stage.
_PROGRESS_INTERVAL = 0.1
# Largest message, in bytes, that the server accepts from a worker.
_MAX_MESSAGE = 1 << 16
# Cancels the current task; ignored between tasks.
_CANCEL = {"cancel": True}

#: Names of the files in a job's folder.
UPLOAD, COPY, PREDICTION = "upload", "clip.mp4", "prediction.json"


def picture_name(model: int, index: int) -> str:
    """Return the file name of a model's picture of a decisive step."""
    return f"{model}-{index}.jpg"


def overlay_name(model: int) -> str:
    """Return the file name of a model's overlay video."""
    return f"{model}.mp4"


@dataclass(frozen=True)
class Task:
    """A task of a worker.

    Attributes:
        kind: "recognise" a clip, or "draw_overlay" for a recognised one.
        folder: folder of the clip and its results.
        video: the file to recognise.
        name: name of the file on the client.
        models: indices of the models to run; for an overlay the one to draw.
        max_seconds: longest clip to accept, in seconds.
        labels: annotated actions, if known.
    """

    kind: str
    folder: str
    video: str
    name: str
    models: Sequence[int]
    max_seconds: float
    labels: Sequence[str] = ()


class WorkerKilledError(Exception):
    """A worker died, or must be killed because it exceeded its time (`timed_out`)."""

    def __init__(self, *, timed_out: bool = False) -> None:
        self.timed_out = timed_out
        super().__init__("took too long" if timed_out else "died")


class Worker:
    """Handle of a process that has loaded the models and runs one task at a time.

    The process may use `threads` threads. Tests replace its function `main`.
    """

    def __init__(
        self, runs: Sequence[Path], threads: int, main: Callable[..., None] | None = None
    ) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, worker_connection = context.Pipe()
        args = (worker_connection, [str(run) for run in runs], threads)
        self._process = context.Process(target=main or worker_main, args=args, daemon=True)
        self._process.start()
        worker_connection.close()

    @property
    def alive(self) -> bool:
        """True while the process is running."""
        return self._process.is_alive()

    def wait_until_ready(self, timeout: float) -> None:
        """Wait until the models are loaded.

        Raises:
            GlimpsesError: the models cannot be loaded.
            WorkerKilledError: the process died or took longer than `timeout` seconds.
        """
        for message in self._messages(timeout):
            if "failed" in message:
                raise GlimpsesError(str(message["failed"]))
            return

    def run(self, task: Task, timeout: float, on_progress: Callable[[float, str], bool]) -> None:
        """Run a task and wait until it is done.

        Args:
            task: the task.
            timeout: seconds that it may take.
            on_progress: called with the share of work done and the stage; returns whether to go on.

        Raises:
            GlimpsesError: the clip cannot be used; the message contains no path.
            WorkerKilledError: the process died or timed out.
        """
        self._send(vars(task))
        cancelled = False
        for message in self._messages(timeout):
            if "failed" in message:
                raise GlimpsesError(str(message["failed"]))
            if "done" in message:
                return
            try:
                progress, stage = float(message["progress"]), str(message["stage"])
            except (TypeError, KeyError, ValueError) as error:
                raise WorkerKilledError from error
            if not on_progress(progress, stage) and not cancelled:
                cancelled = True
                self._send(_CANCEL)

    def kill(self) -> None:
        """Kill the process."""
        self._process.kill()
        self._process.join()
        self._connection.close()

    def _send(self, message: Mapping[str, Any]) -> None:
        try:
            _send(self._connection, message)
        except OSError as error:
            raise WorkerKilledError from error

    def _messages(self, timeout: float) -> Iterator[dict[str, Any]]:
        deadline = time.monotonic() + timeout
        while True:
            try:
                if not self._connection.poll(max(0.0, deadline - time.monotonic())):
                    raise WorkerKilledError(timed_out=True)
                yield json.loads(self._connection.recv_bytes(_MAX_MESSAGE))
            except (EOFError, OSError, ValueError) as error:
                raise WorkerKilledError from error


def _send(connection: Connection, message: Mapping[str, Any]) -> None:
    connection.send_bytes(json.dumps(message).encode())


def worker_main(connection: Connection, runs: Sequence[str], threads: int) -> None:
    """Load the models, then run tasks until the server closes the connection."""
    # Ctrl-C reaches the whole process group, but the server ends its workers itself.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    # The result has the warnings about a clip; the client must read them, not the operator.
    logging.getLogger("glimpses").setLevel(logging.ERROR)

    try:
        import torch

        from glimpses.inference import Recogniser

        torch.set_num_threads(threads)
        recognisers = [Recogniser.load(run) for run in runs]
    except GlimpsesError as error:
        _send(connection, {"failed": str(error)})
        return
    _limit_resources()
    _send(connection, {"ready": True})
    from glimpses.serve.clip_tasks import draw_overlay, recognise

    functions = {"recognise": recognise, "draw_overlay": draw_overlay}
    while True:
        try:
            message = json.loads(connection.recv_bytes())
        except EOFError:
            return
        if message == _CANCEL:
            continue
        task = Task(**message)
        try:
            functions[task.kind](recognisers, task, _progress_reporter(connection, task))
        except MemoryError:
            _send(connection, {"failed": f"{task.name}: needs too much memory; make it smaller"})
        except Exception as error:
            # A malicious file may raise anything: report one line, then serve the next task.
            if _is_disk_full(error):
                line = f"{task.name}: the server's disk is full; try again later"
            elif isinstance(error, GlimpsesError):
                # Hide paths of this machine.
                line = str(error).replace(task.video, task.name).replace(task.folder, task.name)
            else:
                print(f"error: {task.name}: {type(error).__name__}: {error}", file=sys.stderr)
                line = f"{task.name}: cannot be read; convert it to H.264 in MP4"
            _send(connection, {"failed": line})
        else:
            _send(connection, {"done": True})


def _is_disk_full(error: BaseException) -> bool:
    """Return whether a full disk is among the causes of an error."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            return True
        cause = cause.__cause__ or cause.__context__
    return False


def _progress_reporter(connection: Connection, task: Task) -> Callable[[float, str], None]:
    """Return a function that reports progress now and then, and raises when cancelled."""
    last_time, last_stage = 0.0, ""

    def report(progress: float, stage: str) -> None:
        nonlocal last_time, last_stage
        if connection.poll():
            connection.recv_bytes()
            raise GlimpsesError(f"{task.name}: cancelled")
        now = time.monotonic()
        if now - last_time > _PROGRESS_INTERVAL or stage != last_stage:
            last_time, last_stage = now, stage
            _send(connection, {"progress": progress, "stage": stage})

    return report


def _limit_resources() -> None:
    """Limit memory and file size of this process, if the system supports it."""
    try:
        import resource

        pages = int(Path("/proc/self/statm").read_text().split()[0])
        memory = pages * os.sysconf("SC_PAGE_SIZE") + _MAX_MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
        resource.setrlimit(resource.RLIMIT_FSIZE, (_MAX_FILE, _MAX_FILE))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    except (ImportError, OSError, ValueError):
        return
