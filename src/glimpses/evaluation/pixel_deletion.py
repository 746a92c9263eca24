"""Deletion and insertion on the frames: what a feature cube removes, removed before the CNN."""

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
from glimpses.evaluation.faithfulness import DeletionResult, ranked, relabelled, summed_up
from glimpses.utils import progress
from glimpses.utils.errors import GlimpsesError

log = logging.getLogger(__name__)

_SHARES = np.linspace(0, 1, 5)
# Deviation of the blur, as a share of the frame's side: nothing of a body is left.
_BLUR = 1 / 8


def pixel_removal(
    reader: BlockRunner,
    maps: Maps,
    named: Int[np.ndarray, " N"],
    count: int,
    bootstrap: Bootstrap,
    *,
    seed: int = 0,
    device: str = "cpu",
) -> DeletionResult | None:
    """Deletion and insertion on pixels, of the first block of some clips.

    A cell of the frame that is removed is replaced by what it is in the frame under a strong
    Gaussian blur (deviation an eighth of its side); the frames go through the CNN again and the
    model reads what comes out. Orders are those of `whether.removal`, on the map's own grid; of
    random order there is one draw a clip.

    Args:
        reader: of the clips.
        maps: what ranks the cells.
        named: the class of each clip whose probability is followed.
        count: how many clips, spread over the classes.
        bootstrap: of all clips.
        seed: of what is random.
        device: where the CNN runs.

    Returns:
        Deletion and insertion, of each clip NaN where it was not tried; None if none of the clips
        has a video.

    Raises:
        GlimpsesError: the CNN cannot be used.
    """
    opened = reader.opened
    chosen = spread(opened.clips, count)
    if not chosen:
        return None
    config = opened.config
    backbone = backbones.load(config.data.backbone, weights=config.backbone_weights, device=device)
    draws = torch.Generator().manual_seed(seed)
    found = np.full((len(opened.clips), 3, len(_SHARES)), np.nan)
    with progress.bar("removing pixels", len(chosen), transient=True) as bar:
        for index in chosen:
            heat = torch.from_numpy(np.asarray(maps[index][0], np.float32)).unsqueeze(0)
            bar.advance()
            try:
                frames = _first_frames(
                    opened.clips[index], config.data.fps, backbone.size, heat.shape[1]
                )
            except GlimpsesError as error:
                log.warning("%s; its pixels are left alone", error)
                continue
            rank = ranked(heat[:, : len(frames)], draws)
            orders = (rank, relabelled(rank, draws), rank.shape[-1] - 1 - rank)
            found[index] = _deleted(reader, backbone, frames, orders, int(named[index]))
    return summed_up(found, _SHARES, bootstrap)


def spread(clips: Sequence[Clip], count: int) -> list[int]:
    """Indices of clips with videos, of all classes alike and, among those, of many groups."""
    left = {index: clip for index, clip in enumerate(clips) if clip.path.is_file()}
    classes: Counter[tuple[int, ...]] = Counter()
    groups: Counter[str] = Counter()
    chosen: list[int] = []
    while left and len(chosen) < count:
        index = min(left, key=lambda i: (classes[left[i].labels[:1]], groups[left[i].group], i))
        clip = left.pop(index)
        classes[clip.labels[:1]] += 1
        groups[clip.group] += 1
        chosen.append(index)
    return chosen


@torch.inference_mode()
def _deleted(
    reader: BlockRunner,
    backbone: Backbone,
    frames: UInt8[np.ndarray, "T S S 3"],
    orders: Sequence[Int[torch.Tensor, "1 T P"]],
    named: int,
) -> np.ndarray:
    """Probability of the named class, by order and share removed, (3, S)."""
    blurred = np.stack([_blurred(frame) for frame in frames])
    device = next(reader.opened.model.parameters()).device

    def without(removed: Bool[np.ndarray, "T P"]) -> float:
        mask = _on_pixels(removed, backbone.size)[..., None]
        cubes = backbone(np.where(mask, blurred, frames))
        # Rounded as in the feature store.
        cubes = cubes.to(torch.float16).float().unsqueeze(0).to(device)
        real = torch.ones(cubes.shape[:2], dtype=torch.bool, device=device)
        return float(reader.block_means(reader.probabilities(cubes, real), real)[0, named])

    places = orders[0].shape[-1]
    found = np.empty((len(orders), len(_SHARES)))
    for step, count in enumerate(np.round(_SHARES * places).astype(int)):
        if count in (0, places):  # one result whatever the order
            found[:, step] = without(orders[0][0].numpy() < count)
        else:
            found[:, step] = [without(rank[0].numpy() < count) for rank in orders]
    return found


def _first_frames(
    clip: Clip, fps: video.FrameRate, size: int, count: int
) -> UInt8[np.ndarray, "T S S 3"]:
    reader = video.FrameReader(clip.path, fps=fps, size=size)
    return np.stack([frame.pixels for frame in itertools.islice(reader, count)])


def _blurred(frame: UInt8[np.ndarray, "S S 3"]) -> UInt8[np.ndarray, "S S 3"]:
    blur = ImageFilter.GaussianBlur(_BLUR * len(frame))
    return np.asarray(Image.fromarray(frame).filter(blur))


def _on_pixels(removed: Bool[np.ndarray, "T P"], size: int) -> Bool[np.ndarray, "T S S"]:
    """The cell of each pixel, removed or not."""
    side = math.isqrt(removed.shape[1])
    cell = np.arange(size) * side // size
    return np.asarray(removed.reshape(-1, side, side)[:, cell[:, None], cell])
