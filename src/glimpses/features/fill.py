"""Computation of missing clips into the store: decoder threads ahead of the CNN."""

from __future__ import annotations

import logging
import queue
import shutil
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float16, UInt8

from glimpses import video
from glimpses.backbones import Backbone
from glimpses.datasets import Clip
from glimpses.features.frame_dedup import ChangeDetector, repeat_static
from glimpses.features.store import FRAMES_PER_PART, FeatureStore
from glimpses.utils.errors import GlimpsesError
from glimpses.utils.files import format_size
from glimpses.video import Turn, in_turns, suspects_last

log = logging.getLogger(__name__)

# Clips after which the disk space of the others is estimated.
_CLIPS_OF_ESTIMATE = 10


class _DiskUse:
    """Estimate of the disk space of an extraction, from the clips that have been decoded.

    The headers of clips are not read for it, since they may claim any length.
    """

    def __init__(self, clips: int, store: FeatureStore) -> None:
        self._clips, self._store = clips, store
        self._done = self._frames = 0

    def add(self, frames: int) -> None:
        """Count a clip and its frames; once some are known, warn if the others will not fit."""
        self._done += 1
        self._frames += frames
        if self._done != _CLIPS_OF_ESTIMATE:
            return
        left = self._frames / self._done * (self._clips - self._done) * self._store.frame_bytes
        free = shutil.disk_usage(self._store.folder).free
        if left > free:
            log.warning(
                "%s: the features of the other clips may take about %s, but %s are free; lower "
                "--fps, choose a smaller grid, or give --feature-dir a folder on a larger disk",
                self._store.folder, format_size(left), format_size(free),
            )  # fmt: skip


@dataclass(frozen=True)
class _Chunk:
    """Consecutive decoded frames of one clip on their way to the network.

    Attributes:
        frames: the frames to compute.
        changed: for each frame that is not stored yet, whether it is one of `frames`.
        times: presentation times of all frames of the chunk, stored ones included.
        last: whether it is the clip's last chunk.
        previous: the frame before `frames`, if there is one.
        problem: why the clip ends early.
        failure: why the clip cannot be read.
    """

    digest: str
    frames: list[UInt8[np.ndarray, "H W 3"]]
    changed: list[bool]
    times: list[float]
    last: bool = False
    previous: UInt8[np.ndarray, "H W 3"] | None = None
    problem: str | None = None
    failure: str | None = None


def fill(
    store: FeatureStore, missing: Mapping[str, Clip], backbone: Backbone,
    advance: Callable[[], None] = lambda: None,
) -> dict[str, str]:  # fmt: skip
    """Extract the missing clips; return why some of them could not be read, by digest.

    Args:
        store: receives the cubes.
        missing: clips by digest.
        backbone: computes the cubes.
        advance: called for each finished clip.
    """
    failures: dict[str, str] = {}
    times: dict[str, list[float]] = {digest: [] for digest in missing}
    cubes: dict[str, list[np.ndarray]] = {digest: [] for digest in missing}
    done = {digest: store.frames_done(digest) for digest in missing}
    # Enough chunks at a time that no core waits when one of them ends.
    lanes = backbone.threads // backbone.batch + 2
    disk_use = _DiskUse(len(missing), store)
    with (
        _decode_ahead(missing, done, store, backbone) as chunks,
        ThreadPoolExecutor(lanes, thread_name_prefix="lane") as pool,
    ):
        for chunk, computed in _compute(chunks, backbone, pool, lanes):
            digest, clip = chunk.digest, missing[chunk.digest]
            times[digest] += chunk.times
            if chunk.changed:
                previous = cubes[digest][-1][-1:] if cubes[digest] else None
                cubes[digest].append(repeat_static(chunk.changed, computed, previous))
            if chunk.failure is not None:
                failures[digest] = chunk.failure.removeprefix(f"{clip.path}: ")
            if cubes[digest] and (chunk.last or len(times[digest]) % FRAMES_PER_PART == 0):
                index = (len(times[digest]) - 1) // FRAMES_PER_PART
                store.write_part(digest, index, np.concatenate(cubes[digest]))
                cubes[digest].clear()
            if chunk.last:
                if chunk.failure is None:
                    store.finish(digest, times[digest], chunk.problem)
                    disk_use.add(len(times[digest]))
                del times[digest], cubes[digest]
                advance()
    return failures


def _compute(
    chunks: Iterable[_Chunk], backbone: Backbone, pool: ThreadPoolExecutor, lanes: int
) -> Iterator[tuple[_Chunk, Float16[np.ndarray, "N P D"] | None]]:
    """Yield every chunk, in order, with the cubes of its frames; None if it has no frames."""

    def compute(chunk: _Chunk) -> np.ndarray | None:
        return backbone.half(chunk.frames, chunk.previous) if chunk.frames else None

    running: deque[tuple[_Chunk, Future[np.ndarray | None]]] = deque()
    for chunk in chunks:
        running.append((chunk, pool.submit(compute, chunk)))
        if len(running) > lanes:
            first, cubes = running.popleft()
            yield first, cubes.result()
    for first, cubes in running:
        yield first, cubes.result()


@contextmanager
def _decode_ahead(
    missing: Mapping[str, Clip], done: Mapping[str, int], store: FeatureStore, backbone: Backbone
) -> Iterator[Iterator[_Chunk]]:
    """Decode in the background, a few chunks ahead of the consumer."""
    # As many decoders as cores: large frames take longer to decode than the network needs.
    decoders = backbone.threads
    chunks: queue.Queue[_Chunk | BaseException] = queue.Queue(maxsize=2 * decoders + 2)

    def decode(item: tuple[str, Clip], turn: Turn) -> None:
        digest, clip = item
        try:
            for chunk in _read_chunks(digest, clip, done[digest], store, backbone, turn):
                _put_unless_stopped(chunks, chunk, turn)
                if turn.stopped:
                    return
        except BaseException as error:
            _put_unless_stopped(chunks, error, turn)

    def consume() -> Iterator[_Chunk]:
        clips_left = len(missing)
        while clips_left:
            item = chunks.get()
            if isinstance(item, BaseException):
                raise item
            clips_left -= item.last
            yield item

    items = suspects_last(missing.items(), lambda item: item[1].path)
    with in_turns(items, decode, decoders):
        yield consume()


def _put_unless_stopped(
    chunks: queue.Queue[_Chunk | BaseException], chunk: _Chunk | BaseException, turn: Turn
) -> None:
    """Put a chunk in the queue when there is room, or discard it when the work is stopped."""
    while not turn.stopped:
        with suppress(queue.Full):
            chunks.put(chunk, timeout=0.2)
            return


def _read_chunks(
    digest: str, clip: Clip, done: int, store: FeatureStore, backbone: Backbone, turn: Turn
) -> Iterator[_Chunk]:
    """Yield a clip in chunks that never cross a part, without frames that are already stored."""
    has_changed = ChangeDetector(store.skip_static)
    frames: list[UInt8[np.ndarray, "H W 3"]] = []
    changed: list[bool] = []
    times: list[float] = []
    previous = latest = None
    try:
        reader = video.FrameReader(clip.path, fps=store.fps, size=backbone.size, while_waiting=turn)
        for count, frame in enumerate(reader, 1):
            times.append(frame.time)
            if count > done:
                changed.append(has_changed(frame.pixels))
                if changed[-1]:
                    previous = previous if frames else latest
                    frames.append(frame.pixels)
            latest = frame.pixels
            if len(times) == backbone.batch:
                yield _Chunk(digest, frames, changed, times, previous=previous)
                frames, changed, times = [], [], []
    except GlimpsesError as error:
        yield _Chunk(digest, [], [], [], last=True, failure=str(error))
        return
    yield _Chunk(
        digest, frames, changed, times, last=True, previous=previous, problem=reader.problem
    )
