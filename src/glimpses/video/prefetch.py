"""Videos decoded in the background, while the network is busy with those before them."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Protocol

from glimpses.video.sampling import Frame, FrameRate, FrameReader

# Videos that are decoded at a time, and frames that each may be ahead of whoever reads it.
_DECODERS = 2
_FRAMES = 32


class FrameSource(Protocol):
    """What `FrameReader` gives, wherever it is made."""

    problem: str | None

    def __iter__(self) -> Iterator[Frame]:
        """The sampled frames, once."""


class Prefetcher:
    """Some videos, to be read in their order; the next ones are decoded meanwhile.

    ```python
    with Prefetcher(paths) as ahead:
        for path in paths:
            for frame in ahead.open(path, fps=10, size=224):
                ...
    ```

    Memory is bounded, however many videos there are and however long they are.

    Args:
        paths: the files, in the order in which they will be opened.
        fps: see `FrameReader`.
        size: see `FrameReader`.
    """

    def __init__(
        self, paths: Iterable[Path], *, fps: FrameRate, size: int | tuple[int, int]
    ) -> None:
        self._left = iter(paths)
        self._how = {"fps": fps, "size": size}
        self._begun: deque[_Decoding] = deque()
        self._stopped = threading.Event()
        self._pool = ThreadPoolExecutor(_DECODERS, thread_name_prefix="decoder")

    def __enter__(self) -> Prefetcher:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stopped.set()
        self._pool.shutdown(cancel_futures=True)

    def open(self, path: Path, *, fps: FrameRate, size: int | tuple[int, int]) -> FrameSource:
        """The next video's frames; iterating raises what `FrameReader` would.

        Raises:
            ValueError: it is not this one's turn, or it is asked for otherwise than was said.
        """
        if not self._begun:
            self._begin()
        decoding = self._begun.popleft() if self._begun else None
        if decoding is None or decoding.path != path or self._how != {"fps": fps, "size": size}:
            raise ValueError(f"{path}: is not the next video")
        while len(self._begun) < _DECODERS - 1 and self._begin():
            pass
        return decoding

    def _begin(self) -> bool:
        path = next(self._left, None)
        if path is None:
            return False
        decoding = _Decoding(FrameReader(path, **self._how), self._stopped)  # type: ignore[arg-type]
        self._begun.append(decoding)
        self._pool.submit(decoding.run)
        return True


class _Decoding:
    """One video on its way from a thread that decodes it to one that reads it."""

    def __init__(self, reader: FrameReader, stopped: threading.Event) -> None:
        self.path = reader.path
        self.problem: str | None = None
        self._reader = reader
        self._stopped = stopped
        self._frames: queue.Queue[Frame | BaseException | None] = queue.Queue(_FRAMES)

    def run(self) -> None:
        end: BaseException | None = None
        try:
            for frame in self._reader:
                self._put(frame)
                if self._stopped.is_set():
                    return
        except BaseException as error:
            end = error
        self._put(end)

    def __iter__(self) -> Iterator[Frame]:
        while (item := self._frames.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
        self.problem = self._reader.problem

    def _put(self, item: Frame | BaseException | None) -> None:
        while not self._stopped.is_set():
            try:
                self._frames.put(item, timeout=0.2)
            except queue.Full:
                continue
            return
