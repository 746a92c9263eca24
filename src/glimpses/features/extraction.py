"""Extraction of feature cubes: decoder threads ahead of the CNN, every clip computed once."""

from __future__ import annotations

import hashlib
import logging
import queue
import shutil
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from jaxtyping import Float16, UInt8

from glimpses import video
from glimpses.backbones import FLOW, Backbone
from glimpses.datasets import Clip
from glimpses.features.frame_dedup import ChangeDetector, repeat_static
from glimpses.features.joined import StageStore, joined_stores
from glimpses.features.recordings import cut
from glimpses.features.store import FRAMES_PER_PART, ClipFeatures, CubeStore, FeatureStore
from glimpses.utils import progress
from glimpses.utils.errors import GlimpsesError, describe_unreadable, pluralise
from glimpses.utils.files import cache_dir, format_size, sha256
from glimpses.video import FrameRate, Turn, in_turns, suspects_last

log = logging.getLogger(__name__)

# Clips after which the disk space of the others is estimated.
_CLIPS_OF_ESTIMATE = 10


@dataclass(frozen=True)
class Features:
    """Feature cubes of every clip that could be read, and how they were made.

    Attributes:
        clips: features by clip id.
        failures: why the other clips could not be read, by clip id; one line each.
        backbone: normalised name of the network and its stage.
        weights: short digest of its weights.
        fps: frames per second of sampling, or "native".
        size: height and width of the frames, pixels.
        grid: K; a cube has K*K places.
        channels: features of a place, D.
        folder: the store's folder.
        fine_channels: features of a place of the earlier of two joined stages; see `Backbone`.
        fine_ratio: see `Backbone`.
        flow_channels: see `Backbone`.
        skip_static: difference below which frames share a cube; see `extract`.
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
    flow_channels: int = 0
    skip_static: float = 0.0

    def to_json(self) -> dict[str, object]:
        """Return a summary for `--json`."""
        return {
            "folder": str(self.folder), "backbone": self.backbone, "weights": self.weights,
            "fps": self.fps, "skip_static": self.skip_static,
            "grid": self.grid, "channels": self.channels,
            "clips": {id: len(clip) for id, clip in self.clips.items()},
            "failures": dict(self.failures),
        }  # fmt: skip

    def __str__(self) -> str:
        frames = sum(map(len, self.clips.values()))
        return (
            f"{len(self.clips)} clips, {frames} feature cubes of {self.grid}x{self.grid}x"
            f"{self.channels} ({self.backbone}) in {self.folder}"
        )

    @property
    def ok(self) -> bool:
        """True if every clip could be read."""
        return not self.failures

    @property
    def complaints(self) -> tuple[str, ...]:
        """One line if clips could not be read; a warning has given the reason of each."""
        return describe_unreadable(self.failures, len(self.clips) + len(self.failures))


def extract_clips(
    clips: Sequence[Clip], backbone: Backbone, *, fps: FrameRate, skip_static: float = 0.0,
    feature_dir: str | Path | None = None,
) -> Features:  # fmt: skip
    """Compute the feature cubes of the clips that are not stored yet, or resume doing so.

    The options are those of `extract`.

    Raises:
        GlimpsesError: none of the clips can be read, or the disk is full.
    """
    if skip_static and backbone.flow_channels:
        raise GlimpsesError(
            f"--skip-static {skip_static:g}: static frames have no flow of their own; leave out "
            f"--skip-static, or {FLOW} in --backbone"
        )
    root = Path(feature_dir or cache_dir() / "features")
    store = FeatureStore(root, backbone, fps, skip_static)
    digests = hash_files(clips)
    stored: dict[str, CubeStore | StageStore] = {}
    for digest in digests.values():
        if store.has(digest):
            stored[digest] = store
    for joined in joined_stores(store, root, backbone):
        for digest in set(digests.values()) - stored.keys():
            if joined.store.has(digest):
                stored[digest] = joined
    # By digest, so that copies of one video are computed once.
    missing = {digests[clip.id]: clip for clip in clips if digests[clip.id] not in stored}
    errors: dict[str, str] = {}
    if missing:
        store.sweep()
        log.info("%s to read; features in %s", pluralise(len(missing), "clip"), store.folder)
        errors = _fill(store, missing, backbone)
    unreadable = [clip for clip in clips if digests[clip.id] in errors]
    failures = {clip.id: f"{clip.path}: {errors[digests[clip.id]]}" for clip in unreadable}
    for failure in dict.fromkeys(failures.values()):
        log.warning("%s", failure)
    if clips and len(failures) == len(clips):
        raise GlimpsesError(f"none of the {len(clips)} clips can be read: {failures[clips[0].id]}")
    files = {
        clip.path: stored.get(digests[clip.id], store).open(digests[clip.id])
        for clip in {clip.path: clip for clip in clips if clip.id not in failures}.values()
    }
    for path, file in files.items():
        if file.problem:
            log.warning("%s: %s; the frames that could be read are used", path, file.problem)
    features: dict[str, ClipFeatures] = {}
    for clip in clips:
        if clip.id in failures:
            continue
        whole = files[clip.path]
        part = whole if clip.start is None else cut(whole, clip.start, clip.end)
        if part is not None:
            features[clip.id] = part
        elif clip.end is not None:
            failures[clip.id] = (
                f"{clip.path}: has no frame from {clip.start:g} s to {clip.end:g} s, since it ends "
                f"at {whole.times[-1]:.1f} s; correct the table of segments"
            )
            log.warning("%s", failures[clip.id])
    return Features(
        features, failures, backbone.name, backbone.weights,
        fps=fps, size=backbone.size, grid=backbone.grid, channels=backbone.channels,
        folder=store.folder, fine_channels=backbone.fine_channels,
        fine_ratio=backbone.fine_ratio, flow_channels=backbone.flow_channels,
        skip_static=skip_static,
    )  # fmt: skip


def hash_files(clips: Sequence[Clip]) -> dict[str, str]:
    """Return the SHA-256 of each clip's file by clip id; of its path if it cannot be read."""

    def digest(clip: Clip) -> str:
        try:
            status = clip.path.stat()
            return _hash_file(clip.path, status.st_ino, status.st_size, status.st_mtime_ns)
        except OSError:
            # The decoder reports the problem later.
            return hashlib.sha256(str(clip.path).encode()).hexdigest()

    digests = {}
    bar_context = progress.bar("hashing clips", len(clips), transient=True)
    with bar_context as bar, ThreadPoolExecutor(4) as pool:
        for clip, value in zip(clips, pool.map(digest, clips), strict=True):
            digests[clip.id] = value
            bar.advance()
    return digests


@cache
def _hash_file(path: Path, *_version: int) -> str:
    """Return the SHA-256 of a file, computed once a process for each version of the file."""
    return sha256(path)


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


def _fill(store: FeatureStore, missing: Mapping[str, Clip], backbone: Backbone) -> dict[str, str]:
    """Extract the missing clips; return why some of them could not be read, by digest."""
    failures: dict[str, str] = {}
    times: dict[str, list[float]] = {digest: [] for digest in missing}
    cubes: dict[str, list[np.ndarray]] = {digest: [] for digest in missing}
    done = {digest: store.frames_done(digest) for digest in missing}
    # Enough chunks at a time that no core waits when one of them ends.
    lanes = backbone.threads // backbone.batch + 2
    disk_use = _DiskUse(len(missing), store)
    with (
        progress.bar(f"extracting {backbone.name}", len(missing)) as bar,
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
                bar.advance()
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
