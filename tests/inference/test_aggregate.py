"""Aggregation of steps to blocks and of blocks to clips."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from glimpses.features import Block
from glimpses.inference.aggregate import BlockResult, ClipAggregator, run_blocks
from glimpses.models import ActionModel


def test_a_clip_is_the_mean_over_steps_then_over_blocks() -> None:
    random = np.random.default_rng(1)
    average = ClipAggregator()
    blocks = [random.dirichlet(np.ones(3), size=4) for _ in range(3)]
    for start, block in zip((0, 2, 3), blocks, strict=True):
        average.add(BlockResult(0, start, block, block[:, :2]))
    result = average.result()
    assert result.probabilities == pytest.approx(np.mean([b.mean(0) for b in blocks], 0))
    assert len(result.step_probabilities) == 7
    # Frame 3 is step 3 of the first block, step 1 of the second and step 0 of the third.
    assert result.step_probabilities[3] == pytest.approx(
        (blocks[0][3] + blocks[1][1] + blocks[2][0]) / 3
    )
    assert result.attention is not None
    assert result.attention[0] == pytest.approx(blocks[0][0, :2])


def test_only_the_last_steps_of_a_block_can_count() -> None:
    block = np.array([[0.9, 0.1], [0.2, 0.8], [0.4, 0.6]])
    average = ClipAggregator(last_steps=2)
    average.add(BlockResult(0, 0, block, None))
    average.add(BlockResult(0, 3, block[:1], None))
    assert average.result().probabilities == pytest.approx([(0.3 + 0.9) / 2, (0.7 + 0.1) / 2])


def test_blocks_can_be_aggregated_by_majority() -> None:
    """Two blocks that narrowly favour class 0 outvote one that clearly favours class 1."""
    leads = ([0.6, 0.4], [0.01, 0.99], [0.55, 0.45])
    mean, majority = ClipAggregator(), ClipAggregator(aggregate="majority")
    for start, lead in enumerate(leads):
        for average in (mean, majority):
            average.add(BlockResult(0, start, np.array([lead]), None))
    assert mean.result().probabilities.argmax() == 1
    assert majority.result().probabilities == pytest.approx([2 / 3, 1 / 3], abs=1e-5)


@pytest.mark.parametrize("multi_label", [False, True])
def test_logits_are_averaged_over_steps_and_blocks(multi_label: bool) -> None:
    logits = torch.randn(2, 4, 3, dtype=torch.float64)
    average = ClipAggregator(aggregate="logits", multi_label=multi_label)
    for start, block in enumerate(logits):
        probabilities = block.sigmoid() if multi_label else block.softmax(-1)
        average.add(BlockResult(0, start, probabilities.numpy(), None))
    mean = logits.mean((0, 1))
    if multi_label:
        expected = mean.sigmoid()
    else:
        # Steps whose logits differ by a constant have equal probabilities.
        expected = (logits - logits.logsumexp(-1, keepdim=True)).mean((0, 1)).softmax(-1)
        torch.testing.assert_close(expected, mean.softmax(-1))
    assert average.result().probabilities == pytest.approx(expected.numpy())


def test_logits_of_certain_steps_are_finite() -> None:
    average = ClipAggregator(aggregate="logits")
    average.add(BlockResult(0, 0, np.array([[1.0, 0.0], [0.0, 1.0]]), None))
    assert average.result().probabilities == pytest.approx([0.5, 0.5])


def test_the_mean_breaks_a_tie_of_the_majority() -> None:
    average = ClipAggregator(aggregate="majority")
    for lead in ([0.6, 0.4], [0.1, 0.9]):
        average.add(BlockResult(0, 0, np.array([lead]), None))
    result = average.result().probabilities
    assert result.argmax() == 1
    assert result.sum() == pytest.approx(1)


class Echo(nn.Module):
    """Model whose logits are the cubes' first place; fails in training mode."""

    temperature = 0.5
    to_probabilities = ActionModel.to_probabilities

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, cubes: Tensor, mask: Tensor, mean: Tensor | None = None) -> SimpleNamespace:
        assert not self.training
        return SimpleNamespace(logits=cubes[:, :, 0].float(), attention=None)


@pytest.mark.parametrize("multi_label", [False, True])
def test_padding_is_dropped_and_training_mode_restored(multi_label: bool) -> None:
    cubes = torch.randn(2, 5, 4, 3).half()
    mask = torch.tensor([[True] * 5, [True] * 2 + [False] * 3])
    model = Echo().train()
    batch = Block(cubes, mask, torch.tensor([7, 8]), torch.tensor([0, 30]))
    first, second = run_blocks(model, batch, multi_label=multi_label)  # type: ignore[arg-type]
    assert (first.clip, second.start) == (7, 30)
    assert (len(first.probabilities), len(second.probabilities)) == (5, 2)
    logits = 2 * cubes[1, :2, 0].double()
    expected = logits.sigmoid() if multi_label else logits.softmax(-1)
    assert second.probabilities == pytest.approx(expected.numpy(), abs=1e-6)
    assert model.training


def test_memory_of_the_average_grows_with_frames_not_blocks() -> None:
    """The paper's stride of 1: thirty times as many block steps as frames."""
    import tracemalloc

    random = np.random.default_rng(0)
    average = ClipAggregator()
    tracemalloc.start()
    whole = []
    for start in range(2000):
        probabilities = random.random((30, 8))
        whole.append(probabilities.mean(0))
        average.add(BlockResult(0, start, probabilities, random.random((30, 49))))
    result = average.result()
    memory = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert result.step_probabilities.shape == (2029, 8)
    assert result.attention is not None
    assert result.attention.shape == (2029, 49)
    np.testing.assert_allclose(result.probabilities, np.mean(whole, axis=0))
    assert memory < 6e6  # all blocks would be 27 MB
