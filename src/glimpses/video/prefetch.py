"""Background decoding of the next videos while the network processes the current one."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Protocol, TypeVar

from glimpses.video.sampling import Frame, FrameRate, FrameReader

# Videos decoded at a time, and frames that each may be ahead of its reader.
_DECODERS = 2
_FRAMES_AHEAD = 32

Item = TypeVar("Item")


class FrameSource(Protocol):
    """Iterable of sampled frames, as `FrameReader` is."""

    problem: str | None

    def __iter__(self) -> Iterator[Frame]:
        """Yield the sampled frames, once."""


class Prefetcher:
    """Reader of several videos in order that decodes the next ones in the background.

    ```python
    with Prefetcher(paths, fps=10, size=224) as prefetcher:
        for path in paths:
            for frame in prefetcher.open(path, fps=10, size=224):
                ...
    ```

    Memory is bounded, for any number and length of videos.

    Args:
        paths: the files, in the order in which they will be opened.
        fps: see `FrameReader`.
        size: see `FrameReader`.
    """

    def __init__(
        self, paths: Iterable[str | Path], *, fps: FrameRate, size: int | tuple[int, int]
    ) -> None:
        self._remaining = map(Path, paths)
        self._options = {"fps": fps, "size": size}
        self._started: deque[_Decoding] = deque()
        self._stopped = threading.Event()
        self._pool = ThreadPoolExecutor(_DECODERS, thread_name_prefix="decoder")

    def __enter__(self) -> Prefetcher:
        return self

    def __exit__(self, *_exception: object) -> None:
        self._stopped.set()
        self._pool.shutdown(cancel_futures=True)

    def open(self, path: str | Path, *, fps: FrameRate, size: int | tuple[int, int]) -> FrameSource:
        """Return the frames of the next video; iterating raises the errors of `FrameReader`.

        Raises:
            ValueError: `path` is not the next video, or the options are not those of the
                prefetcher.
        """
        if not self._started:
            self._start_next()
        decoding = self._started.popleft() if self._started else None
        request = Path(path), {"fps": fps, "size": size}
        if decoding is None or (decoding.path, self._options) != request:
            raise ValueError(f"{path}: is not the next video")
        while len(self._started) < _DECODERS - 1 and self._start_next():
            pass
        return decoding

    def _start_next(self) -> bool:
        path = next(self._remaining, None)
        if path is None:
            return False
        decoding = _Decoding(FrameReader(path, **self._options), self._stopped)  # type: ignore[arg-type]
        self._started.append(decoding)
        self._pool.submit(decoding.run)
        return True


class _Decoding:
    """Frames of one video, queued from the decoding thread to the reading one."""

    def __init__(self, reader: FrameReader, stopped: threading.Event) -> None:
        self.path = reader.path
        self.problem: str | None = None
        self._reader = reader
        self._stopped = stopped
        self._frames: queue.Queue[Frame | BaseException | None] = queue.Queue(_FRAMES_AHEAD)

    def run(self) -> None:
        end: BaseException | None = None
        try:
            for frame in self._reader:
                put_unless_stopped(self._frames, frame, self._stopped)
                if self._stopped.is_set():
                    return
        except BaseException as error:
            end = error
        put_unless_stopped(self._frames, end, self._stopped)

    def __iter__(self) -> Iterator[Frame]:
        while (item := self._frames.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
        self.problem = self._reader.problem


def put_unless_stopped(items: queue.Queue[Item], item: Item, stopped: threading.Event) -> None:
    """Put an item in a queue when there is room, or discard it when `stopped` is set."""
    while not stopped.is_set():
        with suppress(queue.Full):
            items.put(item, timeout=0.2)
            return
