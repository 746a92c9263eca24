"""Tests of the registry of backbones."""

from __future__ import annotations

import pytest

from glimpses import backbones
from glimpses.backbones import BackboneEntry, WeightsInfo
from glimpses.backbones.registry import get_entry


def test_the_default_backbone_is_listed() -> None:
    assert backbones.list_backbones() == sorted(backbones.BACKBONES)
    assert backbones.DEFAULT.split(":")[0] in backbones.list_backbones()


@pytest.mark.parametrize("suffix", ["", ":16", ":16:7", "@int8", ":16@int8"])
def test_weights_info_ignores_stage_and_precision(suffix: str) -> None:
    info = backbones.weights_info(f"efficientnet_lite0{suffix}")
    assert info == backbones.BACKBONES["efficientnet_lite0"].weights_info


def test_weights_info_of_timm_models_and_imported_features() -> None:
    assert backbones.weights_info("timm:resnet18.a1_in1k:16").network == "resnet18.a1_in1k"
    assert backbones.weights_info("authors").licence == "not known"


def test_only_modules_of_the_package_are_determined_by_its_source() -> None:
    info = WeightsInfo("none", "none", "none")
    assert get_entry("googlenet").in_package
    assert not BackboneEntry("another.package", info).in_package
    assert not get_entry("timm:resnet18").in_package
