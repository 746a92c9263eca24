"""Estimate of the disk space and time that a reproduction needs."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from glimpses import backbones, datasets, models, video
from glimpses.datasets import ActionDataset, Clip, Split
from glimpses.features.blocks import grid_starts
from glimpses.models import CubeShape, ModelConfig, sequence_loss
from glimpses.reproduce.presets import Preset
from glimpses.utils.errors import GlimpsesError
from glimpses.utils.files import format_size
from glimpses.utils.progress import bar

# Blocks in the timed batch; the time of other batches is proportional.
_BATCH_SIZE = 8
# Time of a forward pass as a share of a training step, which also has a backward pass.
_FORWARD_SHARE = 1 / 3
# Frame rate to assume for videos that are read at their own rate.
_NATIVE_FPS = 25.0


@dataclass(frozen=True)
class CostEstimate:
    """Estimated cost of a reproduction, from the clips' headers and a few timed steps.

    Attributes:
        disk: size of the stored features in bytes.
        extraction: hours to compute the features; features already stored cost nothing.
        training: hours to train and test all models.
        models: number of models.
        machine: processor or GPU of the timing.
    """

    disk: float
    extraction: float
    training: float
    models: int
    machine: str

    def to_json(self) -> dict[str, Any]:
        """Return the fields in a form that JSON can hold."""
        return dict(vars(self))

    def __str__(self) -> str:
        hours = self.extraction + self.training
        return (
            f"about {format_size(self.disk)} of features and {_duration(hours)} on {self.machine}: "
            f"{_duration(self.extraction)} for the features, {_duration(self.training)} to train "
            f"and test {self.models} models; features and models that exist already cost nothing"
        )


@dataclass(frozen=True)
class _BackboneCost:
    """Cost of the feature cube of one frame, and the cube's shape."""

    seconds: float
    size: int
    cube: CubeShape


def estimate_cost(
    dataset: ActionDataset, plan: Sequence[tuple[Preset, str]], device: str
) -> CostEstimate:
    """Estimate the cost of training and testing models.

    Args:
        dataset: the clips.
        plan: options and split name of every training.
        device: "cpu" or "cuda".
    """
    seconds = _clip_seconds(dataset.clips)
    # Splitting off validation clips takes a while, and many trainings share a split.
    splits = {name: datasets.split(dataset, name) for name in dict.fromkeys(n for _, n in plan)}
    disk = extraction = training = 0.0
    backbone_costs: dict[tuple[str, float], _BackboneCost] = {}
    seconds_per_block: dict[tuple[str, str, float], float] = {}
    for preset, split_name in plan:
        backbone, fps = preset.data.backbone, _fps(preset)
        if (backbone, fps) not in backbone_costs:
            cost = backbone_costs[backbone, fps] = _time_backbone(backbone, device)
            frames = sum(seconds.values()) * fps
            disk += frames * cost.size
            extraction += frames * cost.seconds
        model = (preset.model.model, backbone, fps)
        if model not in seconds_per_block:
            seconds_per_block[model] = _time_training_step(
                ModelConfig(preset.model, len(dataset.classes), backbone_costs[backbone, fps].cube),
                preset.data.block_length,
                device,
            )
        training += seconds_per_block[model] * _count_blocks(splits[split_name], seconds, preset)
    return CostEstimate(disk, extraction / 3600, training / 3600, len(plan), _machine(device))


def _clip_seconds(clips: Sequence[Clip]) -> dict[str, float]:
    """Return every clip's duration by its header; 0 for a clip that cannot be read."""
    seconds = {}
    with bar("reading durations", len(clips), transient=True) as progress:
        for clip in clips:
            try:
                seconds[clip.id], _ = video.read_header(clip.path)
            except GlimpsesError:
                seconds[clip.id] = 0.0
            progress.advance()
    return seconds


def _count_blocks(split: Split, seconds: Mapping[str, float], preset: Preset) -> float:
    """Return the blocks of a training and its tests, weighted by their cost."""
    data = preset.data

    def count(clips: Sequence[Clip], stride: int) -> int:
        frames = [max(1, round(seconds[clip.id] * _fps(preset))) for clip in clips]
        return sum(len(grid_starts(length, data.block_length, stride)) for length in frames)

    train = count(split.train, data.train_stride or data.block_length)
    per_epoch = train + _FORWARD_SHARE * count(split.validation, data.block_stride)
    test = _FORWARD_SHARE * count(split.test, data.block_stride)
    return float(preset.optim.epochs * per_epoch + test)


def _fps(preset: Preset) -> float:
    return _NATIVE_FPS if preset.data.fps == "native" else preset.data.fps


def _time_backbone(spec: str, device: str) -> _BackboneCost:
    network = backbones.load(spec, device=device)
    frames = np.zeros((16, network.size, network.size, 3), np.uint8)
    seconds = _time(lambda: network(frames), device) / len(frames)
    places = network.grid**2
    # Cubes are stored in half precision.
    size = 2 * places * network.channels
    return _BackboneCost(seconds, size, CubeShape(places, network.channels))


def _time_training_step(config: ModelConfig, block_length: int, device: str) -> float:
    """Return the seconds of a training step per block."""
    model = models.build_model(config).to(device)
    shape = (_BATCH_SIZE, block_length)
    cubes = torch.zeros(*shape, config.cube.places, config.cube.channels, device=device)
    mask = torch.ones(*shape, dtype=torch.bool, device=device)
    targets = torch.zeros(_BATCH_SIZE, dtype=torch.long, device=device)

    def step() -> None:
        loss = sequence_loss(model(cubes, mask), targets, mask, attention_weight=1.0)
        torch.autograd.backward(loss.total)

    return _time(step, device) / _BATCH_SIZE


def _time(function: Callable[[], object], device: str) -> float:
    """Return the shorter of two timings in seconds, after a warm-up call."""
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        function()
        if device.startswith("cuda"):
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    return min(seconds[1:])


def _machine(device: str) -> str:
    if device.startswith("cuda"):
        return torch.cuda.get_device_name(device)
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = cpuinfo.read_text().splitlines()
        names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
        name = names[0] if names else name
    return f"{os.cpu_count()} cores of {name}"


def _duration(hours: float) -> str:
    if hours < 1 / 60:
        return f"{hours * 3600:.0f} seconds"
    if hours < 1:
        return f"{hours * 60:.0f} minutes"
    if hours < 48:
        return f"{hours:.1f} hours"
    return f"{hours / 24:.0f} days"
