"""Attention ablation of models whose accuracy under each replacement is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from glimpses.datasets import Clip
from glimpses.evaluation.attention_ablation import attention_ablation, swap_partners
from glimpses.evaluation.block_runner import BlockRunner, run_clips
from tests.configs import model_config
from tests.evaluation.fake_runs import FakeModel, fake_run


def follow_first_step(cubes: Tensor, attention: Tensor | None) -> Tensor:
    """Predict, at all steps, the place attended to at the first step."""
    assert attention is not None
    return 10 * attention[:, :1].expand_as(attention)


def test_ablation_of_a_model_that_depends_on_its_first_glimpse() -> None:
    """Four places, four classes; attends to the class's place at step 0, to the next one later."""
    clips, steps = 200, 4
    labels = [number % 4 for number in range(clips)]
    cubes = []
    for label in labels:
        cube = torch.zeros(steps, 4, 1)
        cube[0, label] = 1
        cube[1:, (label + 1) % 4] = 1
        cubes.append(cube)
    model = FakeModel(
        model_config(num_classes=4, places=4, channels=1),
        lambda cubes: cubes[..., 0],
        follow_first_step,
    )
    runner = BlockRunner(fake_run(model, cubes, labels, groups=[str(n // 4) for n in range(clips)]))
    ablation = attention_ablation(runner, run_clips(runner), seed=1)
    assert ablation["original"].mean() == 1
    # Equal logits give the first class.
    np.testing.assert_array_equal(ablation["uniform"], np.array(labels) == 0)
    # The partner, of another class, never starts at the correct place.
    assert not ablation["swapped between clips"].any()
    # A random order starts with the first step in one of four cases.
    assert ablation["shuffled in time"].mean() == pytest.approx(1 / 4, abs=0.09)


def test_swap_partners_are_of_another_class_and_group_if_possible() -> None:
    def clip(label: int, group: str) -> Clip:
        return Clip("", None, (label,), group)  # type: ignore[arg-type]

    clips = [clip(0, "x"), clip(1, "x"), clip(0, "y"), clip(1, "y"), clip(1, "z")]
    for seed in range(20):
        partners = swap_partners(clips, np.random.default_rng(seed))
        for index, partner in enumerate(partners):
            assert partner is not None
            assert clips[partner].group != clips[index].group
            assert clips[partner].labels != clips[index].labels
    assert swap_partners(clips[:2], np.random.default_rng(0)) == [None, None]
    assert swap_partners([clips[0], clips[2]], np.random.default_rng(0)) == [1, 0]
