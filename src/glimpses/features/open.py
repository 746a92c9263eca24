"""Features of a data set, wherever they come from: videos or files."""

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
    data: Path,
    *,
    backbone: str = backbones.DEFAULT,
    fps: FrameRate = 10.0,
    skip_static: float = 0.0,
    feature_dir: Path | None = None,
    device: str = "cpu",
) -> Features:
    """Compute the feature cubes of every clip of a data set that are not in the store yet.

    Interrupted at any point, the same call goes on where it was.

    Args:
        data: folder with one folder of clips per action, or UCF-11, HMDB-51 or Hollywood2 as
            their distributors ship them.
        backbone: the CNN and its stage, as in `efficientnet_lite0:16:7`: NAME, NAME:STAGE or
            NAME:STAGE:GRID.
        fps: frames per second to sample; "native" keeps every frame.
        skip_static: difference in grey levels (mean over a frame's pixels, of 255) below which a
            frame takes the cube of the last one that was computed; 0 to compute every frame. What
            is trained on such features remembers it. See docs/benchmarks.md for what it costs.
        feature_dir: where features are kept; by default in the user's cache folder.
        device: where the network runs, "cpu" or "cuda".

    Returns:
        The features, and which clips could not be read.

    Raises:
        GlimpsesError: no clip can be read, or the disk is too small.
    """
    return open_features(
        datasets.load(Path(data)),
        backbone,
        fps=fps,
        skip_static=skip_static,
        feature_dir=feature_dir,
        device=device,
    )


def open_features(
    dataset: ActionDataset,
    backbone: str,
    *,
    clips: Sequence[Clip] | None = None,
    fps: FrameRate,
    skip_static: float = 0.0,
    feature_dir: Path | None = None,
    device: str = "cpu",
    weights: str | None = None,
) -> Features:
    """Extract the features of a data set's clips, or open them where they came from files.

    Args:
        dataset: the data set.
        backbone: spec of the CNN for videos. Features from files are of whatever made them, at
            their own frame rate: the features' own fields tell.
        clips: those of its clips that are wanted; all if not given. Of none it tells, before any
            work, what features of others will be like.
        fps: frame rate of sampling for videos.
        skip_static: below which difference frames of videos share a cube; see `extract`.
        feature_dir: where features of videos are kept.
        device: where the CNN runs.
        weights: digest that the CNN's weights must have; any if not given.

    Raises:
        GlimpsesError: no clip can be read, the features' files are gone, there is no such CNN, or
            `skip_static` is negative.
    """
    if not skip_static >= 0:
        raise GlimpsesError(f"--skip-static {skip_static}: must be at least 0")
    clips = dataset.clips if clips is None else clips
    if feature_set.recognise(dataset.root):
        return _opened(dataset.root, clips)
    network = _network(backbones.load, backbone, device, weights)
    return extract_clips(clips, network, fps=fps, skip_static=skip_static, feature_dir=feature_dir)


@lru_cache(maxsize=2)
def _network(
    load: Callable[..., Backbone], spec: str, device: str, weights: str | None
) -> Backbone:
    """A CNN, prepared once for all trainings and tests of a process that need the same."""
    return load(spec, device=device, weights=weights)


def clip_digests(dataset: ActionDataset, clips: Sequence[Clip]) -> dict[str, str]:
    """What tells clips apart whatever they are called, by clip id: `ClipFeatures.digest`."""
    if feature_set.recognise(dataset.root):
        known = {clip.id: clip.digest for clip in feature_set.read(dataset.root).clips}
        return {clip.id: known[clip.id] for clip in clips}
    return hash_files(clips)


def _opened(root: Path, clips: Sequence[Clip]) -> Features:
    """Features that came from files."""
    index = feature_set.read(root)
    found = CubeStore(root / feature_set.CUBES)
    known = {clip.id: clip.digest for clip in index.clips}
    for clip in clips:
        if not found.has(known[clip.id]):
            raise GlimpsesError(
                f"{found.folder}: the features of {clip.id} are not there or damaged; import them "
                "again"
            )
    log.info("%s: features from files are used (%s, %g fps)", root, index.backbone, index.fps)
    return Features(
        clips={clip.id: found.open(known[clip.id]) for clip in clips},
        failures={},
        backbone=index.backbone,
        weights=index.weights,
        fps=index.fps,
        size=index.size,
        grid=index.grid,
        channels=index.channels,
        folder=found.folder,
    )
