"""Class weights: their values, and their effect on the loss."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch

from glimpses.datasets import Clip
from glimpses.models import ModelOutput, sequence_loss
from glimpses.runs import OptimOptions, RunConfig
from glimpses.training.imbalance import class_weights
from tests.configs import model_config, run_config


def make_clips(*labels: tuple[int, ...]) -> list[Clip]:
    return [Clip(f"{i}.avi", Path(f"{i}.avi"), own, str(i)) for i, own in enumerate(labels)]


def make_config(choice: str, **changes: Any) -> RunConfig:
    shape = model_config(num_classes=2, places=4, channels=5)
    optim = OptimOptions(class_weights=choice)  # type: ignore[arg-type]
    return run_config(classes=("jump", "run"), model=shape, optim=optim, **changes)


def test_balanced_classes_weigh_the_same_in_all() -> None:
    clips = make_clips(*[(0,)] * 20, (1,))
    weights = class_weights(clips, make_config("balanced"))
    assert weights is not None
    assert (weights * torch.tensor([20, 1])).tolist() == pytest.approx([10.5, 10.5])


@pytest.mark.parametrize(("count", "weighted"), [(1, False), (2, False), (3, True), (20, True)])
def test_auto_weighs_classes_where_one_is_rare(
    count: int, weighted: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    clips = make_clips(*[(0,)] * count, (1,))
    assert (class_weights(clips, make_config("auto")) is not None) == weighted
    assert (f"{count} times" in caplog.text) == weighted
    assert class_weights(clips, make_config("none")) is None


def test_several_labels_are_weighed_on_request_only() -> None:
    clips = make_clips((0,), (0, 1), (), (), ())
    assert class_weights(clips, make_config("auto", multi_label=True)) is None
    weights = class_weights(clips, make_config("balanced", multi_label=True))
    assert weights is not None
    assert weights.tolist() == pytest.approx([3 / 2, 4])


def test_steps_are_counted_and_rare_ones_weigh_twenty_times_at_most() -> None:
    clips = make_clips((0,), (1,))
    weights = class_weights(clips, make_config("auto"), torch.tensor([300.0, 100.0]))
    assert weights is not None
    assert float(weights[1] / weights[0]) == pytest.approx(3)
    weights = class_weights(clips, make_config("auto"), torch.tensor([36000.0, 10.0]))
    assert weights is not None
    assert float(weights[1] / weights[0]) == pytest.approx(20)


def loss_of(logits: torch.Tensor, targets: torch.Tensor, **options: Any) -> torch.Tensor:
    mask = torch.ones(logits.shape[:2], dtype=torch.bool)
    # A sum, so that batches of different sizes compare.
    return sequence_loss(ModelOutput(logits, None), targets, mask, **options).total * len(logits)


def test_a_weight_of_three_equals_three_copies_of_the_clip() -> None:
    logits, targets = torch.randn(3, 5, 2), torch.tensor([0, 1, 0])
    copies = torch.tensor([0, 1, 1, 1, 2])
    expected = loss_of(logits[copies], targets[copies])
    weighted = loss_of(logits, targets, class_weights=torch.tensor([1.0, 3]))
    assert weighted.item() == pytest.approx(expected.item(), rel=1e-5)


def test_a_weight_of_several_labels_counts_where_the_label_is_present() -> None:
    logits, targets = torch.randn(2, 4, 2), torch.tensor([[1.0, 0], [0, 1]])
    plain = loss_of(logits, targets, multi_label=True)
    weighted = loss_of(logits, targets, multi_label=True, class_weights=torch.tensor([3.0, 1]))
    present = -2 * torch.nn.functional.logsigmoid(logits[0, :, 0]).sum()
    assert weighted.item() == pytest.approx((plain + present).item(), rel=1e-5)
