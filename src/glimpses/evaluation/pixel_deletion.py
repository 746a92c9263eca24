"""Deletion and insertion on the frames: places are removed before the CNN."""

from __future__ import annotations

import itertools
import logging
import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Int, UInt8
from PIL import Image, ImageFilter

from glimpses import backbones, video
from glimpses.backbones import Backbone
from glimpses.datasets import Clip
from glimpses.evaluation.block_runner import BlockRunner, Maps
from glimpses.evaluation.bootstrap import Bootstrap
from glimpses.evaluation.deletion_insertion import (
    DeletionResult,
    deletion_result,
    permute_places,
    rank_places,
)
from glimpses.utils import progress
from glimpses.utils.errors import GlimpsesError

log = logging.getLogger(__name__)

_FRACTIONS = np.linspace(0, 1, 5)
# Standard deviation of the blur as a fraction of the frame's side: nothing of a body remains.
_BLUR = 1 / 8


def pixel_deletion_insertion(
    runner: BlockRunner,
    maps: Maps,
    predicted: Int[np.ndarray, " N"],
    count: int,
    bootstrap: Bootstrap,
    *,
    seed: int = 0,
    device: str = "cpu",
) -> DeletionResult | None:
    """Remove cells of the frames in the order of a map, for the first block of some clips.

    A removed cell shows the frame under a strong Gaussian blur (standard deviation an eighth of
    the side). The frames go through the CNN and the model again. Orders are those of
    `deletion_insertion`, on the map's own grid, with one draw of random order for each clip.

    Args:
        runner: runner of the clips.
        maps: maps that rank the cells.
        predicted: the class of each clip whose probability is followed.
        count: number of clips, spread over the classes.
        bootstrap: bootstrap over all clips.
        seed: random seed.
        device: device of the CNN.

    Returns:
        Deletion and insertion, NaN for clips that were not tested; None if no clip has a video.

    Raises:
        GlimpsesError: the CNN cannot be loaded.
    """
    opened = runner.opened
    chosen = spread_over_classes(opened.clips, count)
    if not chosen:
        return None
    config = opened.config
    backbone = backbones.load(config.data.backbone, weights=config.backbone_weights, device=device)
    generator = torch.Generator().manual_seed(seed)
    probabilities = np.full((len(opened.clips), 3, len(_FRACTIONS)), np.nan)
    with progress.bar("removing pixels", len(chosen), transient=True) as bar:
        for index in chosen:
            heat = torch.from_numpy(np.asarray(maps[index][0], np.float32)).unsqueeze(0)
            bar.advance()
            try:
                frames = _read_first_frames(
                    opened.clips[index], config.data.fps, backbone.size, heat.shape[1]
                )
            except GlimpsesError as error:
                log.warning("%s; skipped in pixel deletion", error)
                continue
            rank = rank_places(heat[:, : len(frames)], generator)
            orders = (rank, permute_places(rank, generator), rank.shape[-1] - 1 - rank)
            label = int(predicted[index])
            probabilities[index] = _delete(runner, backbone, frames, orders, label)
    return deletion_result(probabilities, _FRACTIONS, bootstrap)


def spread_over_classes(clips: Sequence[Clip], count: int) -> list[int]:
    """Choose clips with videos, evenly over the classes and then over the groups.

    Returns:
        Indices of at most `count` clips.
    """
    remaining = {index: clip for index, clip in enumerate(clips) if video.is_video(clip.path)}
    classes: Counter[tuple[int, ...]] = Counter()
    groups: Counter[str] = Counter()
    chosen: list[int] = []
    while remaining and len(chosen) < count:
        index = min(
            remaining,
            key=lambda i: (classes[remaining[i].labels[:1]], groups[remaining[i].group], i),
        )
        clip = remaining.pop(index)
        classes[clip.labels[:1]] += 1
        groups[clip.group] += 1
        chosen.append(index)
    return chosen


@torch.inference_mode()
def _delete(
    runner: BlockRunner,
    backbone: Backbone,
    frames: UInt8[np.ndarray, "T S S 3"],
    orders: Sequence[Int[torch.Tensor, "1 T P"]],
    label: int,
) -> np.ndarray:
    """Return the probability of a class by order and fraction removed, (3, S)."""
    blurred = np.stack([_blur(frame) for frame in frames])
    device = next(runner.opened.model.parameters()).device

    def run_without(removed: Bool[np.ndarray, "T P"]) -> float:
        mask = _cells_to_pixels(removed, backbone.size)[..., None]
        cubes = backbone(np.where(mask, blurred, frames))
        # Rounded as in the feature store.
        cubes = cubes.to(torch.float16).float().unsqueeze(0).to(device)
        real = torch.ones(cubes.shape[:2], dtype=torch.bool, device=device)
        return float(runner.block_means(runner.probabilities(cubes, real), real)[0, label])

    places = orders[0].shape[-1]
    probabilities = np.empty((len(orders), len(_FRACTIONS)))
    for step, count in enumerate(np.round(_FRACTIONS * places).astype(int)):
        if count in (0, places):  # the same for every order
            probabilities[:, step] = run_without(orders[0][0].numpy() < count)
        else:
            probabilities[:, step] = [run_without(rank[0].numpy() < count) for rank in orders]
    return probabilities


def _read_first_frames(
    clip: Clip, fps: video.FrameRate, size: int, count: int
) -> UInt8[np.ndarray, "T S S 3"]:
    reader = video.FrameReader(clip.path, fps=fps, size=size)
    return np.stack([frame.pixels for frame in itertools.islice(reader, count)])


def _blur(frame: UInt8[np.ndarray, "S S 3"]) -> UInt8[np.ndarray, "S S 3"]:
    blur = ImageFilter.GaussianBlur(_BLUR * len(frame))
    return np.asarray(Image.fromarray(frame).filter(blur))


def _cells_to_pixels(removed: Bool[np.ndarray, "T P"], size: int) -> Bool[np.ndarray, "T S S"]:
    """Return whether the cell of each pixel is removed."""
    side = math.isqrt(removed.shape[1])
    cell = np.arange(size) * side // size
    return np.asarray(removed.reshape(-1, side, side)[:, cell[:, None], cell])
