"""Grad-CAM: where a model that pools has the evidence for the class it names."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from glimpses.evaluation.block_runner import BlockRunner, Maps
from glimpses.models import ActionModel
from glimpses.utils.errors import GlimpsesError


def grad_cam(
    model: ActionModel,
    cubes: Float[Tensor, "B T P D"],
    mask: Bool[Tensor, "B T"],
    classes: Int[Tensor, " B"],
) -> Float[Tensor, "B T P"]:
    """Grad-CAM (Selvaraju et al., 2017) of each step, by captum.

    The feature map is the cube as the CNN gives it; what is explained is the mean logit of the
    class over the block's real steps. Only evidence for the class counts (ReLU).

    Args:
        model: which is explained; a pass backward must be possible, so not in inference mode.
        cubes: the blocks.
        mask: which steps are real.
        classes: the class to explain in each block.

    Returns:
        Maps whose places sum to 1; uniform where nothing speaks for the class.

    Raises:
        GlimpsesError: captum is not installed.
    """
    blocks, steps, places, channels = cubes.shape
    side = math.isqrt(places)
    through = _OnMaps(model, mask)
    maps = cubes.reshape(blocks * steps, side, side, channels).permute(0, 3, 1, 2)
    explainer = require_captum().LayerGradCam(through, through.maps)
    found = explainer.attribute(maps, target=classes, relu_attributions=True)
    heat = found.detach().reshape(blocks, steps, places)
    total = heat.sum(-1, keepdim=True)
    return torch.where(total > 0, heat / total.clamp(min=1e-30), 1 / places)


def grad_cams(reader: BlockRunner, named: Int[np.ndarray, " N"]) -> Maps:
    """Grad-CAM of every block of all clips.

    Args:
        reader: of the clips.
        named: the class to explain in each.
    """
    found: list[list[np.ndarray]] = [[] for _ in reader.starts]
    for batch in reader.batches("Grad-CAM"):
        classes = torch.from_numpy(named[batch.clip.numpy()]).to(batch.cubes.device)
        heat = grad_cam(reader.opened.model, batch.cubes, batch.mask, classes).cpu().numpy()
        lengths = batch.mask.sum(1).tolist()
        for clip, row, length in zip(batch.clip.tolist(), heat, lengths, strict=True):
            found[clip].append(row[:length].copy())
    return found


class _OnMaps(nn.Module):
    """A model as a function of its feature maps, which pass through a layer that can be watched."""

    def __init__(self, model: ActionModel, mask: Bool[Tensor, "B T"]) -> None:
        super().__init__()
        self.maps = nn.Identity()
        self._model, self._mask = model, mask

    def forward(self, maps: Float[Tensor, "N D K K"]) -> Float[Tensor, "B C"]:
        seen = self.maps(maps)
        cubes = seen.flatten(2).transpose(1, 2).unflatten(0, tuple(self._mask.shape))
        logits = self._model(cubes, self._mask).logits
        real = self._mask.unsqueeze(-1).to(logits.dtype)
        mean: Tensor = (logits * real).sum(1) / real.sum(1)
        return mean


def require_captum() -> Any:
    """What makes Grad-CAM, to be asked for before any work is done.

    Raises:
        GlimpsesError: it is not installed.
    """
    try:
        from captum import attr
    except ModuleNotFoundError as error:
        raise GlimpsesError(
            "Grad-CAM needs captum; install it with `pip install 'glimpses[explain]'`"
        ) from error
    return attr
