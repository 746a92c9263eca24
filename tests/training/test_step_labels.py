"""Labels of every frame, for blocks that cross the edges of segments."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from glimpses.datasets import Clip
from glimpses.features import Blocks, ClipFeatures
from glimpses.features.recordings import cut
from glimpses.models import ModelOutput, sequence_loss
from glimpses.training.step_labels import StepLabels

T = 4


@dataclass(frozen=True)
class Counting(ClipFeatures):
    """Features of a recording whose frame n has the value n."""

    def read_into(self, start: int, out: np.ndarray) -> None:
        out[...] = np.arange(start, start + len(out))[:, None, None]


def recording(frames: int) -> Counting:
    return Counting("digest", np.arange(frames) / 10, None, (1, 1), "", ())


def segment(name: str, start: float, end: float | None, *labels: int) -> Clip:
    return Clip(f"{name}#t={start},{end}", Path(name), labels, name, start=start, end=end)


# Frames 0 to 2 are of class 0, 5 to 9 of class 2; 3 and 4 are unlabelled. b has 6 frames.
CLIPS = [
    segment("b", 0, 0.3, 1), segment("a", 0.5, 1.0, 2), segment("a", 0, 0.3, 0),
    segment("b", 0.3, None, 2),
]  # fmt: skip
FEATURES = {
    clip.id: cut(recording(10 if clip.group == "a" else 6), clip.start or 0, clip.end)
    for clip in CLIPS
}


def test_blocks_cross_the_edges_of_segments() -> None:
    labels = StepLabels(CLIPS, FEATURES, 3, multi_label=False)  # type: ignore[arg-type]
    assert [len(one) for one in labels.features] == [6, 10]
    blocks = Blocks(labels.features, [[0, 4], [1, 4]], T)
    batch = blocks.batch(range(4))
    assert batch.cubes[:, :, 0, 0].tolist()[2] == [1, 2, 3, 4]
    targets, known = labels.of(batch)
    assert known.tolist() == [[True] * 4, [True, True, False, False],
                              [True, True, False, False], [False, True, True, True]]  # fmt: skip
    assert targets[known].tolist() == [1, 1, 1, 2, 2, 2, 0, 0, 2, 2, 2]
    assert labels.counts().tolist() == [3, 3, 3 + 5]


def test_several_labels_of_a_step() -> None:
    clips = [segment("a", 0, 0.5, 0, 2), segment("a", 0.5, None)]
    features = {clip.id: cut(recording(8), clip.start or 0, clip.end) for clip in clips}
    labels = StepLabels(clips, features, 3, multi_label=True)  # type: ignore[arg-type]
    targets, known = labels.of(Blocks(labels.features, [[3]], T).batch([0]))
    assert known.all()
    assert targets.tolist() == [[[1, 0, 1], [1, 0, 1], [0, 0, 0], [0, 0, 0]]]


def test_the_loss_of_steps_is_that_of_each_by_itself() -> None:
    logits = torch.randn(2, T, 3)
    targets = torch.tensor([[0, 1, 2, 0], [2, 2, 1, 0]])
    mask = torch.tensor([[True] * 4, [True, False, True, False]])
    loss = sequence_loss(ModelOutput(logits, None), targets, mask).total
    expected = sum(F.cross_entropy(logits[b, t], targets[b, t])
                   for b in range(2) for t in range(T) if mask[b, t])  # fmt: skip
    assert float(loss) == pytest.approx(float(expected) / 2)


def test_the_loss_of_steps_with_several_labels() -> None:
    logits, targets = torch.randn(1, T, 3), torch.randint(2, (1, T, 3)).float()
    mask = torch.ones(1, T, dtype=torch.bool)
    loss = sequence_loss(ModelOutput(logits, None), targets, mask, multi_label=True).total
    expected = F.binary_cross_entropy_with_logits(logits, targets, reduction="sum")
    assert float(loss) == pytest.approx(float(expected))
