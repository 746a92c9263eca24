"""Tests of GoogLeNet against Table 1, an independent formula, and torchvision."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from glimpses import backbones
from glimpses.backbones import googlenet
from glimpses.backbones.onnx_engine import EngineName
from glimpses.utils.errors import GlimpsesError
from tests.backbones.servers import torchvision_googlenet, weights_server

T = TypeVar("T")

FRAMES = np.random.default_rng(0).integers(0, 256, (2, 224, 224, 3), np.uint8)

# Table 1 of Szegedy et al. (2014): #1x1, #3x3 reduce, #3x3, #5x5 reduce, #5x5, pool proj.
TABLE_1 = {
    "inception3a": (192, 64, 96, 128, 16, 32, 32),
    "inception3b": (256, 128, 128, 192, 32, 96, 64),
    "inception4a": (480, 192, 96, 208, 16, 48, 64),
    "inception4b": (512, 160, 112, 224, 24, 64, 64),
    "inception4c": (512, 128, 128, 256, 24, 64, 64),
    "inception4d": (512, 112, 144, 288, 32, 64, 64),
    "inception4e": (528, 256, 160, 320, 32, 128, 128),
    "inception5a": (832, 256, 160, 320, 32, 128, 128),
    "inception5b": (832, 384, 192, 384, 48, 128, 128),
}


def published_shapes() -> dict[str, tuple[int, ...]]:
    """Return names and shapes of the published state dict, with its two auxiliary heads."""
    shapes: dict[str, tuple[int, ...]] = {}

    def convolution(name: str, inputs: int, outputs: int, kernel: int) -> None:
        shapes[f"{name}.conv.weight"] = (outputs, inputs, kernel, kernel)
        for part in ("weight", "bias", "running_mean", "running_var"):
            shapes[f"{name}.bn.{part}"] = (outputs,)
        shapes[f"{name}.bn.num_batches_tracked"] = ()

    def linear(name: str, inputs: int, outputs: int) -> None:
        shapes[f"{name}.weight"], shapes[f"{name}.bias"] = (outputs, inputs), (outputs,)

    convolution("conv1", 3, 64, 7)
    convolution("conv2", 64, 64, 1)
    convolution("conv3", 64, 192, 3)
    for name, (inputs, one, reduce3, three, reduce5, five, pool) in TABLE_1.items():
        convolution(f"{name}.branch1", inputs, one, 1)
        convolution(f"{name}.branch2.0", inputs, reduce3, 1)
        convolution(f"{name}.branch2.1", reduce3, three, 3)
        convolution(f"{name}.branch3.0", inputs, reduce5, 1)
        convolution(f"{name}.branch3.1", reduce5, five, 3)  # 3x3 in the published weights
        convolution(f"{name}.branch4.1", inputs, pool, 1)
    linear("fc", 1024, 1000)
    for name, inputs in (("aux1", 512), ("aux2", 528)):
        convolution(f"{name}.conv", inputs, 128, 1)
        linear(f"{name}.fc1", 2048, 1024)
        linear(f"{name}.fc2", 1024, 1000)
    return shapes


def without_heads(state: dict[str, T]) -> dict[str, T]:
    return {name: value for name, value in state.items() if not name.startswith("aux")}


@cache
def random_state() -> dict[str, torch.Tensor]:
    """Return a random state dict of the published structure that preserves activation scale."""
    generator = torch.Generator().manual_seed(0)
    state = {}
    for name, shape in published_shapes().items():
        if name.endswith("num_batches_tracked"):
            state[name] = torch.tensor(7)
        elif name.endswith(("running_var", "bn.weight")):
            state[name] = torch.rand(shape, generator=generator) + 0.5
        else:
            fan_in = max(1, int(np.prod(shape[1:])))
            state[name] = torch.randn(shape, generator=generator) / fan_in**0.5
    return state


def formula(state: dict[str, torch.Tensor], x: torch.Tensor, last: str) -> torch.Tensor:
    """Compute the network up to a layer as a formula over its state dict."""

    def convolution(name: str, x: torch.Tensor, stride: int = 1, padding: int = 0) -> torch.Tensor:
        x = F.conv2d(x, state[f"{name}.conv.weight"], stride=stride, padding=padding)
        mean, var = state[f"{name}.bn.running_mean"], state[f"{name}.bn.running_var"]
        weight, bias = state[f"{name}.bn.weight"], state[f"{name}.bn.bias"]
        return F.relu(F.batch_norm(x, mean, var, weight, bias, eps=0.001))

    x = F.max_pool2d(convolution("conv1", x, 2, 3), 3, 2, ceil_mode=True)
    x = convolution("conv3", convolution("conv2", x), padding=1)
    x = F.max_pool2d(x, 3, 2, ceil_mode=True)
    for name in TABLE_1:
        if name == "inception4a":
            x = F.max_pool2d(x, 3, 2, ceil_mode=True)
        if name == "inception5a":
            x = F.max_pool2d(x, 2, 2, ceil_mode=True)
        pooled = F.max_pool2d(x, 3, 1, padding=1)
        x = torch.cat(
            [
                convolution(f"{name}.branch1", x),
                convolution(f"{name}.branch2.1", convolution(f"{name}.branch2.0", x), padding=1),
                convolution(f"{name}.branch3.1", convolution(f"{name}.branch3.0", x), padding=1),
                convolution(f"{name}.branch4.1", pooled),
            ],
            1,
        )
        if name == last:
            return x
    raise AssertionError(last)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Serve a file of the published name and structure; yield its folder."""
    folder = tmp_path_factory.mktemp("models")
    # The published file dates from 2018 and has the format of that time.
    torch.save(
        OrderedDict(random_state()),
        folder / googlenet.WEIGHTS.file,
        _use_new_zipfile_serialization=False,
    )
    with weights_server(folder, googlenet):
        yield folder


def test_state_dict_matches_the_published_one() -> None:
    ours = {name: tuple(value.shape) for name, value in googlenet.googlenet().state_dict().items()}
    assert ours == without_heads(published_shapes())


def test_the_file_name_contains_the_digest() -> None:
    name, digest = googlenet.WEIGHTS.file, googlenet.WEIGHTS.digest
    assert (name, len(digest)) == (f"googlenet-{digest[:8]}.pth", 64)


@torch.inference_mode()
def test_stages_match_the_formula() -> None:
    network = googlenet.googlenet().eval()
    network.load_state_dict(without_heads(random_state()))
    images = torch.randn(2, 3, 224, 224)
    for layer in ("inception3b", "inception4e", "inception5b"):
        depth = list(dict(network.named_children())).index(layer) + 1
        torch.testing.assert_close(network[:depth](images), formula(random_state(), images, layer))


@torch.inference_mode()
def test_logits_match_torchvision() -> None:
    reference = torchvision_googlenet()
    shapes = {name: tuple(value.shape) for name, value in reference.state_dict().items()}
    assert shapes == published_shapes()
    reference.load_state_dict(random_state())
    ours = googlenet.googlenet().eval()
    ours.load_state_dict(without_heads(random_state()))
    images = torch.rand(2, 3, 224, 224)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    normalised = (images - mean[:, None, None]) / std[:, None, None]
    # torchvision reverts ImageNet's normalisation inside the network.
    torch.testing.assert_close(ours(images * 2 - 1), reference(normalised), atol=1e-4, rtol=1e-4)


@torch.inference_mode()
def test_every_stage_has_the_shape_of_table_1(server: Path) -> None:
    grids = {"3": 28, "4": 14, "5": 7}
    for stage, layer in googlenet.STAGES.items():
        _, one, _, three, _, five, pool = TABLE_1[layer]
        grid = grids[layer.removeprefix("inception")[0]]
        maps = googlenet.build(stage).module.eval()(torch.zeros(1, 3, 224, 224))
        assert maps.shape == (1, one + three + five + pool, grid, grid), stage


@pytest.mark.parametrize(
    ("spec", "engine", "layer", "shape"),
    [
        ("googlenet", "auto", "inception5b", (49, 1024)),
        ("googlenet:inception_4e", "torch", "inception4e", (196, 832)),
    ],
)
def test_weights_are_downloaded_and_stages_computed(
    server: Path, spec: str, engine: EngineName, layer: str, shape: tuple[int, int]
) -> None:
    backbone = backbones.load(spec, engine=engine)
    assert (backbone.grid**2, backbone.channels) == shape
    images = torch.tensor(FRAMES).permute(0, 3, 1, 2) / 127.5 - 1
    with torch.inference_mode():
        expected = formula(random_state(), images, layer).flatten(2).transpose(1, 2)
    assert expected.shape == (2, *shape)
    torch.testing.assert_close(backbone(FRAMES), expected, atol=1e-4, rtol=1e-3)


def test_pooling_concatenates_average_and_maximum(server: Path) -> None:
    fine = backbones.load("googlenet:inception_4e", engine="torch")(FRAMES)
    pooled = backbones.load("googlenet:inception_4e:7", engine="torch")(FRAMES)
    cells = fine.reshape(2, 7, 2, 7, 2, 832)
    torch.testing.assert_close(pooled[..., :832], cells.mean((2, 4)).reshape(2, 49, 832))
    torch.testing.assert_close(pooled[..., 832:], cells.amax((2, 4)).reshape(2, 49, 832))


@pytest.mark.parametrize("engine", ["onnxruntime", "torch"])
def test_two_joined_stages(server: Path, engine: EngineName) -> None:
    joined = backbones.load("googlenet:inception_5b+inception_4e", engine=engine)
    assert (joined.name, joined.fine_channels, joined.fine_ratio) == (
        "googlenet:inception_5b+inception_4e", 832, 2,
    )  # fmt: skip
    cubes = joined(FRAMES)
    late = backbones.load("googlenet", engine="torch")(FRAMES)
    early = backbones.load("googlenet:inception_4e", engine="torch")(FRAMES)
    torch.testing.assert_close(cubes[..., :1024], late, atol=1e-4, rtol=1e-3)
    cells = cubes[..., 1024:].reshape(2, 7, 7, 2, 2, 832).transpose(2, 3).reshape(2, 196, 832)
    torch.testing.assert_close(cells, early, atol=1e-4, rtol=1e-3)


def test_an_unknown_stage_is_reported_with_the_choices() -> None:
    with pytest.raises(GlimpsesError, match="inception_4e"):
        backbones.load("googlenet:inception_4f")
