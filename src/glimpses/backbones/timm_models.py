"""Models of timm that return a feature map or patch tokens (the extra `glimpses[timm]`)."""

from __future__ import annotations

import difflib
import importlib
import math
from functools import partial
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from glimpses.backbones.registry import BackboneEntry, WeightsInfo
from glimpses.backbones.stages import MultiScale, StageModel, parse_stages
from glimpses.backbones.weights import weights_digest
from glimpses.utils.errors import GlimpsesError, describe_error, unknown_name

# The only stage of a vision transformer: its patch tokens after the last layer.
PATCHES = "patches"


def get_entry(model: str) -> BackboneEntry:
    """Return the registry entry of a timm model, whether or not the model exists."""
    source = f"of the library timm, https://huggingface.co/timm/{model}"
    info = WeightsInfo(network=model, weights=source, licence="stated on that page")
    return BackboneEntry(partial(build, model), info)


def build(model: str, stage: str | None) -> StageModel:
    """Build a timm model with its pretrained weights, which timm downloads and caches.

    The stages of a network with a pyramid of maps are its strides ("8", "16", ...); the only stage
    of a vision transformer is "patches". Input size, mean and deviation are those of the training.

    Args:
        model: timm's name of an architecture and its weights, as in `resnet18.a1_in1k`.
        stage: a stage, or two as `LATE+EARLY`; None for the last stage.

    Raises:
        GlimpsesError: timm is not installed, it has no such model, the weights cannot be
            downloaded, or the model has no such stage.
    """
    timm = _import_timm()
    if not timm.models.is_model_pretrained(model):
        raise _unknown_model(timm, model)
    try:
        network = timm.create_model(model, pretrained=True).eval()
    # timm downloads with several libraries, whose errors have no common base class.
    except Exception as error:
        raise GlimpsesError(
            f"timm:{model}: its weights cannot be downloaded ({describe_error(error)}); check the "
            "network and try again"
        ) from error
    config = timm.data.resolve_model_data_config(network)
    size = config["input_size"][-1]
    module, stage, last = _truncate(timm, model, network, stage, size)
    weights = weights_digest(network.state_dict())[:12]
    return StageModel(module, config["mean"], config["std"], size, stage, last, weights)


def _truncate(
    timm: Any, model: str, network: nn.Module, stage: str | None, size: int
) -> tuple[nn.Module, str, str]:
    """Return the network up to a stage, the name of that stage, and that of the last one."""
    if hasattr(network, "num_prefix_tokens"):
        stages = {PATCHES: 0}
    else:
        reductions = _pyramid(timm, model).feature_info.reduction()
        stages = {str(reduction): index for index, reduction in enumerate(reductions)}
    last = list(stages)[-1]
    late, *early = parse_stages(f"timm:{model}", stage, stages, last)
    if PATCHES in stages:
        return _PatchTokens(network), late, last
    indices = sorted(stages[name] for name in (late, *early))
    pyramid = _pyramid(timm, model, pretrained=True, out_indices=tuple(indices))
    if not early:
        return _Levels(pyramid), late, last
    joined = f"{late}+{early[0]}"
    return MultiScale(_Levels(pyramid), size, f"timm:{model}:{joined}"), joined, last


def _pyramid(timm: Any, model: str, **options: Any) -> Any:
    try:
        return timm.create_model(model, features_only=True, **options)
    except (RuntimeError, AttributeError) as error:
        raise GlimpsesError(
            f"timm:{model}: returns neither a feature map nor patch tokens; choose another model"
        ) from error


class _Levels(nn.Module):
    """One map of a pyramid, channels first, or two of them, the later one first."""

    def __init__(self, pyramid: Any) -> None:
        super().__init__()
        self.pyramid = pyramid
        self.channels_last = str(getattr(pyramid, "output_fmt", "NCHW")).endswith("NHWC")

    def forward(
        self, images: Float[Tensor, "N 3 S S"]
    ) -> Float[Tensor, "N D K K"] | tuple[Float[Tensor, "N D K K"], Float[Tensor, "N E L L"]]:
        levels: list[Tensor] = self.pyramid(images)
        if self.channels_last:
            levels = [level.permute(0, 3, 1, 2) for level in levels]
        return levels[0] if len(levels) == 1 else (levels[1], levels[0])


class _PatchTokens(nn.Module):
    """Patch tokens of a vision transformer as a map, without class and register tokens."""

    def __init__(self, transformer: Any) -> None:
        super().__init__()
        self.transformer = transformer

    def forward(self, images: Float[Tensor, "N 3 S S"]) -> Float[Tensor, "N D K K"]:
        tokens: Tensor = self.transformer.forward_features(images)
        patches = tokens[:, self.transformer.num_prefix_tokens :].transpose(1, 2)
        side = math.isqrt(patches.shape[2])
        return patches.reshape(*patches.shape[:2], side, side)


def _import_timm() -> Any:
    try:
        return importlib.import_module("timm")
    except ImportError as error:
        raise GlimpsesError(
            f"timm: is not installed ({error}); run: pip install 'glimpses[timm]'"
        ) from error
    # timm imports torchvision, which raises this if it was built for another PyTorch.
    except RuntimeError as error:
        raise GlimpsesError(
            f"timm: cannot be imported ({error}); install the torchvision made for your PyTorch"
        ) from error


def _unknown_model(timm: Any, model: str) -> GlimpsesError:
    architecture = model.partition(".")[0]
    weights = timm.list_models(f"{architecture}.*", pretrained=True)
    if weights:
        return unknown_name(f"timm:{model}: timm has no such weights", model, weights)
    matches = difflib.get_close_matches(architecture, timm.list_models(pretrained=True), n=3)
    suggestion = f"did you mean {' or '.join(matches)}? " if matches else ""
    return GlimpsesError(
        f"timm:{model}: timm has no such pretrained model; {suggestion}"
        "timm.list_models(pretrained=True) lists them all"
    )
