"""Decoding of several videos at a time, in the background and ahead of their use."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, TypeVar

from glimpses.video.isolation import Frame
from glimpses.video.sampling import FrameRate, FrameReader

# Videos decoded at a time, and frames that each may be ahead of its use: ten seconds at 10 fps.
_DECODERS = 2
_FRAMES_AHEAD = 100
# Seconds without a frame after which another video is begun, and how many may wait like that.
_STALLED_AFTER, _MAX_STALLED = 1.0, 8
# Seconds between two checks of whether the work has been stopped.
_INTERVAL = 0.2

Item = TypeVar("Item")


class FrameSource(Protocol):
    """Iterable of sampled frames, as `FrameReader` is."""

    problem: str | None
    seconds: float
    frame_count: int

    def __iter__(self) -> Iterator[Frame]:
        """Yield the sampled frames, once."""


class Turn:
    """Permission to decode a video, for as long as the decoder does not stall.

    An instance is the argument `while_waiting` of a function that reads videos.

    Attributes:
        is_over: whether the turn has passed to another video.
        stopped: whether the work has been stopped.
    """

    def __init__(self, free: threading.Semaphore, stopped: threading.Event) -> None:
        self._free, self._stopped = free, stopped
        self._lock = threading.Lock()
        self.is_over = False

    @property
    def stopped(self) -> bool:
        """True if the result is not needed any more."""
        return self._stopped.is_set()

    def __call__(self, seconds: float) -> bool:
        """Pass the turn on if the decoder has stalled; return whether to go on waiting."""
        if seconds > _STALLED_AFTER:
            self.end()
        return not self.stopped

    def end(self) -> None:
        """Pass the turn on to the next video."""
        with self._lock:
            if not self.is_over:
                self.is_over = True
                self._free.release()


@contextmanager
def in_turns(
    items: Iterable[Item], work: Callable[[Item, Turn], None], count: int
) -> Iterator[threading.Event]:
    """Run `work` in threads for all items, some at a time, while the block runs.

    A video whose decoder returns nothing for a second gives its turn to the next one. So files that
    block the decoder do not delay the others.

    Args:
        items: taken in order, each when it is its turn.
        work: called with an item and its turn; must not raise.
        count: number of items that have a turn at a time.

    Yields:
        An event that stops the work; the end of the block does so, too.
    """
    free, stopped = threading.Semaphore(count), threading.Event()
    pool = ThreadPoolExecutor(count + _MAX_STALLED, thread_name_prefix="decoder")

    def run(item: Item, turn: Turn) -> None:
        try:
            if not turn.stopped:
                work(item, turn)
        finally:
            turn.end()

    def dispatch() -> None:
        for item in items:
            while not free.acquire(timeout=_INTERVAL):
                if stopped.is_set():
                    return
            if stopped.is_set():
                return
            pool.submit(run, item, Turn(free, stopped))

    dispatcher = threading.Thread(target=dispatch, name="decoder-dispatcher", daemon=True)
    dispatcher.start()
    try:
        yield stopped
    finally:
        stopped.set()
        dispatcher.join()
        pool.shutdown(cancel_futures=True)


class Prefetcher:
    """Reader of several videos that decodes the next ones in the background.

    ```python
    with Prefetcher(paths, fps=10, size=224) as prefetcher:
        for index, frames in prefetcher:
            for frame in frames:  # the frames of paths[index]
                ...
    ```

    The videos come in their order, except that one whose decoder stalls comes when its frames do.
    Memory is bounded, for any number and length of videos.

    Args:
        paths: the files.
        fps: see `FrameReader`.
        size: see `FrameReader`.
    """

    def __init__(
        self, paths: Sequence[str | Path], *, fps: FrameRate, size: int | tuple[int, int]
    ) -> None:
        self._changed = threading.Condition()
        self._paths, self._fps, self._size = paths, fps, size
        self._decodings: dict[int, _Decoding] = {}
        self._remaining = list(range(len(paths)))
        self._work = in_turns(enumerate(paths), self._decode, _DECODERS)

    def __enter__(self) -> Prefetcher:
        self._stopped = self._work.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stopped.set()
        with self._changed:
            self._changed.notify_all()
        self._work.__exit__(None, None, None)

    def __iter__(self) -> Iterator[tuple[int, FrameSource]]:
        """Yield the index of each video and its frames, whose reading raises its errors."""
        while self._remaining:
            with self._changed:
                while (index := self._next_ready()) is None:
                    self._changed.wait(_INTERVAL)
                self._remaining.remove(index)
                decoding = self._decodings.pop(index)
            yield index, decoding
            decoding.close()

    def _decode(self, item: tuple[int, str | Path], turn: Turn) -> None:
        index, path = item
        reader = FrameReader(path, fps=self._fps, size=self._size, while_waiting=turn)
        decoding = _Decoding(reader, turn, self._changed)
        with self._changed:
            self._decodings[index] = decoding
        decoding.run()

    def _next_ready(self) -> int | None:
        """Return the first video whose frames are there, or None if one must be waited for."""
        for index in self._remaining:
            decoding = self._decodings.get(index)
            if decoding is None:
                return None
            # The frames of the only one can be used as they come.
            if decoding.is_ready or len(self._remaining) == 1:
                return index
            if not decoding.turn.is_over:
                return None
        return None


class _Decoding:
    """Frames of one video, queued from the decoding thread to the reading one."""

    def __init__(self, reader: FrameReader, turn: Turn, changed: threading.Condition) -> None:
        self.turn = turn
        self.problem: str | None = None
        self.seconds, self.frame_count = 0.0, 0
        self._reader = reader
        self._changed = changed
        self._frames: deque[Frame] = deque()
        self._error: BaseException | None = None
        self._has_ended = self._is_closed = False

    @property
    def is_ready(self) -> bool:
        """True if all frames are there, or as many as there is room for."""
        return self._has_ended or len(self._frames) >= _FRAMES_AHEAD

    def run(self) -> None:
        """Decode the video, and keep its turn until its frames have been used."""
        error: BaseException | None = None
        try:
            for frame in self._reader:
                with self._changed:
                    self._wait(lambda: len(self._frames) < _FRAMES_AHEAD)
                    if self.turn.stopped or self._is_closed:
                        return
                    self._frames.append(frame)
                    self._changed.notify_all()
        except BaseException as raised:
            error = raised
        with self._changed:
            self._error, self._has_ended = error, True
            self._changed.notify_all()
            self._wait(lambda: self._is_closed)

    def close(self) -> None:
        """Note that the frames are not needed any more."""
        with self._changed:
            self._is_closed = True
            self._frames.clear()
            self._changed.notify_all()

    def __iter__(self) -> Iterator[Frame]:
        while True:
            with self._changed:
                while not self._frames and not self._has_ended:
                    self._changed.wait()
                if not self._frames:
                    break
                frame = self._frames.popleft()
                self._changed.notify_all()
            yield frame
        if self._error is not None:
            raise self._error
        self.problem = self._reader.problem
        self.seconds, self.frame_count = self._reader.seconds, self._reader.frame_count

    def _wait(self, condition: Callable[[], bool]) -> None:
        """Wait until a condition holds, the frames are closed or the work is stopped."""
        while not (condition() or self._is_closed or self.turn.stopped):
            self._changed.wait(_INTERVAL)
