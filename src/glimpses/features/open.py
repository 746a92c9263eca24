"""Features of a data set, extracted from videos or opened from imported files."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path

from glimpses import backbones, datasets
from glimpses.backbones import Backbone
from glimpses.datasets import ActionDataset, Clip
from glimpses.datasets.layouts import feature_set
from glimpses.features.extraction import Features, extract_clips, hash_files
from glimpses.features.store import CubeStore
from glimpses.utils.errors import GlimpsesError
from glimpses.video import FrameRate

log = logging.getLogger(__name__)


def extract(
    data: str | Path,
    *,
    backbone: str = backbones.DEFAULT,
    fps: FrameRate = 10.0,
    skip_static: float = 0.0,
    feature_dir: str | Path | None = None,
    device: str = "cpu",
) -> Features:
    """Compute the feature cubes of every clip of a data set that are not stored yet.

    If the command is interrupted, the same command resumes it.

    Args:
        data: folder with one folder of clips per action, folders of subsets, a table of labels, or
            a public set as distributed; see docs/data.md.
        backbone: the CNN and its stage, as in `efficientnet_lite0:16:7`: NAME, NAME:STAGE or
            NAME:STAGE:GRID.
        fps: frames per second to sample; "native" keeps every frame.
        skip_static: mean absolute difference in grey levels (of 255) below which a frame shares
            the cube of the last computed frame; 0 to compute every frame. A model trained on such
            features records the value. See docs/benchmarks.md for its cost in accuracy.
        feature_dir: folder of the stored features; by default in the user's cache folder.
        device: where the network runs, "cpu" or "cuda".

    Raises:
        GlimpsesError: no clip can be read, or the disk is too small.
    """
    dataset = datasets.load(Path(data))
    return open_features(
        dataset, backbone, fps=fps, skip_static=skip_static, feature_dir=feature_dir, device=device
    )


def open_features(
    dataset: ActionDataset,
    backbone: str,
    *,
    clips: Sequence[Clip] | None = None,
    fps: FrameRate,
    skip_static: float = 0.0,
    feature_dir: str | Path | None = None,
    device: str = "cpu",
    weights: str | None = None,
) -> Features:
    """Extract the features of a data set's clips, or open them if the data set consists of them.

    Args:
        dataset: the data set.
        backbone: spec of the CNN for videos. Imported features have their own backbone and frame
            rate, which the result states.
        clips: the clips to extract; by default all. An empty sequence returns the properties of
            the features without any work.
        fps: frames per second to sample from videos.
        skip_static: see `extract`.
        feature_dir: see `extract`.
        device: see `extract`.
        weights: required digest of the CNN's weights; by default any.

    Raises:
        GlimpsesError: no clip can be read, imported features are missing, there is no such CNN, or
            `skip_static` is negative.
    """
    if not skip_static >= 0:
        raise GlimpsesError(f"--skip-static {skip_static}: must be at least 0")
    clips = dataset.clips if clips is None else clips
    if feature_set.matches(dataset.root):
        return _open_imported(dataset.root, clips)
    network = _load_backbone(backbones.load, backbone, device, weights)
    return extract_clips(clips, network, fps=fps, skip_static=skip_static, feature_dir=feature_dir)


@lru_cache(maxsize=2)
def _load_backbone(
    load: Callable[..., Backbone], spec: str, device: str, weights: str | None
) -> Backbone:
    """Load a backbone once for all trainings and evaluations of a process."""
    return load(spec, device=device, weights=weights)


def clip_digests(dataset: ActionDataset, clips: Sequence[Clip]) -> dict[str, str]:
    """Return the digest of each clip's content by clip id, equal to `ClipFeatures.digest`."""
    if feature_set.matches(dataset.root):
        digests = {clip.id: clip.digest for clip in feature_set.read(dataset.root).clips}
        return {clip.id: digests[clip.id] for clip in clips}
    return hash_files(clips)


def _open_imported(root: Path, clips: Sequence[Clip]) -> Features:
    """Open the features of a data set that was imported from feature files."""
    index = feature_set.read(root)
    store = CubeStore(root / feature_set.CUBES, "import the features again")
    digests = {clip.id: clip.digest for clip in index.clips}
    stored = {}
    for clip in clips:
        features = store.find(digests[clip.id])
        if features is None:
            problem = f"the features of {clip.id} are missing; import the features again"
            raise GlimpsesError(f"{store.folder}: {problem}")
        stored[clip.id] = features
    log.info("%s: using imported features (%s, %g fps)", root, index.backbone, index.fps)
    return Features(
        stored, {},
        backbone=index.backbone, weights=index.weights, fps=index.fps, size=index.size,
        grid=index.grid, channels=index.channels, folder=store.folder,
    )  # fmt: skip
