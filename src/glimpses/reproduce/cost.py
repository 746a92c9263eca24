"""What a reproduction will cost on this machine, told before it starts."""

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
from glimpses.features import grid_starts
from glimpses.models import ActionModel, CubeShape, ModelConfig, sequence_loss
from glimpses.training import TrainOptions
from glimpses.utils.errors import GlimpsesError
from glimpses.utils.files import format_size
from glimpses.utils.progress import bar

# Blocks in the batch that is timed; larger ones cost in proportion.
_BATCH = 8
# A forward pass costs about a third of a training step, which also goes backwards.
_TEST_SHARE = 1 / 3


@dataclass(frozen=True)
class Cost:
    """An estimate, from the clips' headers and a few steps timed here.

    Attributes:
        disk: bytes of features that will be kept.
        extraction: hours to compute them all; what is in the store already costs nothing.
        training: hours to train and test every model.
        models: how many.
        machine: what it was timed on.
    """

    disk: float
    extraction: float
    training: float
    models: int
    machine: str

    def to_json(self) -> dict[str, Any]:
        """Everything, for programs."""
        return dict(vars(self))

    def __str__(self) -> str:
        hours = self.extraction + self.training
        return (
            f"about {format_size(self.disk)} of features and {_duration(hours)} on {self.machine}: "
            f"{_duration(self.extraction)} for the features, {_duration(self.training)} for "
            f"{self.models} trainings and their tests; less where some are there already"
        )


def estimate(dataset: ActionDataset, plan: Sequence[tuple[TrainOptions, str]], device: str) -> Cost:
    """Estimate what it costs to train and test some models.

    Args:
        dataset: the clips.
        plan: options and name of the split of each training.
        device: "cpu" or "cuda".
    """
    seconds = _durations(dataset.clips)
    # Dealing validation clips takes a while, and many trainings share a split.
    names = dict.fromkeys(name for _, name in plan)
    splits = {name: datasets.split(dataset, name) for name in names}
    disk = extraction = training = 0.0
    steps: dict[tuple[Any, ...], float] = {}
    timed: dict[tuple[Any, ...], tuple[float, float, int, int]] = {}
    for options, name in plan:
        fps = _rate(options)
        key = (options.data.backbone, fps)
        if key not in timed:
            timed[key] = _time_backbone(options.data.backbone, device)
            frames = sum(seconds.values()) * fps
            each, size, _, _ = timed[key]
            disk += frames * size
            extraction += frames * each
        _, _, places, channels = timed[key]
        model = (options.model.model, *key)
        if model not in steps:
            steps[model] = _time_step(options, len(dataset.classes), places, channels, device)
        training += steps[model] * _blocks(splits[name], seconds, options)
    return Cost(disk, extraction / 3600, training / 3600, len(plan), _machine(device))


def _durations(clips: Sequence[Clip]) -> dict[str, float]:
    """Seconds of every clip by its header; 0 for one that cannot be read."""
    found = {}
    with bar("looking at clips", len(clips), transient=True) as progress:
        for clip in clips:
            try:
                found[clip.id], _ = video.read_header(clip.path)
            except GlimpsesError:
                found[clip.id] = 0.0
            progress.advance()
    return found


def _blocks(split: Split, seconds: Mapping[str, float], options: TrainOptions) -> float:
    """Blocks that a training and its tests read, each counted by what it costs."""
    data = options.data

    def count(clips: Sequence[Clip], stride: int) -> int:
        frames = [max(1, round(seconds[clip.id] * _rate(options))) for clip in clips]
        return sum(len(grid_starts(length, data.block_length, stride)) for length in frames)

    trained = count(split.train, data.train_stride or data.block_length)
    validated = count(split.validation, data.block_stride)
    tested = count(split.test, data.block_stride)
    epochs = options.optim.epochs
    return float(epochs * (trained + _TEST_SHARE * validated) + _TEST_SHARE * tested)


def _rate(options: TrainOptions) -> float:
    """Return the frames per second to reckon with; 25 for the rate of the videos."""
    return 25.0 if options.data.fps == "native" else options.data.fps


def _time_backbone(spec: str, device: str) -> tuple[float, float, int, int]:
    """Seconds and bytes of one frame's feature cube, its places and its channels."""
    network = backbones.load(spec, device=device)
    frames = np.zeros((16, network.size, network.size, 3), np.uint8)
    each = _seconds(lambda: network(frames), device) / len(frames)
    return each, 2 * network.grid**2 * network.channels, network.grid**2, network.channels


def _time_step(
    options: TrainOptions, classes: int, places: int, channels: int, device: str
) -> float:
    """Seconds of a training step per block."""
    config = ModelConfig(options.model, classes, CubeShape(places, channels))
    model: ActionModel = models.build_model(config).to(device)
    cubes = torch.zeros(_BATCH, options.data.block_length, places, channels, device=device)
    mask = torch.ones(_BATCH, options.data.block_length, dtype=torch.bool, device=device)
    targets = torch.zeros(_BATCH, dtype=torch.long, device=device)

    def step() -> None:
        loss = sequence_loss(model(cubes, mask), targets, mask, attention_weight=1.0)
        torch.autograd.backward(loss.total)

    return _seconds(step, device) / _BATCH


def _seconds(work: Callable[[], object], device: str) -> float:
    """The shorter of two timings, after one that warms up."""
    taken = []
    for _ in range(3):
        start = time.perf_counter()
        work()
        if device.startswith("cuda"):
            torch.cuda.synchronize()
        taken.append(time.perf_counter() - start)
    return min(taken[1:])


def _machine(device: str) -> str:
    if device.startswith("cuda"):
        return torch.cuda.get_device_name(device)
    name = platform.processor() or platform.machine()
    known = Path("/proc/cpuinfo")
    if known.exists():
        lines = known.read_text().splitlines()
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
