"""Baseline maps that the model's attention should beat: priors, motion energy, Grad-CAM."""

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
from glimpses.evaluation.block_runner import BlockRunner, Maps, run_clips
from glimpses.evaluation.gradcam import grad_cam_maps
from glimpses.evaluation.open_run import OpenedRun, open_other_run
from glimpses.models import ModelConfig, build_meta_model
from glimpses.utils import progress
from glimpses.utils.errors import GlimpsesError

log = logging.getLogger(__name__)

#: Standard deviation of the centre prior in frame widths, fixed before anything was measured.
CENTRE_STD = 0.25
# Training clips for the location prior: more change it little.
_PRIOR_CLIPS = 60
# Cells have the same motion at any frame size several times the grid.
_MOTION_SIZE = 224


def baseline_maps(
    runner: BlockRunner,
    grid: int,
    gradcam_run: Path | None,
    *,
    feature_dir: str | Path | None,
    device: str,
) -> dict[str, Maps]:
    """Compute all baselines that the data allow, by name.

    Args:
        runner: runner of the clips.
        grid: places along each side of the maps.
        gradcam_run: folder of a run that pools, for Grad-CAM; None to leave it out.
        feature_dir: folder for features of that run.
        device: "cpu" or "cuda".
    """
    maps = {
        "uniform": repeat_map(uniform(grid), runner),
        "centre prior": repeat_map(centre_prior(grid), runner),
    }
    prior = location_prior(runner.opened, grid)
    if prior is not None:
        maps["location prior"] = repeat_map(prior, runner)
    motion = motion_energy(runner, grid)
    if motion is not None:
        maps["motion energy"] = motion
    if gradcam_run is not None:
        maps["Grad-CAM"] = grad_cam_of_run(
            gradcam_run, runner, grid, feature_dir=feature_dir, device=device
        )
    return maps


def uniform(grid: int) -> Float64[np.ndarray, " P"]:
    """Return a uniform map: chance level."""
    return np.full(grid * grid, 1 / grid**2)


def centre_prior(grid: int) -> Float64[np.ndarray, " P"]:
    """Return a Gaussian at the centre of the frame, where cameras tend to keep the actor."""
    offset = (np.arange(grid) + 0.5) / grid - 0.5
    profile = np.exp(-(offset**2) / (2 * CENTRE_STD**2))
    prior = np.outer(profile, profile).ravel()
    return np.asarray(prior / prior.sum())


def location_prior(opened: OpenedRun, grid: int) -> Float64[np.ndarray, " P"] | None:
    """Return the mean location of the actor in the run's training clips.

    Uses the steps of the first block of up to 60 annotated clips; None without annotations.
    """
    # Clips of another data set may share ids; the tested clips must not leak into the prior.
    train_ids = set(opened.config.clips.get("train", ())) - {clip.id for clip in opened.clips}
    annotated = [
        clip
        for clip in opened.dataset.clips
        if clip.id in train_ids and clip.annotation is not None
    ]
    chosen = annotated[:: max(len(annotated) // _PRIOR_CLIPS, 1)][:_PRIOR_CLIPS]
    fps = opened.config.data.fps
    times = np.arange(opened.config.data.block_length) / (25.0 if fps == "native" else fps)
    total = np.zeros((grid, grid))
    for annotation in annotations_for(chosen).values() if chosen else ():
        total += annotation.occupancy(times[annotation.annotated(times)], grid).sum(0)
    return None if not total.any() else np.asarray((total / total.sum()).ravel())


def motion_energy(runner: BlockRunner, grid: int) -> Maps | None:
    """Compute the grey-level difference of each cell to the previous sampled frame.

    The first frame gets the map of the second; a frame without motion is uniform.

    Returns:
        Maps, NaN for clips without a readable video; None if no clip has a video file.
    """
    opened = runner.opened
    if not any(video.is_video(clip.path) for clip in opened.clips):
        return None
    frames = []
    with progress.bar("measuring motion", len(opened.clips), transient=True) as bar:
        for clip, cubes in zip(opened.clips, opened.cubes, strict=True):
            maps = np.full((len(cubes), grid * grid), np.nan)
            if video.is_video(clip.path):
                motion = video_motion_energy(clip.path, opened.config.data.fps, grid)[: len(cubes)]
                maps[: len(motion)] = motion
            frames.append(maps)
            bar.advance()
    return runner.split_blocks(frames)


def video_motion_energy(path: Path, fps: video.FrameRate, grid: int) -> Float64[np.ndarray, "N P"]:
    """Return the motion energy of each sampled frame, summing to 1; empty if unreadable."""
    energies: list[Float64[np.ndarray, "K K"]] = []
    previous: Float[np.ndarray, "S S"] | None = None
    # A multiple of the grid, so that cells are of equal size.
    size = grid * max(_MOTION_SIZE // grid, 1)
    try:
        for frame in video.FrameReader(path, fps=fps, size=size):
            grey = _to_grey(frame.pixels)
            still = np.zeros((grid, grid))
            energies.append(
                still if previous is None else _pool_cells(np.abs(grey - previous), grid)
            )
            previous = grey
    except GlimpsesError as error:
        log.warning("%s; skipped in motion energy", error)
    if not energies:
        return np.zeros((0, grid * grid))
    if len(energies) > 1:
        energies[0] = energies[1]
    energy = np.stack(energies).reshape(len(energies), -1)
    total = energy.sum(1, keepdims=True)
    return np.where(total > 0, energy / np.where(total > 0, total, 1), 1 / grid**2)


def grad_cam_of_run(
    run: Path,
    runner: BlockRunner,
    grid: int,
    *,
    feature_dir: str | Path | None = None,
    device: str = "cpu",
) -> Maps:
    """Compute Grad-CAM of another run on the same clips, at the same times, on the given grid.

    Args:
        run: folder of a run that pools.
        runner: runner of the clips.
        grid: places along each side; coarser maps are repeated, finer ones averaged.
        feature_dir: folder for features.
        device: "cpu" or "cuda".

    Raises:
        GlimpsesError: the run cannot be used.
    """
    opened = open_other_run(run, runner.opened, feature_dir=feature_dir, device=device)
    other = BlockRunner(opened)
    frames = other.merge_blocks(grad_cam_maps(other, run_clips(other).predicted))
    by_clip = {
        clip.id: (cubes.times, resize_maps(maps, grid))
        for clip, cubes, maps in zip(opened.clips, opened.cubes, frames, strict=True)
    }
    resampled = []
    for clip, cubes in zip(runner.opened.clips, runner.opened.cubes, strict=True):
        if clip.id in by_clip:
            times, maps = by_clip[clip.id]
            on_display = video.frames_displayed_at(times, cubes.times)
            resampled.append(maps[on_display.clip(0)])
        else:
            resampled.append(np.full((len(cubes), grid * grid), np.nan))
    return runner.split_blocks(resampled)


def check_gradcam_run(run: Path, model: ModelConfig) -> None:
    """Check, before any work, that Grad-CAM of a run can be compared with a model's attention.

    Args:
        run: folder of the run that pools.
        model: the model with attention.

    Raises:
        GlimpsesError: one of the two is of the wrong kind, or the run cannot be read.
    """
    explained = build_meta_model(model)
    if not explained.has_attention:
        raise GlimpsesError(
            f"--gradcam-run {run}: is compared with attention, but a model of "
            f"{explained.description} has none; leave the option out"
        )
    if build_meta_model(runs.read_config(run).model).has_attention:
        raise GlimpsesError(
            f"{run}: is a model with attention; give --gradcam-run a run of --model average, max "
            "or softmax"
        )


def repeat_map(place_map: Float64[np.ndarray, " P"], runner: BlockRunner) -> Maps:
    """Repeat one map for every step of every clip."""
    return runner.split_blocks(
        [np.tile(place_map, (len(cubes), 1)) for cubes in runner.opened.cubes]
    )


def resize_maps(maps: Float[np.ndarray, "N P"], grid: int) -> Float64[np.ndarray, "N Q"]:
    """Resize maps to another grid; they sum to 1 again."""
    side = math.isqrt(maps.shape[1])
    pooled = F.adaptive_avg_pool2d(torch.from_numpy(maps.reshape(-1, 1, side, side)), grid)
    flat = pooled.reshape(len(maps), -1).double().numpy()
    return np.asarray(flat / flat.sum(1, keepdims=True))


def _to_grey(pixels: UInt8[np.ndarray, "S S 3"]) -> Float[np.ndarray, "S S"]:
    """Return the luma (Rec. 601)."""
    return np.asarray(pixels @ np.array([0.299, 0.587, 0.114], np.float32))


def _pool_cells(image: Float[np.ndarray, "S S"], grid: int) -> Float64[np.ndarray, "K K"]:
    cell = len(image) // grid
    return np.asarray(image.reshape(grid, cell, grid, cell).mean((1, 3)), np.float64)
