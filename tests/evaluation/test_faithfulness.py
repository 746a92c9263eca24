"""Attention replaced and places removed, where it is known what that must do."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from glimpses.datasets import Clip
from glimpses.evaluation.block_runner import BlockRunner, look
from glimpses.evaluation.bootstrap import Bootstrap
from glimpses.evaluation.faithfulness import (
    LEAST,
    MOST,
    RANDOM,
    attention_ablation,
    on_cube,
    partners,
    ranked,
    removal,
)
from tests.configs import model_config
from tests.evaluation.known import Made, opened


def follows_step_0(cubes: Tensor, attention: Tensor | None) -> Tensor:
    """Names the place that is looked at first, at all steps."""
    assert attention is not None
    return 10 * attention[:, :1].expand_as(attention)


def test_frozen_attention_of_a_model_that_heeds_its_first_glimpse() -> None:
    """Four places, four classes; at step 0 it looks at the class's place, later at the next."""
    clips, steps = 200, 4
    labels = [number % 4 for number in range(clips)]
    cubes = []
    for label in labels:
        cube = torch.zeros(steps, 4, 1)
        cube[0, label] = 1
        cube[1:, (label + 1) % 4] = 1
        cubes.append(cube)
    model = Made(
        model_config(num_classes=4, places=4, channels=1),
        lambda cubes: cubes[..., 0],
        follows_step_0,
    )
    reader = BlockRunner(opened(model, cubes, labels, groups=[str(n // 4) for n in range(clips)]))
    right = attention_ablation(reader, look(reader), seed=1)
    assert right["own"].mean() == 1
    # Equal logits are taken for the first class.
    np.testing.assert_array_equal(right["uniform"], np.array(labels) == 0)
    # A clip of another class never begins at the right place.
    assert not right["swapped between clips"].any()
    # One of four orders begins with the first step.
    assert right["shuffled in time"].mean() == pytest.approx(1 / 4, abs=0.09)


def test_partners_are_of_another_class_and_group_where_there_is_one() -> None:
    def clip(label: int, group: str) -> Clip:
        return Clip("", None, (label,), group)  # type: ignore[arg-type]

    clips = [clip(0, "x"), clip(1, "x"), clip(0, "y"), clip(1, "y"), clip(1, "z")]
    for seed in range(20):
        found = partners(clips, np.random.default_rng(seed))
        for mine, his in enumerate(found):
            assert his is not None
            assert clips[his].group != clips[mine].group
            assert clips[his].labels != clips[mine].labels
    assert partners(clips[:2], np.random.default_rng(0)) == [None, None]
    assert partners([clips[0], clips[2]], np.random.default_rng(0)) == [1, 0]


MEAN = 0.25


def linear(classes: int = 2) -> Made:
    """Averages places; class 0 has the sum of the only channel for a logit, the others none."""

    def decides(cubes: Tensor, _: Tensor | None) -> Tensor:
        logits = torch.zeros(*cubes.shape[:2], classes)
        logits[..., 0] = cubes[..., 0].sum(-1)
        return logits

    model = Made(model_config(num_classes=classes, places=9, channels=1), None, decides)
    model.channel_norm.set(torch.tensor([MEAN]), torch.ones(1))
    return model


@pytest.mark.parametrize("frames", [4, 3, 10])
def test_deletion_of_a_linear_model(frames: int) -> None:
    """Its logit is the sum over what is left, so both orders are known at every share."""
    rng = np.random.default_rng(0)
    values = rng.integers(-4, 20, (6, frames, 9)) / 8  # exact in half precision
    cubes = [torch.from_numpy(each[..., None]) for each in values]
    reader = BlockRunner(opened(linear(), cubes, [0] * 6))
    maps = reader.cut(list(values))
    named = np.zeros(6, int)
    found = removal(reader, maps, named, Bootstrap([str(n) for n in range(6)]))

    def expected(order: str, count: int) -> float:
        ordered = np.sort(values - MEAN, axis=2)
        left = ordered[..., : 9 - count] if order == MOST else ordered[..., count:]
        said = 1 / (1 + np.exp(-left.sum(2)))
        blocks = [said[:, start : start + 4].mean(1) for start in {3: [0], 4: [0]}.get(
            frames, [0, 4, 6])]  # fmt: skip
        return float(np.mean(blocks))

    counts = np.round(np.linspace(0, 1, 11) * 9).astype(int)
    for order in (MOST, LEAST):
        curve = [expected(order, count) for count in counts]
        np.testing.assert_allclose(found.deletion.curves[order].value, curve, atol=1e-6)
        area = np.mean((np.array(curve)[1:] + np.array(curve)[:-1]) / 2)
        assert found.deletion.areas[order].value == pytest.approx(area, abs=1e-6)
    assert found.deletion.curves[MOST].at == pytest.approx(np.linspace(0, 1, 11))
    gain = found.deletion.areas[RANDOM].value - found.deletion.areas[MOST].value
    assert found.deletion.gain.value == pytest.approx(gain)
    assert found.by_clip["deletion gain"].mean() == pytest.approx(gain)
    # What is shown last is what goes first.
    np.testing.assert_allclose(
        found.insertion.curves[MOST].value, found.deletion.curves[LEAST].value[::-1]
    )


def test_random_order_meets_the_evidence_by_and_by() -> None:
    """With all evidence in one place it is gone in the share of draws that is removed."""
    evidence = np.zeros((300, 4, 9))
    evidence[:, :, 2] = 8
    cubes = [torch.from_numpy(each[..., None] + MEAN) for each in evidence]
    reader = BlockRunner(opened(linear(), cubes, [0] * 300))
    found = removal(
        reader, reader.cut(list(evidence)), np.zeros(300, int), Bootstrap(["x", "y"] * 150)
    )
    counts = np.round(np.linspace(0, 1, 11) * 9)
    there, gone = 1 / (1 + np.exp(-8)), 0.5
    expected = there * (1 - counts / 9) + gone * counts / 9
    np.testing.assert_allclose(found.deletion.curves[RANDOM].value, expected, atol=0.025)
    assert found.deletion.curves[MOST].value[1:] == pytest.approx(gone)
    assert found.deletion.curves[LEAST].value[:-1] == pytest.approx(there)


def test_a_map_that_tells_nothing_gains_nothing() -> None:
    rng = np.random.default_rng(3)
    values = rng.normal(size=(100, 4, 9)).astype(np.float16)
    cubes = [torch.from_numpy(each[..., None]) for each in values]
    reader = BlockRunner(opened(linear(), cubes, [0] * 100))
    maps = reader.cut([np.full((4, 9), 1 / 9)] * 100)
    found = removal(reader, maps, np.zeros(100, int), Bootstrap([str(n) for n in range(100)]))
    assert found.deletion.gain.low < 0 < found.deletion.gain.high
    assert abs(found.deletion.gain.value) < 0.02


def test_without_standardisation_the_mean_of_the_block_is_put_in() -> None:
    model = linear()
    model.channel_norm.set(torch.zeros(1), torch.ones(1))
    reader = BlockRunner(opened(model, [torch.full((3, 9, 1), 0.125)], [0]))
    found = removal(reader, reader.cut([np.eye(9)[:3]]), np.zeros(1, int), Bootstrap(["x"]))
    for curve in found.deletion.curves.values():
        assert curve.value == pytest.approx(1 / (1 + np.exp(-9 / 8)), abs=1e-6)


def test_the_last_steps_speak_where_the_run_says_so() -> None:
    cubes = torch.zeros(3, 9, 1) + MEAN
    cubes[2, 0] += 2
    reader = BlockRunner(opened(linear(), [cubes], [0], last_steps=1))
    found = removal(reader, reader.cut([np.eye(9)[:3]]), np.zeros(1, int), Bootstrap(["x"]))
    assert found.deletion.curves[MOST].value[0] == pytest.approx(1 / (1 + np.exp(-2)))


def test_ranks_follow_the_map_and_equal_places_go_in_random_order() -> None:
    heat = torch.tensor([0.1, 0.4, 0.1, 0.4]).expand(2000, 1, 4)
    rank = ranked(heat, torch.Generator().manual_seed(0))[:, 0]
    assert (rank.sort(-1).values == torch.arange(4)).all()
    assert (rank[:, [1, 3]] < 2).all()
    assert float((rank[:, 1] == 0).double().mean()) == pytest.approx(0.5, abs=0.05)
    assert float((rank[:, 0] == 2).double().mean()) == pytest.approx(0.5, abs=0.05)


def test_a_finer_map_is_summed_on_the_places_of_the_cube() -> None:
    fine = torch.arange(16.0).reshape(1, 1, 16)
    assert on_cube(fine, 4).tolist() == [[[0 + 1 + 4 + 5, 2 + 3 + 6 + 7, 8 + 9 + 12 + 13, 50]]]
