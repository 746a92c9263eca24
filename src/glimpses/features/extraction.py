"""Features of clips: every clip is computed once, and again if its files are damaged."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path

from glimpses.backbones import FLOW, Backbone
from glimpses.datasets import Clip
from glimpses.features.fill import fill
from glimpses.features.joined import StageStore, joined_stores
from glimpses.features.part import DamagedFeaturesError
from glimpses.features.recordings import cut
from glimpses.features.recovery import RecoverableFeatures, Recovery
from glimpses.features.store import ClipFeatures, FeatureStore
from glimpses.utils import progress
from glimpses.utils.errors import GlimpsesError, describe_unreadable, pluralise
from glimpses.utils.files import cache_dir, sha256
from glimpses.video import FrameRate

log = logging.getLogger(__name__)


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
    stores: list[FeatureStore | StageStore] = [store, *joined_stores(store, root, backbone)]
    stored = _find_stored(stores, list(dict.fromkeys(digests.values())))
    # By digest, so that copies of one video are computed once.
    missing = {digests[clip.id]: clip for clip in clips if digests[clip.id] not in stored}
    errors: dict[str, str] = {}
    if missing:
        log.info("%s to read; features in %s", pluralise(len(missing), "clip"), store.folder)
        store.write_settings()
        with progress.bar(f"extracting {backbone.name}", len(missing)) as bar:
            errors = fill(store, missing, backbone, bar.advance)
    unreadable = [clip for clip in clips if digests[clip.id] in errors]
    failures = {clip.id: f"{clip.path}: {errors[digests[clip.id]]}" for clip in unreadable}
    for failure in dict.fromkeys(failures.values()):
        log.warning("%s", failure)
    if clips and len(failures) == len(clips):
        raise GlimpsesError(f"none of the {len(clips)} clips can be read: {failures[clips[0].id]}")
    for digest in missing.keys() - errors.keys():
        if (clip_features := store.find(digest)) is not None:
            stored[digest] = clip_features
    recovery = Recovery(store, lambda missing: fill(store, missing, backbone))
    files = {
        clip.path: RecoverableFeatures.of(stored[digests[clip.id]], clip, recovery)
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


def _find_stored(
    stores: Sequence[FeatureStore | StageStore], digests: Sequence[str]
) -> dict[str, ClipFeatures]:
    """Return the stored features by digest; warn once of those that are damaged."""
    stored, damaged = {}, {}
    for digest, store in product(digests, stores):
        if digest in stored:
            continue
        try:
            if (features := store.find(digest)) is not None:
                stored[digest] = features
        except DamagedFeaturesError as error:
            damaged[digest] = error.problem
    if problems := [problem for digest, problem in damaged.items() if digest not in stored]:
        others = f", as are the features of {len(problems) - 1} more" if problems[1:] else ""
        log.warning("%s%s; computing again", problems[0], others)
    return stored


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
