"""Glimpses with the whole frame, a linear path to the logits, and scores of one stage."""

from __future__ import annotations

import pytest
import torch

from glimpses import models
from glimpses.models import sequence_loss
from glimpses.utils.errors import GlimpsesError
from tests.configs import model_config

# 7 channels of the later stage, 3 of the earlier one, 2 of the optical flow.
TWO_STAGES = {"channels": 12, "fine_channels": 3, "flow_channels": 2}


def make(**options: object) -> tuple[models.ActionModel, torch.Tensor]:
    torch.manual_seed(0)
    config = model_config(
        **{"num_classes": 3, "places": 9, "channels": 12, "hidden_size": 6, **options}
    )
    model = models.build_model(config).double().eval()
    return model, torch.randn(2, 5, 9, config.cube.channels, dtype=torch.float64)


def read_by_lstm(model: models.ActionModel, cubes: torch.Tensor) -> torch.Tensor:
    seen: list[torch.Tensor] = []
    model.cells[0].register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
    model(cubes)
    return torch.stack(seen, dim=1)


@pytest.mark.parametrize("motion", [False, True])
def test_the_scene_is_the_mean_over_places(motion: bool) -> None:
    model, cubes = make(scene=True, motion=motion)
    weights = model(cubes).attention
    change = (cubes - torch.cat((cubes[:, :1], cubes[:, :-1]), dim=1)).abs()
    parts = [cubes, change] if motion else [cubes]
    attended = [torch.einsum("btp,btpd->btd", weights, part) for part in parts]
    expected = torch.cat([*attended, *(part.mean(2) for part in parts)], dim=-1)
    torch.testing.assert_close(read_by_lstm(model, cubes), expected)


def test_the_linear_path_adds_to_the_logits() -> None:
    model, cubes = make(glimpse_to_output=True, scene=True)
    without = model(cubes).logits
    torch.nn.init.normal_(model.linear_path.weight)
    glimpses = read_by_lstm(model, cubes)
    expected = without + glimpses @ model.linear_path.weight.T
    torch.testing.assert_close(model(cubes).logits, expected)


def test_dropout_of_the_linear_path_is_the_same_at_all_steps() -> None:
    model, cubes = make(glimpse_to_output=True, dropout=0.5, scene=True)
    torch.nn.init.zeros_(model.head[-1].weight)
    torch.nn.init.normal_(model.linear_path.weight)
    same = cubes[:, :1].expand_as(cubes)
    attention = torch.full((2, 5, 9), 1 / 9, dtype=torch.float64)
    logits = model.train()(same, None, attention).logits
    torch.testing.assert_close(logits, logits[:, :1].expand_as(logits))
    again = model(same, None, attention).logits
    assert not torch.allclose(logits, again)


@pytest.mark.parametrize("motion_bias", [False, True])
def test_only_the_earlier_stage_and_flow_decide_where_to_look(motion_bias: bool) -> None:
    model, cubes = make(**TWO_STAGES, motion=True, motion_bias=motion_bias)
    # Without the hidden state, which knows what was read before.
    model.attention.attention.query.weight.data.zero_()
    before = model(cubes)
    other = torch.cat((torch.randn_like(cubes[..., :7]), cubes[..., 7:]), dim=-1)
    after = model(other)
    torch.testing.assert_close(after.attention, before.attention)
    assert not torch.allclose(after.logits, before.logits)
    other = torch.cat((cubes[..., :7], torch.randn_like(cubes[..., 7:])), dim=-1)
    assert not torch.allclose(model(other).attention, before.attention)


def test_flow_does_not_count_as_change() -> None:
    model, cubes = make(**TWO_STAGES, attention="location", motion_bias=True)
    other = torch.cat((cubes[..., :10], torch.randn_like(cubes[..., 10:])), dim=-1)
    first = model(cubes).attention[:, 0]
    model.attention.place.weight.data.zero_()
    torch.testing.assert_close(model(other).attention, model(cubes).attention)
    assert first.shape == (2, 9)


def test_stages_have_equal_shares_of_a_normalized_glimpse() -> None:
    model, _ = make(**TWO_STAGES, motion=True, scene=True)
    blocks = [torch.randn(6, 9, 12) * torch.arange(1, 13) for _ in range(40)]
    model.float().fit_normalization([block[0] for block in blocks], blocks)
    seen: list[torch.Tensor] = []
    model.cells[0].register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
    for block in blocks:
        model(block[None])
    variances = torch.cat(seen).var(0, unbiased=False)
    groups = torch.split(variances, [7, 3, 2] * 4)
    # First frames have no change, which the other parts do not share.
    for total in (group.sum().detach() for group in groups):
        assert float(total) == pytest.approx(7, rel=0.02)


def test_two_stages_on_one_grid_are_needed() -> None:
    for shape in ({}, {"channels": 24, "fine_channels": 3, "fine_ratio": 2}):
        with pytest.raises(GlimpsesError, match="--score-stage early: needs two stages"):
            make(score_stage="early", **shape)


def test_step_by_step_equals_the_block() -> None:
    model, cubes = make(**TWO_STAGES, motion=True, scene=True, glimpse_to_output=True)
    torch.nn.init.normal_(model.linear_path.weight)
    whole = model(cubes)
    state = model.initial_state(cubes.mean((1, 2)))
    for step in range(5):
        logits, attention, state = model.step(cubes[:, step], state)
        torch.testing.assert_close(logits, whole.logits[:, step])
        torch.testing.assert_close(attention, whole.attention[:, step])


@pytest.mark.parametrize("multi_label", [False, True])
def test_the_loss_of_a_block_is_that_of_its_mean_logits(multi_label: bool) -> None:
    logits = torch.randn(2, 4, 3, dtype=torch.float64)
    mask = torch.tensor([[True] * 4, [True] * 2 + [False] * 2])
    targets = torch.tensor([[1.0, 0, 1], [0, 0, 1]]) if multi_label else torch.tensor([2, 0])
    loss = sequence_loss(
        models.ModelOutput(logits, None), targets, mask, multi_label=multi_label, per="block",
        label_smoothing=0.3,
    )  # fmt: skip
    expected = torch.zeros((), dtype=torch.float64)
    for row, length in enumerate((4, 2)):
        mean = logits[row, :length].mean(0)
        if multi_label:
            soft = 0.7 * targets[row] + 0.15
            term = -(soft * mean.sigmoid().log() + (1 - soft) * (-mean).sigmoid().log()).sum()
        else:
            soft = torch.full((3,), 0.1, dtype=torch.float64)
            soft[targets[row]] += 0.7
            term = -(soft * mean.log_softmax(-1)).sum()
        expected += length * term / 2
    torch.testing.assert_close(loss.classification, expected)
