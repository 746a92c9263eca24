"""How attention moves: cases worked by hand, and the ends of each scale."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from glimpses.evaluation.attention_stats import (
    agreement,
    agreements,
    centroid_shift,
    coverage,
    entropy,
)
from glimpses.evaluation.block_runner import BlockRunner, look
from tests.configs import model_config
from tests.evaluation.known import Made, opened

UNIFORM, ONE = np.full((5, 9), 1 / 9), np.tile(np.eye(9)[4], (5, 1))


def test_uniform_attention_and_attention_to_one_place_are_the_ends() -> None:
    assert entropy(UNIFORM) == pytest.approx(1)
    assert entropy(ONE) == pytest.approx(0)
    assert coverage(UNIFORM) == pytest.approx(1)
    assert coverage(ONE) == pytest.approx(1 / 9)
    for still in (UNIFORM, ONE):
        assert np.isnan(centroid_shift(still)[0])
        assert centroid_shift(still)[1:] == pytest.approx(0)
        assert agreement(still, still) == pytest.approx(1)
    assert agreement(ONE, np.roll(ONE, 1, axis=1)) == pytest.approx(0)


def test_a_case_worked_by_hand() -> None:
    attention = np.array([[0.5, 0.5, 0, 0], [0, 0, 0.5, 0.5], [0.25, 0, 0.75, 0]])
    assert entropy(attention)[:2] == pytest.approx([0.5, 0.5])  # log 2 / log 4
    # From the upper row of a 2 x 2 grid to the lower: half a width.
    assert centroid_shift(attention)[1] == pytest.approx(0.5)
    # From (1/2, 3/4) to (1/4, 3/4 - 1/8).
    assert centroid_shift(attention)[2] == pytest.approx(np.hypot(1 / 4, 1 / 8))
    # Means of 1/4, 1/6, 5/12, 1/6 against 1/4 each.
    assert coverage(attention) == pytest.approx(1 / 4 + 1 / 6 + 1 / 4 + 1 / 6)
    assert agreement(attention[:1], attention[2:]) == pytest.approx(0.25)


def test_looking_at_each_place_once_covers_all() -> None:
    assert coverage(np.eye(9)) == pytest.approx(1)
    assert entropy(np.eye(9)) == pytest.approx(0)


def by_position(cubes: Tensor) -> Tensor:
    """Looks at one place after another, from the block's first step on."""
    steps = torch.arange(cubes.shape[1]) % 4
    return torch.eye(4)[steps].expand(len(cubes), -1, -1)


def by_content(cubes: Tensor) -> Tensor:
    return torch.softmax(cubes[..., 0], -1)


@pytest.mark.parametrize(
    ("looks", "steps", "expected"),
    [
        (by_content, 4, 1.0),  # knows no past, so blocks agree
        (by_position, 4, 0.0),  # begun two steps later, it is never where the first one is
        (by_position, 8, 1.0),  # begun four steps later, it is
    ],
)
def test_agreement_of_blocks_that_begin_half_a_block_apart(
    looks: object, steps: int, expected: float
) -> None:
    model = Made(
        model_config(num_classes=2, places=4, channels=1), looks, lambda cubes, _: cubes[..., :2, 0]
    )  # type: ignore[arg-type]
    cubes = [torch.randn(frames, 4, 1) for frames in (steps, 2 * steps + 1, steps - 1, 2)]
    reader = BlockRunner(opened(model, cubes, [0] * 4, steps=steps))
    found = agreements(reader, look(reader))
    assert found[:3] == pytest.approx(expected, abs=1e-6)
    assert np.isnan(found[3])  # no more than half a block
