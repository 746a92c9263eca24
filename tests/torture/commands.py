"""Commands in processes of their own, and what is true of a command whatever it is given."""

from __future__ import annotations

import atexit
import json
import os
import re
import resource
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

# Largest process of a command, in megabytes: PyTorch and the graphs, or a decoder at its limit.
MEMORY_LIMIT = 2500
#: Options of every command here: a decoder has less time and memory than by default.
LIMITS = ("--clip-timeout", "10", "--clip-memory", "1.5")

_MAX_LINE = 1200
# Lines that a program may print on standard error: messages, tables, and progress in log files.
_LINE = re.compile(
    r"(error|warning|info): |.*\b\d+ of \d+\b|.* elapsed\b|.*: done in |.*[┃│┏┡└━]| *$"
)


@dataclass(frozen=True)
class Outcome:
    """End of a command.

    Attributes:
        arguments: the command line, without `glimpses`.
        code: exit code, negative for a signal, None if it was killed because it took too long.
        output: standard output.
        error: standard error.
        seconds: time that it took.
        megabytes: peak memory of its largest process.
    """

    arguments: tuple[str, ...]
    code: int | None
    output: str
    error: str
    seconds: float
    megabytes: float

    def json(self) -> Any:
        """Return the JSON on standard output, without NaN and infinity, which JSON lacks."""
        return json.loads(self.output, parse_constant=_refuse_constant)

    def error_lines(self) -> list[str]:
        """Return the lines on standard error that name an error or a warning."""
        lines = self.error.splitlines()
        return [line for line in lines if line.startswith(("error: ", "warning: "))]


class Command:
    """A running command of Glimpses.

    The process is a fork of this one, which has imported the package, so that it starts at once.
    This process must have no other thread at that time, and must not have computed with PyTorch.

    Args:
        arguments: the command line, without `glimpses`.
        folder: folder to run in; gets `stdout.txt` and `stderr.txt` in its `.logs`.
        environment: variables to set.
        before: called in the process before the command.
    """

    def __init__(
        self,
        arguments: tuple[str, ...],
        folder: Path,
        *,
        environment: Mapping[str, str] | None = None,
        before: Callable[[], None] | None = None,
    ) -> None:
        self.arguments = arguments
        self._logs = folder.parent / f"{folder.name}.logs"
        self._logs.mkdir(exist_ok=True)
        for name in ("stdout.txt", "stderr.txt"):
            (self._logs / name).write_bytes(b"")
        self._start = time.monotonic()
        self.pid = os.fork()
        if self.pid == 0:
            self._run(folder, environment or {}, before)

    def _run(
        self, folder: Path, environment: Mapping[str, str], before: Callable[[], None] | None
    ) -> NoReturn:
        code = 70
        try:
            os.setsid()
            for number, name in ((1, "stdout.txt"), (2, "stderr.txt")):
                os.dup2(os.open(self._logs / name, os.O_WRONLY), number)
            os.chdir(folder)
            os.environ.update(environment)
            import tempfile

            from glimpses.cli import run

            tempfile.tempdir = None
            if before is not None:
                before()
            code = run(self.arguments)
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
        except BaseException:
            traceback.print_exc()
        finally:
            with suppress(BaseException):
                threading._shutdown()  # type: ignore[attr-defined]
                atexit._run_exitfuncs()
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(code)

    def output(self) -> str:
        """Return what the command has printed so far."""
        return (self._logs / "stdout.txt").read_text(errors="replace")

    def sleep(self, seconds: float) -> None:
        """Wait for some seconds, or until the command ends."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and not os.waitid(
            os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT
        ):
            time.sleep(0.002)

    def kill(self) -> None:
        """Kill the process of the command, as a user or the system would, and wait for it."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        self.wait(60)

    def wait(self, timeout: float) -> Outcome:
        """Wait for the end, and kill everything after `timeout` seconds."""
        deadline, late = time.monotonic() + timeout, False
        while True:
            pid, status, usage = os.wait4(self.pid, os.WNOHANG)
            if pid:
                break
            if time.monotonic() > deadline:
                late = True
                with suppress(ProcessLookupError):
                    os.killpg(self.pid, signal.SIGKILL)
            time.sleep(0.005)
        code = None if late else os.waitstatus_to_exitcode(status)
        return Outcome(
            self.arguments, code, self.output(),
            (self._logs / "stderr.txt").read_text(errors="replace"),
            time.monotonic() - self._start, usage.ru_maxrss / 1024,
        )  # fmt: skip

    def peak_memory(self) -> float:
        """Return the peak memory of the largest living process of the command, in megabytes."""
        peaks = [0]
        for pid in _session(self.pid):
            with suppress(OSError):
                status = Path(f"/proc/{pid}/status").read_text()
                peaks += [int(size) for size in re.findall(r"VmHWM:\s+(\d+) kB", status)]
        return max(peaks) / 1024

    def survivors(self, timeout: float = 10.0) -> list[int]:
        """Return the processes of the command's session that do not end within `timeout`."""
        deadline = time.monotonic() + timeout
        while alive := _session(self.pid):
            if time.monotonic() > deadline:
                for pid in alive:
                    os.kill(pid, signal.SIGKILL)
                return alive
            time.sleep(0.02)
        return []


def run(
    arguments: tuple[str, ...],
    folder: Path,
    *,
    timeout: float,
    environment: Mapping[str, str] | None = None,
    before: Callable[[], None] | None = None,
) -> Outcome:
    """Run a command and wait for its end, or kill it after `timeout` seconds."""
    return Command(arguments, folder, environment=environment, before=before).wait(timeout)


def in_child(function: Callable[[], None], log: Path) -> None:
    """Run a function in a fork, which takes the threads and the memory of libraries with it.

    What the function and libraries print goes to a log.
    """
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            for number in (1, 2):
                os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644), number)
            function()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    if os.waitpid(pid, 0)[1]:
        raise RuntimeError(log.read_text(errors="replace"))


def limit_file_size(size: int) -> None:
    """Let this process write no file beyond a size in bytes, as on a full disk."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def problems(outcome: Outcome, *, codes: tuple[int, ...] = (0, 1)) -> list[str]:
    """Return what is wrong with the end of a command that may have been given anything."""
    found = []
    if outcome.code is None:
        found.append(f"took longer than {outcome.seconds:.0f} s")
    elif outcome.code not in codes:
        found.append(f"ended with code {outcome.code}")
    if outcome.megabytes > MEMORY_LIMIT:
        found.append(f"took {outcome.megabytes:.0f} MB")
    if "Traceback (most recent call last)" in outcome.error or "Exception ignored" in outcome.error:
        found.append("printed a traceback")
    for line in outcome.error.splitlines():
        if not _LINE.match(line) or len(line) > _MAX_LINE:
            found.append(f"printed on standard error: {line[:200]!r}")
    if any(ord(letter) < 32 and letter != "\n" for letter in outcome.output + outcome.error):
        found.append("printed control characters")
    errors = [line for line in outcome.error.splitlines() if line.startswith("error: ")]
    if outcome.code == 1 and not errors:
        found.append("gave no reason for its exit code")
    if "--json" in outcome.arguments and outcome.code is not None and outcome.output:
        try:
            outcome.json()
        except ValueError as error:
            found.append(f"printed no JSON ({error})")
    return found


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _session(leader: int) -> list[int]:
    """Return the living processes of a session."""
    members = []
    for process in Path("/proc").iterdir():
        if process.name.isdecimal():
            with suppress(OSError, ValueError, IndexError):
                state, *numbers = (process / "stat").read_text().rpartition(")")[2].split()
                if int(numbers[2]) == leader and state != "Z":
                    members.append(int(process.name))
    return members
