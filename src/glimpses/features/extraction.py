"""Extraction: decoders ahead of the CNN, and every clip computed once."""

from __future__ import annotations

import hashlib
import logging
import queue
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from jaxtyping import Float16, UInt8

from glimpses import video
from glimpses.backbones import Backbone
from glimpses.datasets import Clip
from glimpses.features.frame_dedup import Changes, spread
from glimpses.features.store import FRAMES_PER_PART, ClipFeatures, FeatureStore
from glimpses.utils import progress
from glimpses.utils.errors import GlimpsesError, pluralise
from glimpses.utils.files import cache_dir, check_free_space, format_size, sha256
from glimpses.video import FrameRate

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Features:
    """What extraction gives: cubes of every clip that could be read.

    Attributes:
        clips: features by clip id.
        failures: why the others could not be read, by clip id; one line each.
        backbone: normalised name of the network and its stage.
        weights: short digest of its weights.
        fps: frame rate of sampling.
        skip_static: below which difference frames share a cube; see `extract`.
        size: side of the square frames in pixels.
        grid: K, the cubes have K*K places.
        channels: D.
        fine_channels: of the earlier of two joined stages; see `Backbone`.
        fine_ratio: see `Backbone`.
        folder: where in the store they lie.
    """

    clips: Mapping[str, ClipFeatures]
    failures: Mapping[str, str]
    backbone: str
    weights: str
    fps: FrameRate
    size: int
    grid: int
    channels: int
    folder: Path
    fine_channels: int = 0
    fine_ratio: int = 1
    skip_static: float = 0.0

    def to_json(self) -> dict[str, object]:
        """What was extracted, for programs."""
        return {
            "folder": str(self.folder),
            "backbone": self.backbone,
            "weights": self.weights,
            "fps": self.fps,
            "skip_static": self.skip_static,
            "grid": self.grid,
            "channels": self.channels,
            "clips": {id: len(clip) for id, clip in self.clips.items()},
            "failures": dict(self.failures),
        }

    def __str__(self) -> str:
        frames = sum(map(len, self.clips.values()))
        return (
            f"{len(self.clips)} clips, {frames} feature cubes of {self.grid}x{self.grid}x"
            f"{self.channels} ({self.backbone}) in {self.folder}"
        )

    @property
    def ok(self) -> bool:
        """Whether every clip could be read."""
        return not self.failures

    @property
    def complaints(self) -> tuple[str, ...]:
        """One line if clips could not be read; each has been named before, in a warning."""
        if self.ok:
            return ()
        total = len(self.clips) + len(self.failures)
        return (
            f"could not be read: {len(self.failures)} of {pluralise(total, 'clip')}; see above",
        )


def extract_clips(
    clips: Sequence[Clip],
    backbone: Backbone,
    *,
    fps: FrameRate,
    skip_static: float = 0.0,
    feature_dir: Path | None = None,
) -> Features:
    """Compute the feature cubes of the clips that are not in the store yet.

    Interrupted at any point, the same call goes on where it was.

    Raises:
        GlimpsesError: none of the clips can be read, or the disk is too small.
    """
    found = FeatureStore(Path(feature_dir or cache_dir() / "features"), backbone, fps, skip_static)
    digests = hash_files(clips)
    # Copies of one video in several places are computed once.
    missing = {digests[clip.id]: clip for clip in clips if not found.has(digests[clip.id])}
    failed: dict[str, str] = {}
    if missing:
        found.sweep()
        _require_space(list(missing.values()), found)
        failed = _fill(found, missing, backbone)
    failures = {
        clip.id: f"{clip.path}: {failed[digests[clip.id]]}"
        for clip in clips
        if digests[clip.id] in failed
    }
    for failure in failures.values():
        log.warning("%s", failure)
    if clips and len(failures) == len(clips):
        first = failures[clips[0].id]
        raise GlimpsesError(f"none of the {len(clips)} clips can be read: {first}")
    opened = {clip.id: found.open(digests[clip.id]) for clip in clips if clip.id not in failures}
    for clip in clips:
        if clip.id in opened and opened[clip.id].problem:
            problem = opened[clip.id].problem
            log.warning("%s: %s; the frames that could be read are used", clip.path, problem)
    return Features(
        clips=opened,
        failures=failures,
        backbone=backbone.name,
        weights=backbone.weights,
        fps=fps,
        size=backbone.size,
        grid=backbone.grid,
        channels=backbone.channels,
        folder=found.folder,
        fine_channels=backbone.fine_channels,
        fine_ratio=backbone.fine_ratio,
        skip_static=skip_static,
    )


@cache
def _digest(path: Path, *_version: int) -> str:
    """SHA-256 of a file; read once for all trainings and tests of a process on the same clips."""
    return sha256(path)


def hash_files(clips: Sequence[Clip]) -> dict[str, str]:
    """SHA-256 of every clip's file, by clip id; an unreadable file gets an empty-handed digest."""

    def digest(clip: Clip) -> str:
        try:
            status = clip.path.stat()
            return _digest(clip.path, status.st_ino, status.st_size, status.st_mtime_ns)
        except OSError:
            # Its own name stands in, so that the decoder gets to say what is wrong with it.
            return hashlib.sha256(str(clip.path).encode()).hexdigest()

    with (
        progress.bar("looking up clips", len(clips), transient=True) as bar,
        ThreadPoolExecutor(4) as pool,
    ):
        found = {}
        for clip, value in zip(clips, pool.map(digest, clips), strict=True):
            found[clip.id] = value
            bar.advance()
    return found


def _require_space(clips: Sequence[Clip], store: FeatureStore) -> None:
    """Say how much disk the features of `clips` will take, and refuse if it is not there."""
    seconds, frames = 0.0, 0.0
    for clip in clips:
        try:
            length, fps = video.declared_length(clip.path)
        except GlimpsesError:
            continue
        seconds += length
        frames += length * (fps if store.fps == "native" else store.fps)
    needed = frames * store.frame_bytes
    log.info(
        "%s to read, %.0f s of video: about %s of features in %s",
        pluralise(len(clips), "clip"),
        seconds,
        format_size(needed),
        store.folder,
    )
    check_free_space(
        store.folder,
        needed,
        "lower --fps, choose a smaller grid, or give --feature-dir a folder on a larger disk",
    )


@dataclass(frozen=True)
class _Chunk:
    """Some consecutive frames of one clip on their way from a decoder to the network.

    Attributes:
        digest: of the clip.
        frames: those to be computed.
        own: of each frame that is not in the store yet, whether it is one of them.
        times: of all its frames.
        ends: whether the clip does.
        problem: why it ends early.
        failure: why there is nothing of it.
    """

    digest: str
    frames: list[UInt8[np.ndarray, "H W 3"]]
    own: list[bool]
    times: list[float]
    ends: bool = False
    problem: str | None = None
    failure: str | None = None


def _fill(store: FeatureStore, missing: Mapping[str, Clip], backbone: Backbone) -> dict[str, str]:
    """Extract the missing videos; gives why some could not be, by digest."""
    failures: dict[str, str] = {}
    times: dict[str, list[float]] = {digest: [] for digest in missing}
    cubes: dict[str, list[np.ndarray]] = {digest: [] for digest in missing}
    done = {digest: store.frames_done(digest) for digest in missing}
    # So many chunks are computed at a time that every core finds work when one of them ends.
    lanes = backbone.threads // backbone.batch + 2
    with (
        progress.bar(f"extracting {backbone.name}", len(missing)) as bar,
        _decoded(missing, done, store, backbone) as chunks,
        ThreadPoolExecutor(lanes, thread_name_prefix="lane") as pool,
    ):
        for chunk, computed in _computed(chunks, backbone, pool, lanes):
            digest, clip = chunk.digest, missing[chunk.digest]
            times[digest] += chunk.times
            if chunk.own:
                before = cubes[digest][-1][-1:] if cubes[digest] else None
                cubes[digest].append(spread(chunk.own, computed, before))
            if chunk.failure is not None:
                failures[digest] = chunk.failure.removeprefix(f"{clip.path}: ")
            if cubes[digest] and (chunk.ends or len(times[digest]) % FRAMES_PER_PART == 0):
                index = (len(times[digest]) - 1) // FRAMES_PER_PART
                store.write_part(digest, index, np.concatenate(cubes[digest]))
                cubes[digest].clear()
            if chunk.ends:
                if chunk.failure is None:
                    store.finish(digest, times[digest], chunk.problem)
                del times[digest], cubes[digest]
                bar.advance()
    return failures


def _computed(
    chunks: Iterable[_Chunk], backbone: Backbone, pool: ThreadPoolExecutor, lanes: int
) -> Iterator[tuple[_Chunk, Float16[np.ndarray, "N P D"] | None]]:
    """Every chunk with the cubes of its frames, in their order; None for one without frames."""

    def compute(chunk: _Chunk) -> np.ndarray | None:
        return backbone.half(chunk.frames) if chunk.frames else None

    running: deque[tuple[_Chunk, Future[np.ndarray | None]]] = deque()
    for chunk in chunks:
        running.append((chunk, pool.submit(compute, chunk)))
        if len(running) > lanes:
            first, cubes = running.popleft()
            yield first, cubes.result()
    for first, cubes in running:
        yield first, cubes.result()


@contextmanager
def _decoded(
    missing: Mapping[str, Clip], done: Mapping[str, int], store: FeatureStore, backbone: Backbone
) -> Iterator[Iterator[_Chunk]]:
    """Decode in the background, a few chunks ahead of whoever consumes them."""
    # As many as the network has cores: big pictures take longer to decode than to look at.
    decoders = backbone.threads
    chunks: queue.Queue[_Chunk | BaseException] = queue.Queue(maxsize=2 * decoders + 2)
    stopped = threading.Event()

    def put(item: _Chunk | BaseException) -> None:
        while not stopped.is_set():
            try:
                chunks.put(item, timeout=0.2)
            except queue.Full:
                continue
            return

    def decode(digest: str, clip: Clip) -> None:
        try:
            for chunk in _chunks(digest, clip, done[digest], store, backbone):
                put(chunk)
                if stopped.is_set():
                    return
        except BaseException as error:
            put(error)

    def consume() -> Iterator[_Chunk]:
        left = len(missing)
        while left:
            item = chunks.get()
            if isinstance(item, BaseException):
                raise item
            left -= item.ends
            yield item

    pool = ThreadPoolExecutor(decoders, thread_name_prefix="decoder")
    try:
        for digest, clip in missing.items():
            pool.submit(decode, digest, clip)
        yield consume()
    finally:
        stopped.set()
        pool.shutdown(cancel_futures=True)


def _chunks(
    digest: str, clip: Clip, done: int, store: FeatureStore, backbone: Backbone
) -> Iterator[_Chunk]:
    """Frames of one clip in chunks that never cross a part; none for those already stored."""
    count = 0
    changes = Changes(store.skip_static)
    frames: list[UInt8[np.ndarray, "H W 3"]] = []
    own: list[bool] = []
    times: list[float] = []
    try:
        reader = video.FrameReader(clip.path, fps=store.fps, size=backbone.size)
        for frame in reader:
            count += 1
            times.append(frame.time)
            if count > done:
                own.append(changes(frame.pixels))
                if own[-1]:
                    frames.append(frame.pixels)
            if len(times) == backbone.batch:
                yield _Chunk(digest, frames, own, times)
                frames, own, times = [], [], []
    except GlimpsesError as error:
        yield _Chunk(digest, [], [], [], ends=True, failure=str(error))
        return
    yield _Chunk(digest, frames, own, times, ends=True, problem=reader.problem)
