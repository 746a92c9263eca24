"""Maps that know nothing of the model, or of another one: what its attention must beat."""

from __future__ import annotations

import logging
import math
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Float64, UInt8

from glimpses import runs, video
from glimpses.datasets.annotations import annotations_for
from glimpses.evaluation.block_runner import BlockRunner, Maps, look
from glimpses.evaluation.gradcam import grad_cams
from glimpses.evaluation.open_run import OpenedRun, open_beside
from glimpses.models import ModelConfig, build_meta_model
from glimpses.utils import progress
from glimpses.utils.errors import GlimpsesError

log = logging.getLogger(__name__)

#: Deviation of the centre prior in widths of the picture, fixed before anything was measured.
CENTRE = 0.25
# Training clips that make the place prior: more change it little.
_PLACES = 60
# A grid of cells has the same motion at any size of the frames that is several times its own.
_SIZE = 224


def uniform(grid: int) -> Float64[np.ndarray, " P"]:
    """The same everywhere: chance."""
    return np.full(grid * grid, 1 / grid**2)


def centre_prior(grid: int) -> Float64[np.ndarray, " P"]:
    """A Gaussian at the middle of the picture, where who films tends to hold the actor."""
    away = (np.arange(grid) + 0.5) / grid - 0.5
    side = np.exp(-(away**2) / (2 * CENTRE**2))
    prior = np.outer(side, side).ravel()
    return np.asarray(prior / prior.sum())


def place_prior(opened: OpenedRun, grid: int) -> Float64[np.ndarray, " P"] | None:
    """Where the actor is on average in clips of the run's training side.

    Of up to 60 clips, the steps of their first block; None where their actors are not known.
    """
    # Clips of another set may have the same names; what is tested must not tell where to look.
    side = set(opened.config.clips.get("train", ())) - {clip.id for clip in opened.clips}
    there = [
        clip for clip in opened.dataset.clips if clip.id in side and clip.annotation is not None
    ]
    chosen = there[:: max(len(there) // _PLACES, 1)][:_PLACES]
    fps = opened.config.data.fps
    times = np.arange(opened.config.data.block_length) / (25.0 if fps == "native" else fps)
    total, steps = np.zeros((grid, grid)), 0
    for truth in annotations_for(chosen).values() if chosen else ():
        known = truth.annotated(times)
        total += truth.occupancy(times[known], grid).sum(0)
        steps += int(known.sum())
    return None if not total.any() else np.asarray((total / total.sum()).ravel())


def motion_energy(reader: BlockRunner, grid: int) -> Maps | None:
    """How much each cell of a sampled frame differs from the frame before, in grey.

    The first frame is given what the second has; a frame in which nothing moves is uniform. NaN for
    clips without a video that can be read, None if that is all of them.
    """
    opened = reader.opened
    if not any(clip.path.is_file() for clip in opened.clips):
        return None
    frames = []
    with progress.bar("measuring motion", len(opened.clips), transient=True) as bar:
        for clip, cubes in zip(opened.clips, opened.cubes, strict=True):
            maps = np.full((len(cubes), grid * grid), np.nan)
            if clip.path.is_file():
                moved = motion_of(clip.path, opened.config.data.fps, grid)[: len(cubes)]
                maps[: len(moved)] = moved
            frames.append(maps)
            bar.advance()
    return reader.cut(frames)


def motion_of(path: Path, fps: video.FrameRate, grid: int) -> Float64[np.ndarray, "N P"]:
    """Motion energy of the sampled frames of a video, each summing to 1; empty if it has none."""
    found: list[Float64[np.ndarray, "K K"]] = []
    before: Float[np.ndarray, "S S"] | None = None
    # A multiple of the grid, so that cells are of equal size.
    size = grid * max(_SIZE // grid, 1)
    try:
        for frame in video.FrameReader(path, fps=fps, size=size):
            grey = _grey(frame.pixels)
            still = np.zeros((grid, grid))
            found.append(still if before is None else _pooled(np.abs(grey - before), grid))
            before = grey
    except GlimpsesError as error:
        log.warning("%s; its motion is left out", error)
    if not found:
        return np.zeros((0, grid * grid))
    if len(found) > 1:
        found[0] = found[1]
    energy = np.stack(found).reshape(len(found), -1)
    total = energy.sum(1, keepdims=True)
    return np.where(total > 0, energy / np.where(total > 0, total, 1), 1 / grid**2)


def pooled_grad_cam(
    run: Path, reader: BlockRunner, grid: int, *, store: Path | None = None, device: str = "cpu"
) -> Maps:
    """Grad-CAM of another run on the same clips, at the same times, on the given grid.

    Args:
        run: folder of a run that pools.
        reader: of the clips.
        grid: places along a side; coarser maps are repeated, finer ones averaged.
        store: where features are kept.
        device: "cpu" or "cuda".

    Raises:
        GlimpsesError: the run cannot be used.
    """
    opened = open_beside(run, reader.opened, store=store, device=device)
    other = BlockRunner(opened)
    frames = other.joined(grad_cams(other, look(other).named))
    maps = {
        clip.id: (cubes.times, regridded(own, grid))
        for clip, cubes, own in zip(opened.clips, opened.cubes, frames, strict=True)
    }
    found = []
    for clip, cubes in zip(reader.opened.clips, reader.opened.cubes, strict=True):
        if clip.id in maps:
            times, own = maps[clip.id]
            shown = video.frames_displayed_at(times, cubes.times)
            found.append(own[shown.clip(0)])
        else:
            found.append(np.full((len(cubes), grid * grid), np.nan))
    return reader.cut(found)


def require_rival(run: Path, model: ModelConfig) -> None:
    """Refuse, before any work is done, a run whose Grad-CAM cannot stand beside attention.

    Args:
        run: folder of the run.
        model: whose attention it would stand beside.

    Raises:
        GlimpsesError: one of the two is of the wrong kind, or the run cannot be read.
    """
    explained = build_meta_model(model)
    if not explained.has_attention:
        raise GlimpsesError(
            f"--pooled {run}: stands beside attention, and a model of {explained.description} has "
            "none; leave it out"
        )
    if build_meta_model(runs.read_config(run).model).has_attention:
        raise GlimpsesError(
            f"{run}: has attention of its own; give --pooled a run of --model average, max or "
            "softmax"
        )


def constant(place: Float64[np.ndarray, " P"], reader: BlockRunner) -> Maps:
    """One map for every step of every clip."""
    return reader.cut([np.tile(place, (len(cubes), 1)) for cubes in reader.opened.cubes])


def regridded(maps: Float[np.ndarray, "N P"], grid: int) -> Float64[np.ndarray, "N Q"]:
    """Maps on another grid, summing to 1 again."""
    side = math.isqrt(maps.shape[1])
    pooled = F.adaptive_avg_pool2d(torch.from_numpy(maps.reshape(-1, 1, side, side)), grid)
    flat = pooled.reshape(len(maps), -1).double().numpy()
    return np.asarray(flat / flat.sum(1, keepdims=True))


def _grey(pixels: UInt8[np.ndarray, "S S 3"]) -> Float[np.ndarray, "S S"]:
    """Luma, Rec. 601."""
    return np.asarray(pixels @ np.array([0.299, 0.587, 0.114], np.float32))


def _pooled(picture: Float[np.ndarray, "S S"], grid: int) -> Float64[np.ndarray, "K K"]:
    cell = len(picture) // grid
    return np.asarray(picture.reshape(grid, cell, grid, cell).mean((1, 3)), np.float64)
