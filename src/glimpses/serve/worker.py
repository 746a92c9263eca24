"""The process that opens what strangers send, and the handle by which it is held and killed.

Decoders meet hostile files here and nowhere else. The two sides speak JSON, one object a message,
so that nothing a broken decoder writes is ever executed by the server.
"""

from __future__ import annotations

import errno
import json
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

# What the decoders and encoders of one clip may take beside the models, in bytes; and a file.
_MEMORY, _FILE = 3 << 30, 1 << 30
# Messages of progress that nobody could read are not worth sending.
_EVERY = 0.1
# Bytes of a message at most; what comes from a worker that was taken over may be anything.
_LONGEST = 1 << 16
# Sent where an order is, it calls off the one before; one that came too late calls off nothing.
_STOP = {"stop": True}

#: Files in a clip's folder.
UPLOAD, COPY, PREDICTION = "upload", "clip.mp4", "prediction.json"


def picture_name(model: int, number: int) -> str:
    """The file of a model's picture of one of its decisive steps."""
    return f"{model}-{number}.jpg"


def overlay_name(model: int) -> str:
    """The file of a model's overlay video."""
    return f"{model}.mp4"


@dataclass(frozen=True)
class Task:
    """What a worker is asked to do.

    Attributes:
        kind: "recognise" a clip, or "draw" the overlay of one that was recognised.
        folder: of the clip; results go there.
        video: the file to recognise.
        name: what its sender calls it.
        models: which of the runs, by number; of an overlay the one.
        most_seconds: longest clip to read.
        truth: what the clip is known to show, if it is.
    """

    kind: str
    folder: str
    video: str
    name: str
    models: Sequence[int]
    most_seconds: float
    truth: Sequence[str] = ()


class WorkerKilledError(Exception):
    """The worker took too long, or died."""


class Worker:
    """A process that has the models loaded and carries out one order after another.

    Args:
        runs: folders of the trained runs.
        threads: how many it may use.
        main: what runs in the process; another one for tests.
    """

    def __init__(
        self,
        runs: Sequence[Path],
        threads: int,
        main: Callable[..., None] | None = None,
    ) -> None:
        context = multiprocessing.get_context("spawn")
        self._mine, theirs = context.Pipe()
        self._process = context.Process(
            target=main or work, args=(theirs, [str(run) for run in runs], threads), daemon=True
        )
        self._process.start()
        theirs.close()

    @property
    def alive(self) -> bool:
        """Whether its process still runs."""
        return self._process.is_alive()

    def wait(self, patience: float) -> None:
        """Wait until its models are loaded.

        Raises:
            GlimpsesError: they cannot be.
            WorkerKilledError: it died, or took longer than `patience` seconds.
        """
        for message in self._messages(patience):
            if "failed" in message:
                raise GlimpsesError(str(message["failed"]))
            return

    def run(self, order: Task, patience: float, progress: Callable[[float, str], bool]) -> None:
        """Give an order and wait until it is done.

        Args:
            order: what to do.
            patience: how many seconds it may take.
            progress: called with the share done and what is being done; tells whether to go on.

        Raises:
            GlimpsesError: the clip cannot be used; the line names no path.
            WorkerKilledError: the worker died, or took too long and was killed.
        """
        self._send(vars(order))
        stopping = False
        for message in self._messages(patience):
            if "failed" in message:
                raise GlimpsesError(str(message["failed"]))
            if "done" in message:
                return
            try:
                share, doing = float(message["progress"]), str(message["doing"])
            except (TypeError, KeyError, ValueError) as error:
                raise WorkerKilledError("died") from error
            if not progress(share, doing) and not stopping:
                stopping = True
                self._send(_STOP)

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()
        self._process.join()
        self._mine.close()

    def _send(self, message: Mapping[str, Any]) -> None:
        try:
            self._mine.send_bytes(json.dumps(message).encode())
        except OSError as error:
            raise WorkerKilledError("died") from error

    def _messages(self, patience: float) -> Iterator[dict[str, Any]]:
        deadline = time.monotonic() + patience
        while True:
            try:
                if not self._mine.poll(max(0.0, deadline - time.monotonic())):
                    raise WorkerKilledError("took too long")
                yield json.loads(self._mine.recv_bytes(_LONGEST))
            except (EOFError, OSError, ValueError) as error:
                raise WorkerKilledError("died") from error


def work(connection: Connection, runs: Sequence[str], threads: int) -> None:
    """What runs in the process: load, then carry out orders until the server is gone."""
    # Ctrl-C reaches the whole group; the server ends its workers itself.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    say = _sayer(connection)
    try:
        import torch

        from glimpses.inference import Recogniser

        torch.set_num_threads(threads)
        recognisers = [Recogniser.load(run) for run in runs]
    except GlimpsesError as error:
        say({"failed": str(error)})
        return
    _limit_resources()
    say({"ready": True})
    from glimpses.serve.clip_tasks import draw, recognise

    actions = {"recognise": recognise, "draw": draw}
    while True:
        try:
            message = json.loads(connection.recv_bytes())
        except EOFError:
            return
        if message == _STOP:
            continue
        order = Task(**message)
        try:
            actions[order.kind](recognisers, order, _progress(connection, say, order))
        except MemoryError:
            say({"failed": f"{order.name}: needs more memory than a clip may; make it smaller"})
        except Exception as error:
            # Whatever a hostile file brings about, its sender gets a line and the next one a turn.
            if _is_full(error):
                line = f"{order.name}: the server's disk is full; try again later"
            elif isinstance(error, GlimpsesError):
                line = without_paths(str(error), order)
            else:
                print(f"error: {order.name}: {type(error).__name__}: {error}", file=sys.stderr)
                line = f"{order.name}: cannot be read; convert it to H.264 in MP4"
            say({"failed": line})
        else:
            say({"done": True})


def without_paths(line: str, order: Task) -> str:
    """A line for the sender: its own name for the file, and nothing of this machine."""
    return line.replace(order.video, order.name).replace(order.folder, order.name)


def _is_full(error: BaseException) -> bool:
    """Whether it was a full disk, whatever was made of that on the way."""
    found: BaseException | None = error
    while found is not None:
        if isinstance(found, OSError) and found.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            return True
        found = found.__cause__ or found.__context__
    return False


def _progress(
    connection: Connection, say: Callable[[Mapping[str, Any]], None], order: Task
) -> Callable[[float, str], None]:
    """Tells the server how far an order is, now and then, and hears when it is called off."""
    told, last = 0.0, ""

    def progress(share: float, doing: str) -> None:
        nonlocal told, last
        if connection.poll():
            connection.recv_bytes()
            raise GlimpsesError(f"{order.name}: was sent away")
        if (now := time.monotonic()) - told > _EVERY or doing != last:
            told, last = now, doing
            say({"progress": share, "doing": doing})

    return progress


def _sayer(connection: Connection) -> Callable[[Mapping[str, Any]], None]:
    def say(message: Mapping[str, Any]) -> None:
        connection.send_bytes(json.dumps(message).encode())

    return say


def _limit_resources() -> None:
    """Let a clip take so much memory and disk, and no more; where the system can."""
    try:
        import resource

        pages = int(Path("/proc/self/statm").read_text().split()[0])
        most = pages * os.sysconf("SC_PAGE_SIZE") + _MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
        resource.setrlimit(resource.RLIMIT_FSIZE, (_FILE, _FILE))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    except (ImportError, OSError, ValueError):
        return
