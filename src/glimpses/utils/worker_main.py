"""The inside of a worker process: its channel to the parent and the limits on its resources."""

from __future__ import annotations

import importlib
import json
import os
import queue
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from glimpses.utils.worker import BYTES, HEADER, JSON


class Channel:
    """Connection of a worker to its parent.

    A thread reads what the parent sends, and ends the process when the parent has ended.
    """

    def __init__(self) -> None:
        self._input = os.fdopen(os.dup(0), "rb")
        self._output = os.fdopen(os.dup(1), "wb")
        # Libraries may print; only messages may reach the parent.
        nowhere = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1):
            os.dup2(nowhere, descriptor)
        self._tasks: queue.Queue[tuple[int, dict[str, Any]]] = queue.Queue()
        self._task = self._cancelled_task = 0
        threading.Thread(target=self._read, name="parent", daemon=True).start()

    @property
    def cancelled(self) -> bool:
        """True if the parent has cancelled the current task."""
        return self._cancelled_task == self._task

    def next_task(self) -> dict[str, Any]:
        """Wait for the next task and return it."""
        self._task, task = self._tasks.get()
        return task

    def send(self, message: Mapping[str, Any]) -> None:
        """Send a message."""
        content = json.dumps(message).encode()
        self._output.write(HEADER.pack(JSON, len(content)) + content)
        self._output.flush()

    def send_bytes(self, *parts: bytes | memoryview) -> None:
        """Send raw bytes, given in parts."""
        self._output.write(HEADER.pack(BYTES, sum(len(part) for part in parts)))
        for part in parts:
            self._output.write(part)
        self._output.flush()

    def _read(self) -> None:
        with suppress(OSError, ValueError):
            for line in self._input:
                message = json.loads(line)
                if "cancel" in message:
                    self._cancelled_task = message["cancel"]
                else:
                    self._tasks.put((message["number"], message["task"]))
        os._exit(0)


def run() -> None:
    """Run the function that the parent named on the command line."""
    start = json.loads(sys.argv[2])
    channel = Channel()
    module, _, name = start["main"].partition(":")
    # The parent may be gone, or may have closed the pipe.
    with suppress(BrokenPipeError):
        try:
            main = getattr(importlib.import_module(module), name)
        except ImportError as error:
            channel.send({"failed": str(error)})
            return
        main(channel, **start["arguments"])


def limit_resources(*, memory: float, file_size: int) -> None:
    """Limit this process, if the system supports it: Linux does, macOS and Windows only in part.

    Args:
        memory: bytes that it may take from now on.
        file_size: largest file that it may write, in bytes.
    """
    try:
        import resource
        import signal

        # A crash must not fill the disk.
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_size, file_size))
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = int(pages * os.sysconf("SC_PAGE_SIZE") + memory)
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    except (ImportError, OSError, ValueError):
        return
