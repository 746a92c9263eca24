"""Deletion and insertion of models whose curves are known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from glimpses.evaluation.block_runner import BlockRunner
from glimpses.evaluation.bootstrap import Bootstrap
from glimpses.evaluation.deletion_insertion import (
    LEAST,
    MOST,
    RANDOM,
    deletion_insertion,
    rank_places,
    sum_on_cube_grid,
)
from tests.configs import model_config
from tests.evaluation.fake_runs import FakeModel, fake_run

MEAN = 0.25


def linear_model(classes: int = 2) -> FakeModel:
    """Model whose logit of class 0 is the sum over places of its only channel; the others are 0."""

    def classify(cubes: Tensor, _: Tensor | None) -> Tensor:
        logits = torch.zeros(*cubes.shape[:2], classes)
        logits[..., 0] = cubes[..., 0].sum(-1)
        return logits

    model = FakeModel(model_config(num_classes=classes, places=9, channels=1), None, classify)
    model.channel_norm.set(torch.tensor([MEAN]), torch.ones(1))
    return model


@pytest.mark.parametrize("frames", [4, 3, 10])
def test_deletion_of_a_linear_model(frames: int) -> None:
    """The logit is the sum over the remaining places, so both orders are known."""
    rng = np.random.default_rng(0)
    values = rng.integers(-4, 20, (6, frames, 9)) / 8  # exact in half precision
    cubes = [torch.from_numpy(each[..., None]) for each in values]
    runner = BlockRunner(fake_run(linear_model(), cubes, [0] * 6))
    maps = runner.split_blocks(list(values))
    result = deletion_insertion(
        runner, maps, np.zeros(6, int), Bootstrap([str(n) for n in range(6)])
    )

    def expected(order: str, count: int) -> float:
        ordered = np.sort(values - MEAN, axis=2)
        remaining = ordered[..., : 9 - count] if order == MOST else ordered[..., count:]
        probability = 1 / (1 + np.exp(-remaining.sum(2)))
        blocks = [probability[:, start : start + 4].mean(1) for start in {3: [0], 4: [0]}.get(
            frames, [0, 4, 6])]  # fmt: skip
        return float(np.mean(blocks))

    counts = np.round(np.linspace(0, 1, 11) * 9).astype(int)
    for order in (MOST, LEAST):
        curve = [expected(order, count) for count in counts]
        np.testing.assert_allclose(result.deletion.curves[order].value, curve, atol=1e-6)
        area = np.mean((np.array(curve)[1:] + np.array(curve)[:-1]) / 2)
        assert result.deletion.areas[order].value == pytest.approx(area, abs=1e-6)
    assert result.deletion.curves[MOST].x == pytest.approx(np.linspace(0, 1, 11))
    gain = result.deletion.areas[RANDOM].value - result.deletion.areas[MOST].value
    assert result.deletion.gain.value == pytest.approx(gain)
    assert result.by_clip["deletion gain"].mean() == pytest.approx(gain)
    # What deletion removes last, insertion shows first.
    np.testing.assert_allclose(
        result.insertion.curves[MOST].value, result.deletion.curves[LEAST].value[::-1]
    )


def test_random_order_removes_the_evidence_in_proportion() -> None:
    """With all evidence in one place, it is gone in the same fraction of draws as is removed."""
    evidence = np.zeros((300, 4, 9))
    evidence[:, :, 2] = 8
    cubes = [torch.from_numpy(each[..., None] + MEAN) for each in evidence]
    runner = BlockRunner(fake_run(linear_model(), cubes, [0] * 300))
    result = deletion_insertion(
        runner, runner.split_blocks(list(evidence)), np.zeros(300, int), Bootstrap(["x", "y"] * 150)
    )
    counts = np.round(np.linspace(0, 1, 11) * 9)
    present, absent = 1 / (1 + np.exp(-8)), 0.5
    expected = present * (1 - counts / 9) + absent * counts / 9
    np.testing.assert_allclose(result.deletion.curves[RANDOM].value, expected, atol=0.025)
    assert result.deletion.curves[MOST].value[1:] == pytest.approx(absent)
    assert result.deletion.curves[LEAST].value[:-1] == pytest.approx(present)


def test_an_uninformative_map_has_no_gain() -> None:
    rng = np.random.default_rng(3)
    values = rng.normal(size=(100, 4, 9)).astype(np.float16)
    cubes = [torch.from_numpy(each[..., None]) for each in values]
    runner = BlockRunner(fake_run(linear_model(), cubes, [0] * 100))
    maps = runner.split_blocks([np.full((4, 9), 1 / 9)] * 100)
    result = deletion_insertion(
        runner, maps, np.zeros(100, int), Bootstrap([str(n) for n in range(100)])
    )
    assert result.deletion.gain.low < 0 < result.deletion.gain.high
    assert abs(result.deletion.gain.value) < 0.02


def test_without_standardisation_places_are_filled_with_the_block_mean() -> None:
    model = linear_model()
    model.channel_norm.set(torch.zeros(1), torch.ones(1))
    runner = BlockRunner(fake_run(model, [torch.full((3, 9, 1), 0.125)], [0]))
    result = deletion_insertion(
        runner, runner.split_blocks([np.eye(9)[:3]]), np.zeros(1, int), Bootstrap(["x"])
    )
    for curve in result.deletion.curves.values():
        assert curve.value == pytest.approx(1 / (1 + np.exp(-9 / 8)), abs=1e-6)


def test_only_the_last_steps_count_if_the_run_says_so() -> None:
    cubes = torch.zeros(3, 9, 1) + MEAN
    cubes[2, 0] += 2
    runner = BlockRunner(fake_run(linear_model(), [cubes], [0], last_steps=1))
    result = deletion_insertion(
        runner, runner.split_blocks([np.eye(9)[:3]]), np.zeros(1, int), Bootstrap(["x"])
    )
    assert result.deletion.curves[MOST].value[0] == pytest.approx(1 / (1 + np.exp(-2)))


def test_ranks_follow_the_map_with_ties_in_random_order() -> None:
    heat = torch.tensor([0.1, 0.4, 0.1, 0.4]).expand(2000, 1, 4)
    rank = rank_places(heat, torch.Generator().manual_seed(0))[:, 0]
    assert (rank.sort(-1).values == torch.arange(4)).all()
    assert (rank[:, [1, 3]] < 2).all()
    assert float((rank[:, 1] == 0).double().mean()) == pytest.approx(0.5, abs=0.05)
    assert float((rank[:, 0] == 2).double().mean()) == pytest.approx(0.5, abs=0.05)


def test_a_finer_map_is_summed_over_the_places_of_the_cube() -> None:
    fine = torch.arange(16.0).reshape(1, 1, 16)
    assert sum_on_cube_grid(fine, 4).tolist() == [
        [[0 + 1 + 4 + 5, 2 + 3 + 6 + 7, 8 + 9 + 12 + 13, 50]]
    ]
