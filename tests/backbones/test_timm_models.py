"""Tests of timm models as backbones, with random weights; skipped if timm is not installed."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest
import torch

from glimpses import backbones
from glimpses.utils.errors import GlimpsesError
from tests.backbones.servers import declare_torchvision

FRAMES = np.random.default_rng(0).integers(0, 256, (2, 224, 224, 3), np.uint8)


def test_a_missing_timm_is_reported_with_the_install_command(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "timm", None)
    with pytest.raises(GlimpsesError, match=r"pip install 'glimpses\[timm\]'"):
        backbones.load("timm:resnet18.a1_in1k")


@pytest.fixture
def timm(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return timm, patched so that it does not download weights."""
    if find_spec("timm") is None:
        pytest.skip("timm is not installed; it is an extra")
    declare_torchvision()
    module = __import__("timm")
    create = module.create_model

    def create_random(*names: str, pretrained: bool = False, **options: Any) -> torch.nn.Module:
        del pretrained
        torch.manual_seed(0)
        model: torch.nn.Module = create(*names, pretrained=False, **options)
        return model

    monkeypatch.setattr(module, "create_model", create_random)
    return module


@pytest.mark.parametrize(
    ("spec", "grid", "channels"),
    [
        ("timm:resnet18.a1_in1k", 7, 512),
        ("timm:resnet18.a1_in1k:16", 14, 256),
        ("timm:resnet18.a1_in1k:16:7", 7, 512),
        ("timm:convnext_atto.d2_in1k", 7, 320),
        ("timm:swin_tiny_patch4_window7_224.ms_in1k", 7, 768),
        ("timm:vit_tiny_patch16_224.augreg_in21k_ft_in1k", 14, 192),
        ("timm:vit_small_patch14_reg4_dinov2.lvd142m", 37, 384),
    ],
)
def test_maps_and_patch_tokens_become_cubes(timm: Any, spec: str, grid: int, channels: int) -> None:
    backbone = backbones.load(spec, engine="torch")
    assert (backbone.grid, backbone.channels) == (grid, channels)
    frames = np.random.default_rng(0).integers(0, 256, (2, backbone.size, backbone.size, 3))
    assert backbone(frames.astype(np.uint8)).shape == (2, grid**2, channels)


@torch.inference_mode()
def test_places_are_row_major_and_normalised_as_trained(timm: Any) -> None:
    backbone = backbones.load("timm:resnet18.a1_in1k", engine="torch")
    network = timm.create_model("resnet18.a1_in1k").eval()
    config = timm.data.resolve_model_data_config(network)
    mean, std = (torch.tensor(config[name])[:, None, None] for name in ("mean", "std"))
    images = (torch.tensor(FRAMES).permute(0, 3, 1, 2) / 255 - mean) / std
    expected = network.forward_features(images).flatten(2).transpose(1, 2)
    torch.testing.assert_close(backbone(FRAMES), expected, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("name", ["resnet18.a1_in1k", "swin_tiny_patch4_window7_224.ms_in1k"])
def test_two_joined_stages(timm: Any, name: str) -> None:
    late, early = (
        backbones.load(f"timm:{name}:{stage}", engine="torch")(FRAMES) for stage in ("32", "16")
    )
    joined = backbones.load(f"timm:{name}:32+16", engine="torch")
    assert joined.name == f"timm:{name}:32+16"
    cubes, channels = joined(FRAMES), late.shape[2]
    torch.testing.assert_close(cubes[..., :channels], late, atol=1e-4, rtol=1e-3)
    cells = cubes[..., channels:].reshape(2, 7, 7, 2, 2, -1).transpose(2, 3).reshape(early.shape)
    torch.testing.assert_close(cells, early, atol=1e-4, rtol=1e-3)


def test_unknown_models_and_stages_are_refused(timm: Any) -> None:
    for spec, message in (
        ("timm:resnet18.nobody", "no such weights"),
        ("timm:resnet1888", "no such pretrained model"),
        ("timm:resnet18.a1_in1k:12", "no such stage"),
        ("timm:vit_tiny_patch16_224.augreg_in21k_ft_in1k:patches+8", "no such stage"),
    ):
        with pytest.raises(GlimpsesError, match=message):
            backbones.load(spec)
