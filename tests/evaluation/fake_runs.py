"""Fake runs: models with given attention and decisions, on cubes in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from glimpses.datasets import ActionDataset, Clip
from glimpses.evaluation import OpenedRun
from glimpses.features import Features
from glimpses.models import ActionModel, ModelConfig, ModelOutput, State
from tests.configs import run_config


class FakeFeatures:
    """Stand-in for `ClipFeatures` with cubes in memory."""

    digest, problem = "", None

    def __init__(self, cubes: Tensor) -> None:
        self.cubes = cubes.half()
        self.times = np.arange(len(cubes)) / 10

    def __len__(self) -> int:
        return len(self.cubes)

    @property
    def shape(self) -> tuple[int, int]:
        places, channels = self.cubes.shape[1:]
        return places, channels

    def block(self, start: int, length: int) -> Tensor:
        return self.cubes[start : start + length]

    def read_into(self, start: int, out: np.ndarray) -> None:
        out[:] = self.cubes[start : start + len(out)].numpy()


@dataclass
class FakeAnnotation:
    """Annotation with given occupancy of each place."""

    values: np.ndarray

    def occupancy(self, times: np.ndarray, grid: int) -> np.ndarray:
        return self.values[np.round(times * 10).astype(int)].reshape(-1, grid, grid)

    def annotated(self, times: np.ndarray) -> np.ndarray:
        return np.ones(len(times), bool)


class FakeModel(ActionModel):
    """Model whose attention and logits are given functions.

    Args:
        config: shape of the model.
        attend: standardised cubes (B, T, P, D) to attention (B, T, P); None for a model that pools.
        classify: standardised cubes and attention to logits (B, T, C).
    """

    def __init__(
        self,
        config: ModelConfig,
        attend: Callable[[Tensor], Tensor] | None,
        classify: Callable[[Tensor, Tensor | None], Tensor],
    ) -> None:
        super().__init__(config)
        self.anchor = torch.nn.Parameter(torch.zeros(1))
        self._attend, self._classify = attend, classify
        self.has_attention = attend is not None

    def forward(
        self,
        cubes: Tensor,
        mask: Tensor | None = None,
        attention: Tensor | None = None,
        mean: Tensor | None = None,
    ) -> ModelOutput:
        cubes = self.channel_norm(cubes)
        if attention is None and self._attend is not None:
            attention = self._attend(cubes)
        return ModelOutput(self._classify(cubes, attention), attention, slice_attention=attention)

    @property
    def description(self) -> str:
        return "fake model"

    def step(self, cube: Tensor, state: State) -> tuple[Tensor, Tensor | None, State]:
        output = self.forward(cube.unsqueeze(1))
        attention = None if output.attention is None else output.attention[:, 0]
        return output.logits[:, 0], attention, state


def fake_run(
    model: ActionModel,
    cubes: Sequence[Tensor],
    labels: Sequence[Any],
    *,
    groups: Sequence[str] | None = None,
    steps: int = 4,
    multi_label: bool = False,
    last_steps: int | None = None,
) -> OpenedRun:
    """Return an open run of a model on clips of these cubes, (N, P, D) each."""
    shape = model.config
    classes = tuple("abcdefgh"[: shape.num_classes])
    clips = tuple(
        Clip(
            f"{number}.avi",
            Path(f"nowhere/{number}.avi"),
            label if isinstance(label, tuple) else (label,),
            groups[number] if groups else str(number),
        )
        for number, label in enumerate(labels)
    )
    config = run_config(
        classes=classes, multi_label=multi_label, backbone="none", block_length=steps, model=shape,
        last_steps=last_steps,
    )  # fmt: skip
    features: Any = {
        clip.id: FakeFeatures(frames) for clip, frames in zip(clips, cubes, strict=True)
    }
    grid = round(shape.cube.places**0.5)
    return OpenedRun(
        Path("runs/known"),
        config,
        model.eval(),
        ActionDataset(Path("nowhere"), classes, clips),
        clips,
        Features(features, {}, "none", "", 10.0, 32, grid, shape.cube.channels, Path("nowhere")),
        "test",
    )
