"""Reading of videos in worker processes, so that a bad file costs nothing but its own clip.

A file can crash or block the libraries that decode it, or have them take all memory. Functions with
the decorator `isolated` or
`isolated_frames` run in a decoder process, which the file can take with it; the next file is
read by a new process. `DecodeOptions` has the limits.
"""

from __future__ import annotations

import math
import os
import struct
import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import asdict
from functools import wraps
from pathlib import Path
from typing import Any, NamedTuple, ParamSpec, TypeVar, get_args, get_type_hints

import msgspec
import numpy as np
from jaxtyping import UInt8

from glimpses.utils.errors import GlimpsesError
from glimpses.utils.limits import DecodeOptions, decode_options, is_isolated
from glimpses.utils.worker import WaitCallback, WorkerKilledError, WorkerProcess
from glimpses.video import suspects

#: Before the pixels of a frame: its time in seconds, its number, its height and its width.
FRAME_HEADER = struct.Struct("<dQII")

# Seconds that a decoder may take to start, and to end a reading that was cancelled.
_START_TIMEOUT, _CANCEL_TIMEOUT = 60.0, 2.0

# Decoders run beside the network, so each one has a single thread for arithmetic.
_ENVIRONMENT = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}

# Records that a decoder may have sent before it learns of the cancellation.
_MAX_PENDING = 10_000

_CRASHED, _ADVICE = "crashed the decoder", "convert it to H.264 in MP4, or remove it"

_P = ParamSpec("_P")
_R = TypeVar("_R")


class Frame(NamedTuple):
    """Sampled frame.

    Attributes:
        time: seconds since the video's first frame.
        pixels: RGB.
        number: number of the frame in the video, from 0; a frame may be sampled several times.
    """

    time: float
    pixels: UInt8[np.ndarray, "H W 3"]
    number: int


def isolated(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Decorate a function so that it runs in a decoder process.

    The function must be on the top level of its module. Its first argument is the path of a video,
    the others and the result must be convertible by msgspec. After
    `set_decode_options(..., isolated=False)` it runs in this process.

    The decorated function raises a GlimpsesError if the function raises one, and if the decoder
    crashes or exceeds a limit.
    """

    @wraps(function)
    def call(*args: _P.args, **options: _P.kwargs) -> _R:
        if not is_isolated():
            return function(*args, **options)
        result: _R = drain(_read(function, get_type_hints(function)["return"], args, options))
        return result

    return call


def isolated_frames(
    function: Callable[..., Generator[Frame, None, _R]],
) -> Callable[..., Generator[Frame, None, _R]]:
    """Decorate a generator of a video's frames so that it runs in a decoder process.

    The decorated one takes `while_waiting`, a `WaitCallback`, as well. Otherwise see `isolated`.
    """

    @wraps(function)
    def stream(
        *args: Any, while_waiting: WaitCallback | None = None, **options: Any
    ) -> Generator[Frame, None, _R]:
        if not is_isolated():
            return (yield from function(*args, **options))
        result_type = get_args(get_type_hints(function)["return"])[2]
        result: _R = yield from _read(function, result_type, args, options, while_waiting)
        return result

    return stream


def _read(
    function: Callable[..., Any],
    result_type: Any,
    args: Sequence[Any],
    options: Mapping[str, Any],
    while_waiting: WaitCallback | None = None,
) -> Generator[Frame, None, Any]:
    path = Path(args[0])
    task = {
        "module": function.__module__, "function": function.__name__,
        # Messages then show the path as it was given.
        "folder": None if path.is_absolute() else str(Path.cwd()),
        "arguments": [os.fspath(args[0]), *args[1:]], "options": dict(options),
    }  # fmt: skip
    result = yield from _run(path, task, decode_options(), while_waiting)
    try:
        return msgspec.convert(result, result_type, dec_hook=lambda kind, value: kind(value))
    except (msgspec.ValidationError, ValueError, TypeError) as error:
        raise GlimpsesError(f"{path}: {_CRASHED} ({error}); {_ADVICE}") from error


def drain(frames: Generator[Frame, None, Any], visit: Callable[[Frame], None] | None = None) -> Any:
    """Read a generator to its end and return its result; show each frame to `visit`."""
    while True:
        try:
            frame = next(frames)
        except StopIteration as end:
            return end.value
        if visit is not None:
            visit(frame)


def start_decoder() -> None:
    """Start a decoder process that will be needed soon, beside other work."""
    if is_isolated():
        _pool.release(_pool.acquire(decode_options()))


class _Decoder(WorkerProcess):
    """Decoder process with its limits."""

    def __init__(self, limits: DecodeOptions) -> None:
        self.limits = limits
        self._is_ready = False
        super().__init__(
            "glimpses.video.decoder_main:main", {"options": asdict(limits)},
            environment=_ENVIRONMENT,
            max_bytes=FRAME_HEADER.size + 3 * int(1e6 * limits.max_megapixels),
        )  # fmt: skip

    def wait_until_ready(self) -> None:
        """Wait for the start of the process.

        Raises:
            GlimpsesError: it did not start.
        """
        if self._is_ready:
            return
        try:
            message = self.receive(_START_TIMEOUT)
        except WorkerKilledError as error:
            raise GlimpsesError(f"cannot start a process that decodes ({error})") from error
        if not isinstance(message, dict) or "ready" not in message:
            raise GlimpsesError(f"cannot start a process that decodes: {message}")
        self._is_ready = True


class _Pool:
    """Decoders that wait for work; grows with the number of videos that are read at a time."""

    def __init__(self) -> None:
        self._idle: list[_Decoder] = []
        self._lock = threading.Lock()

    def acquire(self, limits: DecodeOptions) -> _Decoder:
        """Return an idle decoder with these limits, or start one."""
        with self._lock:
            while self._idle:
                decoder = self._idle.pop()
                if decoder.alive and decoder.limits == limits:
                    return decoder
                decoder.kill()
        return _Decoder(limits)

    def release(self, decoder: _Decoder) -> None:
        """Take a decoder back that has finished its work or has died."""
        with self._lock:
            if decoder.alive and len(self._idle) < (os.cpu_count() or 1):
                self._idle.append(decoder)
                return
        decoder.kill()


_pool = _Pool()


def _forget_after_fork() -> None:
    global _pool
    _pool = _Pool()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_after_fork)


class _TooMuchMemoryError(Exception):
    """The decoder ran into its limit of memory."""


def _run(
    path: Path, task: Mapping[str, Any], limits: DecodeOptions, while_waiting: WaitCallback | None
) -> Generator[Frame, None, Any]:
    """Have a decoder run a task; yield the frames that it sends, and return its result."""
    seen = 0
    while True:
        decoder = _pool.acquire(limits)
        is_fresh = not decoder.tasks
        skip, failure = seen, "died"
        try:
            decoder.wait_until_ready()
            frames = _receive(decoder, path, task, limits, while_waiting)
            while True:
                try:
                    frame = next(frames)
                except StopIteration as end:
                    suspects.forget(path)
                    return end.value
                # A second decoder begins again.
                if skip:
                    skip -= 1
                    continue
                seen += 1
                yield frame
        except GlimpsesError:
            raise
        except GeneratorExit:
            _cancel(decoder)
            raise
        except _TooMuchMemoryError:
            decoder.kill()
            failure = (
                f"needs more than {limits.clip_memory:g} GB of memory to decode; make it smaller "
                "or raise --clip-memory"
            )
        except WorkerKilledError as error:
            if error.cause == "stopped":
                raise GlimpsesError(f"{path}: reading was stopped") from error
            failure = f"{_CRASHED} ({error.reason}); {_ADVICE}"
            if error.cause == "timed out":
                failure = (
                    f"the decoder returned nothing for {limits.clip_timeout:g} s; {_ADVICE}, or "
                    "raise --clip-timeout"
                )
                is_fresh = True
        except BaseException:
            decoder.kill()
            raise
        finally:
            _pool.release(decoder)
        # An earlier file may have damaged the process: only a new one proves that it is this file.
        if is_fresh:
            suspects.remember(path)
            raise GlimpsesError(f"{path}: {failure}")


def _receive(
    decoder: _Decoder,
    path: Path,
    task: Mapping[str, Any],
    limits: DecodeOptions,
    while_waiting: WaitCallback | None,
) -> Generator[Frame, None, Any]:
    decoder.start_task(task)
    while True:
        item = decoder.receive(limits.clip_timeout, while_waiting)
        if not isinstance(item, dict):
            yield _to_frame(item)
        elif "end" in item:
            return item["end"]
        elif "failed" in item:
            raise GlimpsesError(str(item["failed"]))
        elif "broken" in item:
            raise GlimpsesError(f"{path}: cannot be read ({item['broken']}); {_ADVICE}")
        elif "memory" in item:
            raise _TooMuchMemoryError


def _to_frame(content: UInt8[np.ndarray, " bytes"]) -> Frame:
    if len(content) > FRAME_HEADER.size:
        time, number, height, width = FRAME_HEADER.unpack_from(content.data)
        if len(content) == FRAME_HEADER.size + 3 * height * width and math.isfinite(time):
            pixels = content[FRAME_HEADER.size :].reshape(height, width, 3)
            return Frame(time, pixels, number)
    raise WorkerKilledError(reason="sent garbage")


def _cancel(decoder: _Decoder) -> None:
    """Stop the reading of a video whose other frames are not needed, and keep the decoder."""
    if not decoder.alive:
        return
    try:
        decoder.cancel()
        for _ in range(_MAX_PENDING):
            item = decoder.receive(_CANCEL_TIMEOUT)
            if isinstance(item, dict) and "alive" not in item:
                return
    except WorkerKilledError:
        return
    decoder.kill()
