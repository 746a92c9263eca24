"""Tests of what is done to a network before an engine runs it."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from glimpses.backbones import efficientnet_lite, export
from glimpses.backbones.stages import CubeNetwork


@pytest.mark.parametrize(("stage", "grid"), [("16", 7), ("32+16", None), ("32+16", 7)])
def test_batch_norm_is_folded_into_convolutions(stage: str, grid: int | None) -> None:
    model = efficientnet_lite.build(stage)
    network = CubeNetwork(model, grid).eval().requires_grad_(False)
    folded = export._fold_batch_norm(network)
    assert any(isinstance(module, nn.BatchNorm2d) for module in network.modules())
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    frames = torch.randint(256, (1, model.size, model.size, 3), dtype=torch.uint8)
    expected = network(frames)
    torch.testing.assert_close(folded(frames), expected, atol=1e-4 * expected.abs().max(), rtol=0)
