"""Fast test doubles, and clips with a known ground truth."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from glimpses import Recogniser, models, runs, video
from tests.configs import model_config, run_config


class GreyBackbone:
    """A stand-in whose cube holds the mean grey of each quarter of the picture."""

    name, weights, size, grid, channels = "grey:2", "abc", 32, 2, 1
    fine_channels, fine_ratio, flow_channels = 0, 1, 0
    batch, threads = 16, 2

    def __init__(self, fail_after: int | None = None) -> None:
        self.calls = 0
        self.frames = 0
        self._fail_after = fail_after

    def __call__(self, frames: np.ndarray) -> Tensor:
        if self.calls == self._fail_after:
            raise KeyboardInterrupt
        self.calls += 1
        self.frames += len(frames)
        grey = torch.from_numpy(frames).float().mean(-1)
        return grey.reshape(-1, 2, 16, 2, 16).mean((2, 4)).reshape(-1, 4, 1)

    def half(
        self, frames: Collection[np.ndarray], previous: np.ndarray | None = None
    ) -> np.ndarray:
        return self(np.stack(list(frames))).half().numpy()


def make_moving_set(root: Path, *, groups: int = 6, length: int = 12) -> Path:
    """Write clips of two actions that differ in time only: a light moves right or left.

    Each group has one clip of each action, with its own grey level.
    """
    for group in range(groups):
        for action, order in (("forth", 1), ("back", -1)):
            frames = np.full((length, 32, 32, 3), 10 + 5 * group, np.uint8)
            for step in range(length):
                column = (step if order > 0 else length - 1 - step) * 32 // length
                frames[step, :, column : column + 4] = 250
            video.write(root / action / f"v_{action}_{group:02}_01.avi", frames, fps=10)
    return root


def make_grey_run(folder: Path, **settings: Any) -> Path:
    """A run with random weights that reads `GreyBackbone`."""
    classes = settings.get("classes", ("back", "forth"))
    shape = model_config(
        num_classes=len(classes), places=4, channels=1, hidden_size=4, num_layers=1
    )
    values: dict[str, Any] = {
        "classes": classes, "backbone": "grey:2", "weights": "abc", "block_length": 4,
        "model": shape, "seed": 3, "clips": {"train": (), "validation": (), "test": ()},
    }  # fmt: skip
    runs.write_config(folder, run_config(**values | settings))
    runs.save_model(folder, models.build_model(shape))
    return folder


def make_recogniser(
    backbone: GreyBackbone | None = None,
    *,
    steps: int = 4,
    multi_label: bool = False,
    fps: video.FrameRate = 10.0,
    **options: object,
) -> Recogniser:
    """One that was never trained; its weights are drawn large, so that what it sees matters."""
    backbone = backbone or GreyBackbone()
    shape: dict[str, Any] = {"num_classes": 3, "places": 4, "channels": backbone.channels}
    shape |= {"hidden_size": 6, **options}
    model = models.build_model(model_config(**shape))
    with torch.no_grad():
        for weights in model.parameters():
            weights.normal_(std=0.7)
    model.channel_norm.set(
        torch.full((backbone.channels,), 100.0), torch.full((backbone.channels,), 50.0)
    )
    config = run_config(
        classes=("a", "b", "c"), multi_label=multi_label, backbone=backbone.name,
        weights=backbone.weights, fps=fps, size=backbone.size, block_length=steps,
        model=model.config,
    )  # fmt: skip
    return Recogniser(config, model.eval(), backbone)  # type: ignore[arg-type]


def make_lively(backbone: GreyBackbone | None = None, **options: Any) -> Recogniser:
    """A recogniser whose classes change with the picture."""
    torch.manual_seed(3)
    recogniser = make_recogniser(backbone, steps=8, **options)
    with torch.no_grad():
        for name, weights in recogniser.model.named_parameters():
            weights.mul_(0 if "bias" in name else 4)
    return recogniser


def scenes(frames: int, seed: int = 0) -> np.ndarray:
    """Frames whose quarters have changing grey levels, RGB (T, 32, 32, 3)."""
    random = np.random.default_rng(seed)
    levels = random.integers(0, 256, (frames // 6 + 1, 2, 2)).repeat(6, 0)[:frames]
    noise = random.integers(-20, 21, (frames, 2, 2))
    grey = (levels + noise).clip(0, 255).astype(np.uint8)
    return np.ascontiguousarray(grey.repeat(16, 1).repeat(16, 2)[..., None].repeat(3, 3))
