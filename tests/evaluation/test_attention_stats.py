"""Attention statistics: cases worked out by hand, and the extremes of each scale."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from glimpses.evaluation.attention_stats import (
    block_overlap,
    centroid_shift,
    coverage,
    entropy,
    overlap,
)
from glimpses.evaluation.block_runner import BlockRunner, run_clips
from tests.configs import model_config
from tests.evaluation.fake_runs import FakeModel, fake_run

UNIFORM, SINGLE = np.full((5, 9), 1 / 9), np.tile(np.eye(9)[4], (5, 1))


def test_uniform_attention_and_a_single_place_are_the_extremes() -> None:
    assert entropy(UNIFORM) == pytest.approx(1)
    assert entropy(SINGLE) == pytest.approx(0)
    assert coverage(UNIFORM) == pytest.approx(1)
    assert coverage(SINGLE) == pytest.approx(1 / 9)
    for constant in (UNIFORM, SINGLE):
        assert np.isnan(centroid_shift(constant)[0])
        assert centroid_shift(constant)[1:] == pytest.approx(0)
        assert overlap(constant, constant) == pytest.approx(1)
    assert overlap(SINGLE, np.roll(SINGLE, 1, axis=1)) == pytest.approx(0)


def test_values_worked_out_by_hand() -> None:
    attention = np.array([[0.5, 0.5, 0, 0], [0, 0, 0.5, 0.5], [0.25, 0, 0.75, 0]])
    assert entropy(attention)[:2] == pytest.approx([0.5, 0.5])  # log 2 / log 4
    # From the upper row of a 2 x 2 grid to the lower: half a width.
    assert centroid_shift(attention)[1] == pytest.approx(0.5)
    # From (1/2, 3/4) to (1/4, 3/4 - 1/8).
    assert centroid_shift(attention)[2] == pytest.approx(np.hypot(1 / 4, 1 / 8))
    # Means of 1/4, 1/6, 5/12, 1/6 against 1/4 each.
    assert coverage(attention) == pytest.approx(1 / 4 + 1 / 6 + 1 / 4 + 1 / 6)
    assert overlap(attention[:1], attention[2:]) == pytest.approx(0.25)


def test_attending_to_each_place_once_gives_full_coverage() -> None:
    assert coverage(np.eye(9)) == pytest.approx(1)
    assert entropy(np.eye(9)) == pytest.approx(0)


def by_position(cubes: Tensor) -> Tensor:
    """Attend to one place after another, from the block's first step on."""
    steps = torch.arange(cubes.shape[1]) % 4
    return torch.eye(4)[steps].expand(len(cubes), -1, -1)


def by_content(cubes: Tensor) -> Tensor:
    return torch.softmax(cubes[..., 0], -1)


@pytest.mark.parametrize(
    ("attend", "steps", "expected"),
    [
        (by_content, 4, 1.0),  # does not depend on the past, so blocks agree
        (by_position, 4, 0.0),  # two steps later, it is never at the place of the first block
        (by_position, 8, 1.0),  # four steps later, it is
    ],
)
def test_overlap_of_blocks_that_start_half_a_block_apart(
    attend: object, steps: int, expected: float
) -> None:
    model = FakeModel(
        model_config(num_classes=2, places=4, channels=1),
        attend,
        lambda cubes, _: cubes[..., :2, 0],
    )  # type: ignore[arg-type]
    cubes = [torch.randn(frames, 4, 1) for frames in (steps, 2 * steps + 1, steps - 1, 2)]
    runner = BlockRunner(fake_run(model, cubes, [0] * 4, steps=steps))
    overlaps = block_overlap(runner, run_clips(runner))
    assert overlaps[:3] == pytest.approx(expected, abs=1e-6)
    assert np.isnan(overlaps[3])  # at most half a block
