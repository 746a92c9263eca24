"""Grad-CAM against its closed form for linear models."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch

from glimpses import models
from glimpses.evaluation.block_runner import BlockRunner
from glimpses.evaluation.gradcam import grad_cam, grad_cam_maps
from glimpses.utils.errors import GlimpsesError
from tests.configs import model_config
from tests.evaluation.fake_runs import FakeModel, fake_run


def test_a_linear_model_that_averages() -> None:
    """d logit / d x is the class's weights, at every place, so the map is relu(w x)."""
    weights = torch.randn(3, 5)
    model = FakeModel(
        model_config(num_classes=3, places=4, channels=5),
        None,
        lambda cubes, _: cubes.mean(2) @ weights.T,
    )
    cubes, classes = torch.randn(2, 6, 4, 5), torch.tensor([2, 0])
    mask = torch.ones(2, 6, dtype=torch.bool)
    mask[1, 4:] = False
    maps = grad_cam(model, cubes, mask, classes)
    heat = torch.einsum("btpd,bd->btp", cubes, weights[classes]).clamp(min=0)
    total = heat.sum(-1, keepdim=True)
    expected = torch.where(total > 0, heat / total, 1 / 4)
    torch.testing.assert_close(maps[0], expected[0])
    torch.testing.assert_close(maps[1, :4], expected[1, :4])


def test_no_evidence_for_the_class_gives_a_uniform_map() -> None:
    model = FakeModel(
        model_config(num_classes=2, places=4, channels=1),
        None,
        lambda cubes, _: -cubes.mean(2).expand(-1, -1, 2),
    )
    maps = grad_cam(model, torch.ones(1, 3, 4, 1), torch.ones(1, 3).bool(), torch.tensor([0]))
    assert (maps == 1 / 4).all()


@pytest.mark.parametrize("kind", ["average", "max", "softmax"])
def test_models_that_pool(kind: str) -> None:
    config = model_config(
        num_classes=3, places=4, channels=5, model=kind, hidden_size=6, num_layers=1
    )
    cubes = [torch.randn(frames, 4, 5) for frames in (4, 9, 2)]
    runner = BlockRunner(fake_run(models.build_model(config), cubes, [0, 1, 2]))
    maps = grad_cam_maps(runner, np.array([0, 1, 2]))
    assert [[len(block) for block in clip] for clip in maps] == [[4], [4, 4, 4], [2]]
    for clip in maps:
        for block in clip:
            np.testing.assert_allclose(block.sum(1), 1, atol=1e-5)
            assert (block >= 0).all()


def test_a_missing_captum_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "captum", None)
    model = FakeModel(
        model_config(num_classes=2, places=4, channels=1), None, lambda cubes, _: cubes[..., :2, 0]
    )
    with pytest.raises(GlimpsesError, match=r"pip install 'glimpses\[explain\]'"):
        grad_cam(model, torch.ones(1, 3, 4, 1), torch.ones(1, 3).bool(), torch.tensor([0]))
