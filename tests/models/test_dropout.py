"""Dropout masks: as many survivors as there should be, independent, and none in evaluation."""

from __future__ import annotations

import pytest
import torch

from glimpses.models.dropout import Dropout, dropout_mask, step_masks


@pytest.mark.parametrize("p", [0.2, 0.5])
def test_survivors_are_as_many_as_they_should_be_and_independent(p: float) -> None:
    torch.manual_seed(0)
    count = 400_000
    kept = dropout_mask(count, p, torch.empty(0, dtype=torch.float64))
    assert len(kept.unique()) == 2
    assert kept.max() == pytest.approx(1 / (1 - p), rel=1e-4)
    alive = (kept > 0).double()
    deviation = (p * (1 - p) / count) ** 0.5
    assert abs(alive.mean() - (1 - p)) < 4 * deviation
    # Four units share one random number; neighbours must be independent.
    for distance in (1, 2, 3, 4):
        both = (alive[:-distance] * alive[distance:]).mean()
        assert abs(both - (1 - p) ** 2) < 6 * deviation


def test_dropout_rests_in_evaluation() -> None:
    numbers = torch.randn(3, 5)
    assert Dropout(0.5).eval()(numbers) is numbers
    made = Dropout(0.5)(numbers)
    assert ((made == 0) | (made == 2 * numbers)).all()


def test_masks_of_all_steps_are_those_of_one_draw() -> None:
    like = torch.empty(2, 1)
    torch.manual_seed(0)
    masks = step_masks([3, 4], 5, 0.5, like)
    torch.manual_seed(0)
    drawn = dropout_mask(5 * 2 * (3 + 4), 0.5, like)
    assert [[mask.shape for mask in step] for step in masks] == [[(2, 3), (2, 4)]] * 5
    torch.testing.assert_close(masks[1][0], drawn[6:12].view(3, 2).T)
    torch.testing.assert_close(masks[0][1], drawn[30:38].view(4, 2).T)
    assert step_masks([3, 4], 2, 0.0, like) == [[None, None], [None, None]]
