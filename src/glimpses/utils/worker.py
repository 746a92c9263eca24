"""Supervised worker processes: limited, killed when they hang, and replaced when they crash.

A worker handles input that may crash, hang or take over the process that reads it. So parent and
worker exchange JSON and raw bytes, never pickles, which rules out the usual process pools. The
worker is a new interpreter, not a fork, and does not run the user's main module again. It ends with
its parent, however that ends, because its input is a pipe from the parent.
"""

from __future__ import annotations

import atexit
import io
import json
import os
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Literal, cast
from weakref import WeakSet

import numpy as np
from jaxtyping import UInt8

from glimpses.utils.errors import GlimpsesError

#: Header of what a worker sends: kind and length in bytes. Kinds are JSON and raw bytes.
HEADER, JSON, BYTES = struct.Struct("<cQ"), b"J", b"B"

# Seconds between two checks of the workers that are waited for.
_INTERVAL = 0.25
# Longest JSON message from a worker in bytes; times of an hour of frames have 2 MB.
_MAX_JSON = 1 << 26
# Bytes that a pipe holds, where the system lets us choose: some frames more keep both sides busy.
_PIPE_SIZE = 1 << 20

# Ctrl-C reaches the group of processes that the terminal waits for.
_FLAGS = getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)
_GROUP = None if _FLAGS else 0

_START = "import sys, json; sys.path[:] = json.loads(sys.argv[1]); import {module} as m; m.run()"

#: Called while nothing comes from a worker, with the seconds of waiting; returns False to kill it.
WaitCallback = Callable[[float], bool]


class WorkerKilledError(Exception):
    """A worker died, was killed because it took too long, or was stopped by a `WaitCallback`.

    Attributes:
        cause: which of these.
        reason: how it ended, such as "SIGSEGV".
    """

    def __init__(
        self, cause: Literal["died", "timed out", "stopped"] = "died", reason: str = ""
    ) -> None:
        self.cause = cause
        self.reason = reason
        super().__init__({"timed out": "took too long"}.get(cause, cause))


class WorkerProcess:
    """Handle of a worker process; one thread at a time may use it.

    Args:
        main: function that the worker runs, `module:name`; called with a `Channel` and `arguments`.
        arguments: values that JSON can hold.
        environment: variables to add to those of this process.
        max_bytes: most raw bytes to accept at once.

    Attributes:
        tasks: number of tasks sent.
    """

    def __init__(
        self,
        main: str,
        arguments: Mapping[str, Any],
        *,
        environment: Mapping[str, str] | None = None,
        max_bytes: int = _MAX_JSON,
    ) -> None:
        # A relative folder would follow the worker into other folders.
        path = [os.path.abspath(folder) for folder in sys.path]  # noqa: PTH100
        command = _START.format(module="glimpses.utils.worker_main")
        start = json.dumps({"main": main, "arguments": dict(arguments)})
        # Ctrl-C must not reach the worker: the parent decides what ends. -P keeps the modules of
        # the current folder, which may hold anything, from being imported.
        try:
            self._process: subprocess.Popen[bytes] = subprocess.Popen(
                [sys.executable, "-P", "-c", command, json.dumps(path), start],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                env={**os.environ, **(environment or {})}, bufsize=0, creationflags=_FLAGS,
                process_group=_GROUP,
            )  # fmt: skip
        except OSError as error:
            reason = error.strerror or str(error)
            raise GlimpsesError(f"{sys.executable}: cannot be started ({reason})") from error
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._input = self._process.stdin
        self._output = cast("io.FileIO", self._process.stdout)
        self._max_bytes = max_bytes
        self.tasks = 0
        # Read by the watchdog.
        self._waiting_since: float | None = None
        self._timeout = 0.0
        self._while_waiting: WaitCallback | None = None
        self._cause: Literal["died", "timed out", "stopped"] = "died"
        self._abandoned = False
        _enlarge_pipe(self._output.fileno())
        _watch(self)

    @property
    def alive(self) -> bool:
        """True while the process is running and belongs to this process."""
        return not self._abandoned and self._process.poll() is None

    @property
    def pid(self) -> int:
        """Id of the process."""
        return self._process.pid

    def start_task(self, task: Mapping[str, Any]) -> None:
        """Send a task to the worker.

        Raises:
            WorkerKilledError: the worker has died.
        """
        self.tasks += 1
        self._send({"number": self.tasks, "task": dict(task)})

    def cancel(self) -> None:
        """Ask the worker to stop the current task; it still sends the last message of the task.

        Raises:
            WorkerKilledError: the worker has died.
        """
        self._send({"cancel": self.tasks})

    def receive(
        self, timeout: float, while_waiting: WaitCallback | None = None
    ) -> dict[str, Any] | UInt8[np.ndarray, " bytes"]:
        """Return what the worker sends next: a message or raw bytes.

        Args:
            timeout: seconds after which the worker is killed.
            while_waiting: called now and then by another thread; see `WaitCallback`.

        Raises:
            WorkerKilledError: the worker died, timed out or sent garbage.
        """
        self._timeout, self._while_waiting = timeout, while_waiting
        self._waiting_since = time.monotonic()
        try:
            message = self._read_message()
        except (EOFError, OSError, ValueError, RecursionError) as error:
            raise self._failure() from error
        finally:
            self._waiting_since = None
        if message is None:
            raise self._failure()
        return message

    def kill(self) -> None:
        """Kill the process."""
        if self._abandoned:
            return
        self._process.kill()
        self._process.wait()
        for pipe in (self._input, self._output):
            with suppress(OSError):
                pipe.close()

    def abandon(self) -> None:
        """Forget the process, which belongs to the parent of this one since a fork."""
        self._abandoned = True
        self._process.returncode = 0
        self._input.close()
        self._output.close()

    def check(self, now: float) -> None:
        """Kill the process if it has been waited for too long; called by the watchdog."""
        since, callback = self._waiting_since, self._while_waiting
        if since is None or self._abandoned:
            return
        if now - since > self._timeout:
            self._cause = "timed out"
            self._process.kill()
        elif callback is not None and not callback(now - since):
            self._cause = "stopped"
            self._process.kill()

    def _send(self, message: Mapping[str, Any]) -> None:
        try:
            self._input.write(json.dumps(message).encode() + b"\n")
        except (OSError, ValueError) as error:
            raise self._failure() from error

    def _read_message(self) -> dict[str, Any] | UInt8[np.ndarray, " bytes"] | None:
        """Read a message; return None for anything else."""
        kind, length = HEADER.unpack(self._read(HEADER.size).data)
        if length > {JSON: _MAX_JSON, BYTES: self._max_bytes}.get(kind, -1):
            return None
        content = self._read(length)
        if kind == BYTES:
            return content
        message = json.loads(content.tobytes())
        return message if isinstance(message, dict) else None

    def _read(self, length: int) -> UInt8[np.ndarray, " bytes"]:
        content = np.empty(length, np.uint8)
        view, done = content.data, 0
        while done < length:
            count = self._output.readinto(view[done:])
            if not count:
                raise EOFError
            done += count
        return content

    def _failure(self) -> WorkerKilledError:
        """Kill the process if it still runs, and return the error with the reason."""
        status: int | None = None
        # A process that closed its output is about to end; its status has the reason.
        with suppress(subprocess.TimeoutExpired):
            status = self._process.wait(0.5)
        self.kill()
        if status is None:
            return WorkerKilledError(self._cause, "sent garbage")
        try:
            reason = signal.Signals(-status).name
        except ValueError:
            reason = f"status {status}"
        return WorkerKilledError(self._cause, reason)


_workers: WeakSet[WorkerProcess] = WeakSet()
_lock = threading.Lock()
_watchdog: threading.Thread | None = None


def _watch(worker: WorkerProcess) -> None:
    """Have a thread of this process check a worker, and kill the worker at exit."""
    global _watchdog
    with _lock:
        _workers.add(worker)
        if _watchdog is None:
            _watchdog = threading.Thread(target=_look_at_workers, name="watchdog", daemon=True)
            _watchdog.start()


def _look_at_workers() -> None:
    while True:
        time.sleep(_INTERVAL)
        with _lock:
            workers = list(_workers)
        now = time.monotonic()
        for worker in workers:
            worker.check(now)


def _kill_all() -> None:
    with _lock:
        workers = list(_workers)
    for worker in workers:
        worker.kill()


def _forget_after_fork() -> None:
    """Leave the workers to the parent: both would read from the same pipes."""
    global _lock, _watchdog
    _lock, _watchdog = threading.Lock(), None
    for worker in list(_workers):
        worker.abandon()
    _workers.clear()


def _enlarge_pipe(descriptor: int) -> None:
    try:
        import fcntl

        fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, _PIPE_SIZE)
    except (ImportError, AttributeError, OSError):
        # Linux only, and limited for each user.
        return


atexit.register(_kill_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_after_fork)
