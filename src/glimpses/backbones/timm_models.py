"""Any model of the library timm that gives a map or patch tokens (the extra `glimpses[timm]`)."""

from __future__ import annotations

import difflib
import importlib
import math
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from glimpses.backbones.registry import WeightsInfo
from glimpses.backbones.stages import MultiScale, StageModel, parse_stages
from glimpses.backbones.weights import state_digest
from glimpses.utils.errors import GlimpsesError, unknown_name

# The one stage of a vision transformer: its patch tokens after the last layer.
PATCHES = "patches"


def weights_info(model: str) -> WeightsInfo:
    """Whose the weights of a timm model are."""
    return WeightsInfo(
        network=model,
        weights=f"of the library timm, https://huggingface.co/timm/{model}",
        licence="as that page says",
    )


def build(model: str, stage: str | None) -> StageModel:
    """A timm model with its pretrained weights, which timm fetches and keeps, up to a stage.

    Networks with a pyramid of maps offer their strides as stages ("8", "16", ...), vision
    transformers "patches". Input size, mean and deviation are those the model was trained with.

    Args:
        model: timm's name of an architecture and its weights, `resnet18.a1_in1k`.
        stage: one of the model's, or two as `LATE+EARLY`; None for the last.

    Raises:
        GlimpsesError: timm is not installed, it has no such model, the model's weights cannot be
            had, or it has no such stage.
    """
    timm = _import_timm()
    if not timm.models.is_model_pretrained(model):
        raise _unknown(timm, model)
    try:
        whole = timm.create_model(model, pretrained=True).eval()
    # timm fetches with other libraries, whose errors are many and have no common ancestor.
    except Exception as error:
        reason = str(error).strip().partition("\n")[0]
        raise GlimpsesError(
            f"timm:{model}: its weights cannot be had ({reason}); check the network and try again"
        ) from error
    config = timm.data.resolve_model_data_config(whole)
    size = config["input_size"][-1]
    network, stage, last = _cut(timm, model, whole, stage, size)
    return StageModel(
        network,
        mean=config["mean"],
        std=config["std"],
        size=size,
        stage=stage,
        last=last,
        weights=state_digest(whole.state_dict())[:12],
    )


def _cut(
    timm: Any, model: str, whole: nn.Module, stage: str | None, size: int
) -> tuple[nn.Module, str, str]:
    """The network up to a stage, that stage's name, and the name of the last one."""
    if hasattr(whole, "num_prefix_tokens"):
        stages = {PATCHES: 0}
    else:
        reductions = _pyramid(timm, model).feature_info.reduction()
        stages = {str(reduction): index for index, reduction in enumerate(reductions)}
    last = list(stages)[-1]
    late, *early = parse_stages(f"timm:{model}", stage, stages, last)
    if PATCHES in stages:
        return _PatchTokens(whole), late, last
    indices = sorted(stages[name] for name in (late, *early))
    pyramid = _pyramid(timm, model, pretrained=True, out_indices=tuple(indices))
    if not early:
        return _Level(pyramid), late, last
    joined = f"{late}+{early[0]}"
    return MultiScale(_TwoLevels(pyramid), size, f"timm:{model}:{joined}"), joined, last


def _pyramid(timm: Any, model: str, **options: Any) -> Any:
    try:
        return timm.create_model(model, features_only=True, **options)
    except (RuntimeError, AttributeError) as error:
        raise GlimpsesError(
            f"timm:{model}: gives neither a map nor patch tokens; choose another model"
        ) from error


class _Levels(nn.Module):
    """The maps that a pyramid was cut down to, channels first."""

    def __init__(self, pyramid: Any) -> None:
        super().__init__()
        self.pyramid = pyramid
        self.channels_last = str(getattr(pyramid, "output_fmt", "NCHW")).endswith("NHWC")

    def maps(self, images: Float[Tensor, "N 3 S S"]) -> list[Float[Tensor, "N D K K"]]:
        levels: list[Tensor] = self.pyramid(images)
        return [level.permute(0, 3, 1, 2) for level in levels] if self.channels_last else levels


class _Level(_Levels):
    def forward(self, images: Float[Tensor, "N 3 S S"]) -> Float[Tensor, "N D K K"]:
        (level,) = self.maps(images)
        return level


class _TwoLevels(_Levels):
    """The later one first."""

    def forward(
        self, images: Float[Tensor, "N 3 S S"]
    ) -> tuple[Float[Tensor, "N D K K"], Float[Tensor, "N E L L"]]:
        early, late = self.maps(images)
        return late, early


class _PatchTokens(nn.Module):
    """A vision transformer's patch tokens as a map, without class and register tokens."""

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
    # torchvision, which timm imports, fails in this way beside a PyTorch it was not built for.
    except RuntimeError as error:
        raise GlimpsesError(
            f"timm: cannot be imported ({error}); install the torchvision made for your PyTorch"
        ) from error


def _unknown(timm: Any, model: str) -> GlimpsesError:
    architecture = model.partition(".")[0]
    weights = timm.list_models(f"{architecture}.*", pretrained=True)
    if weights:
        return unknown_name(f"timm:{model}: timm has no such weights", model, weights)
    close = difflib.get_close_matches(architecture, timm.list_models(pretrained=True), n=3)
    meant = f"did you mean {' or '.join(close)}? " if close else ""
    return GlimpsesError(
        f"timm:{model}: timm has no such pretrained model; {meant}"
        "timm.list_models(pretrained=True) names them all"
    )
