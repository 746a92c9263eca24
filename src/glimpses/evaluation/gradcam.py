"""Grad-CAM: evidence for a class by place, for models that pool instead of attending."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from glimpses.evaluation.block_runner import BlockRunner, Maps, append_block_maps
from glimpses.models import ActionModel
from glimpses.utils.errors import GlimpsesError


def grad_cam(
    model: ActionModel,
    cubes: Float[Tensor, "B T P D"],
    mask: Bool[Tensor, "B T"],
    classes: Int[Tensor, " B"],
) -> Float[Tensor, "B T P"]:
    """Compute Grad-CAM (Selvaraju et al., 2017) of each step with captum.

    The feature map is the cube; the target is the class's mean logit over the block's real steps.
    Only evidence for the class counts (ReLU).

    Args:
        model: the model to explain; gradients must be enabled (no inference mode).
        cubes: the blocks.
        mask: whether each step is real.
        classes: the class to explain in each block.

    Returns:
        Maps that sum to 1 over places; uniform where no place supports the class.

    Raises:
        GlimpsesError: captum is not installed.
    """
    blocks, steps, places, channels = cubes.shape
    side = math.isqrt(places)
    wrapper = _FeatureMapModel(model, mask)
    maps = cubes.reshape(blocks * steps, side, side, channels).permute(0, 3, 1, 2)
    explainer = import_captum().LayerGradCam(wrapper, wrapper.maps)
    attribution = explainer.attribute(maps, target=classes, relu_attributions=True)
    heat = attribution.detach().reshape(blocks, steps, places)
    total = heat.sum(-1, keepdim=True)
    return torch.where(total > 0, heat / total.clamp(min=1e-30), 1 / places)


def grad_cam_maps(runner: BlockRunner, classes: Int[np.ndarray, " N"]) -> Maps:
    """Compute Grad-CAM of every block of all clips.

    Args:
        runner: runner of the clips.
        classes: the class to explain in each clip.
    """
    maps: list[list[np.ndarray]] = [[] for _ in runner.starts]
    for batch in runner.batches("Grad-CAM"):
        targets = torch.from_numpy(classes[batch.clip.numpy()]).to(batch.cubes.device)
        heat = grad_cam(runner.opened.model, batch.cubes, batch.mask, targets)
        append_block_maps(maps, batch, heat)
    return maps


class _FeatureMapModel(nn.Module):
    """Model as a function of its feature maps, with a layer that captum can hook."""

    def __init__(self, model: ActionModel, mask: Bool[Tensor, "B T"]) -> None:
        super().__init__()
        self.maps = nn.Identity()
        self._model, self._mask = model, mask

    def forward(self, maps: Float[Tensor, "N D K K"]) -> Float[Tensor, "B C"]:
        cubes = self.maps(maps).flatten(2).transpose(1, 2).unflatten(0, tuple(self._mask.shape))
        logits = self._model(cubes, self._mask).logits
        real = self._mask.unsqueeze(-1).to(logits.dtype)
        mean: Tensor = (logits * real).sum(1) / real.sum(1)
        return mean


def import_captum() -> Any:
    """Return `captum.attr`; call it early to fail before any work.

    Raises:
        GlimpsesError: captum is not installed.
    """
    try:
        from captum import attr
    except ModuleNotFoundError as error:
        raise GlimpsesError(
            "Grad-CAM needs captum; install it with `pip install 'glimpses[explain]'`"
        ) from error
    return attr
