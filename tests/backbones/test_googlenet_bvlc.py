"""Tests of Caffe's GoogLeNet against a formula, Caffe's own activations and damaged files."""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from glimpses import backbones
from glimpses.backbones import googlenet_bvlc as bvlc
from glimpses.backbones.caffemodel import read_caffemodel
from glimpses.backbones.export import to_onnx
from glimpses.backbones.onnx_engine import EngineName
from glimpses.utils import download
from glimpses.utils.errors import GlimpsesError
from tests.backbones.servers import weights_server
from tests.backbones.test_googlenet import TABLE_1

FRAMES = np.random.default_rng(0).integers(0, 256, (2, 224, 224, 3), np.uint8)
STEM = {"conv1/7x7_s2": (64, 3, 7), "conv2/3x3_reduce": (64, 64, 1), "conv2/3x3": (192, 64, 3)}


def caffe_shapes() -> dict[str, tuple[int, ...]]:
    """Return the shape of the weights of every layer of Caffe's deploy.prototxt."""
    shapes = {name: (out, inputs, k, k) for name, (out, inputs, k) in STEM.items()}
    for table_name, (inputs, one, reduce3, three, reduce5, five, pool) in TABLE_1.items():
        name = table_name.replace("inception", "inception_")
        shapes[f"{name}/1x1"] = (one, inputs, 1, 1)
        shapes[f"{name}/3x3_reduce"] = (reduce3, inputs, 1, 1)
        shapes[f"{name}/3x3"] = (three, reduce3, 3, 3)
        shapes[f"{name}/5x5_reduce"] = (reduce5, inputs, 1, 1)
        shapes[f"{name}/5x5"] = (five, reduce5, 5, 5)
        shapes[f"{name}/pool_proj"] = (pool, inputs, 1, 1)
    return {**shapes, "loss3/classifier": (1000, 1024)}


@cache
def random_arrays() -> dict[str, np.ndarray]:
    """Return random weights in Caffe's names that preserve activation scale."""
    random = np.random.default_rng(0)
    arrays = {}
    for name, shape in caffe_shapes().items():
        weight = random.normal(size=shape) / np.prod(shape[1:]) ** 0.5 * 1.4
        arrays[f"{name}_w"] = weight.astype(np.float32)
        arrays[f"{name}_b"] = random.normal(size=shape[0]).astype(np.float32) / 10
    return {name.replace("/", "_"): array for name, array in arrays.items()}


def formula(arrays: Mapping[str, np.ndarray], x: torch.Tensor, last: str) -> torch.Tensor:
    """Compute Caffe's network up to an inception module, from blue, green, red minus the mean."""

    def convolution(layer: str, x: torch.Tensor, stride: int = 1, padding: int = 0) -> torch.Tensor:
        weight, bias = (torch.tensor(arrays[f"{layer}_{kind}"]) for kind in "wb")
        return F.relu(F.conv2d(x, weight, bias, stride, padding))

    def pool(x: torch.Tensor) -> torch.Tensor:
        return F.max_pool2d(x, 3, 2, ceil_mode=True)

    def normalise(x: torch.Tensor) -> torch.Tensor:
        return F.local_response_norm(x, 5, alpha=1e-4, beta=0.75, k=1)

    x = normalise(pool(convolution("conv1_7x7_s2", x, 2, 3)))
    x = pool(normalise(convolution("conv2_3x3", convolution("conv2_3x3_reduce", x), padding=1)))
    for table_name in TABLE_1:
        name = table_name.replace("inception", "inception_")
        if name in ("inception_4a", "inception_5a"):
            x = pool(x)
        three, five = (convolution(f"{name}_{k}_reduce", x) for k in ("3x3", "5x5"))
        branches = [
            convolution(f"{name}_1x1", x),
            convolution(f"{name}_3x3", three, padding=1),
            convolution(f"{name}_5x5", five, padding=2),
            convolution(f"{name}_pool_proj", F.max_pool2d(x, 3, 1, padding=1)),
        ]
        x = torch.cat(branches, 1)
        if name == last:
            return x
    raise AssertionError(last)


def field(number: int, content: bytes) -> bytes:
    """Return a field with a length, in the wire format of protocol buffers."""
    return _varint(number * 8 + 2) + _varint(len(content)) + content


def blob(array: np.ndarray) -> bytes:
    """Return an array as Caffe's `BlobProto`, in the old form: four sizes, then packed floats."""
    sizes = (1,) * (4 - array.ndim) + array.shape
    header = b"".join(bytes([8 * n]) + _varint(size) for n, size in enumerate(sizes, 1))
    return header + field(5, array.astype("<f4").tobytes())


def _varint(value: int) -> bytes:
    return bytes([value]) if value < 128 else bytes([value % 128 + 128, *_varint(value // 128)])


def caffemodel(layers: Mapping[str, list[np.ndarray]], *, old: bool = True) -> bytes:
    """Return a caffemodel of the given layers in the older or the newer format."""
    layer, name, blobs = (2, 4, 6) if old else (100, 1, 7)
    net = field(1, b"GoogleNet")
    for layer_name, arrays in layers.items():
        content = field(name, layer_name.encode()) + field(3 if not old else 2, b"data")
        content += b"".join(field(blobs, blob(array)) for array in arrays)
        net += field(layer, content)
    return net


def random_caffemodel() -> bytes:
    arrays = random_arrays()
    layers = {"data": [], "loss1/fc": [np.ones((2, 2)), np.ones(2)]}
    for name in caffe_shapes():
        layers[name] = [arrays[f"{name.replace('/', '_')}_{kind}"] for kind in "wb"]
    return caffemodel(layers)


@pytest.fixture(scope="module")
def _folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Serve a file of the published name with random weights."""
    folder = tmp_path_factory.mktemp("caffe")
    (folder / bvlc.WEIGHTS.file).write_bytes(random_caffemodel())
    with weights_server(folder, bvlc):
        yield folder


@pytest.fixture
def server(_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GLIMPSES_CACHE", str(_folder / "cache"))
    return _folder


@torch.inference_mode()
def test_local_response_normalisation() -> None:
    for channels in (3, 64):
        x = torch.randn(2, channels, 5, 4) * 100
        expected = nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=1)(x)
        torch.testing.assert_close(bvlc.LocalResponseNorm(channels)(x), expected)


@pytest.mark.parametrize(
    ("spec", "engine", "last", "shape"),
    [
        ("googlenet_bvlc", "auto", "inception_5b", (49, 1024)),
        ("googlenet_bvlc", "torch", "inception_5b", (49, 1024)),
        ("googlenet_bvlc:16", "torch", "inception_4e", (196, 832)),
    ],
)
def test_weights_are_downloaded_and_stages_computed(
    server: Path, spec: str, engine: EngineName, last: str, shape: tuple[int, int]
) -> None:
    backbone = backbones.load(spec, engine=engine)
    assert (backbone.grid**2, backbone.channels) == shape
    images = torch.tensor(FRAMES).permute(0, 3, 1, 2).flip(1).float()  # blue, green, red
    images = images - torch.tensor([104.0, 117.0, 123.0])[:, None, None]
    with torch.inference_mode():
        expected = formula(random_arrays(), images, last).flatten(2).transpose(1, 2)
    torch.testing.assert_close(backbone(FRAMES), expected, atol=1e-3, rtol=1e-3)
    # The second time the graph comes from the cache.
    assert (backbones.load(spec, engine=engine)(FRAMES) == backbone(FRAMES)).all()


def test_integers_are_close_and_joined_stages_work(server: Path) -> None:
    exact = backbones.load("googlenet_bvlc")(FRAMES)
    integers = backbones.load("googlenet_bvlc@int8")(FRAMES)
    assert 0 < (integers - exact).norm() / exact.norm() < 0.1
    joined = backbones.load("googlenet_bvlc:32+16", engine="torch")(FRAMES)
    assert joined.shape == (2, 49, 1024 + 4 * 832)
    torch.testing.assert_close(joined[..., :1024], exact, atol=1e-3, rtol=1e-3)


def test_the_published_weights_compute_the_activations_of_caffe(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shared / "data" / "googlenet_bvlc"
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / bvlc.ARRAYS_FILE).symlink_to(folder / "googlenet_bvlc.npz")
    monkeypatch.setenv("GLIMPSES_CACHE", str(tmp_path))
    network = bvlc.googlenet_bvlc().eval()
    network.load_state_dict(bvlc.load_state())
    with np.load(folder / "check.npz") as check:
        images = torch.from_numpy(check["input_bgr"][None, ::-1].copy())
        features, probabilities = check["inception_5b"], check["prob"]
    stage = backbones.truncate(network, [18], 227, "googlenet_bvlc")
    with torch.inference_mode():
        np.testing.assert_allclose(stage(images)[0], features, atol=1e-4)
        np.testing.assert_allclose(network(images)[0].softmax(0), probabilities, atol=1e-5)
    graph = to_onnx(stage, (images.expand(2, -1, -1, -1),), ["images"], ["maps"])
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    (maps,) = session.run(None, {"images": images.numpy()})
    np.testing.assert_allclose(maps[0], features, atol=1e-4)
    assert backbones.load("googlenet_bvlc").engine == "onnxruntime"


@pytest.mark.parametrize("old", [True, False])
def test_both_formats_of_layers_are_read(tmp_path: Path, old: bool) -> None:
    path = tmp_path / "net.caffemodel"
    arrays = [np.arange(300.0).reshape(3, 100, 1, 1), np.array([1.5, -2.0, 0.0])]
    path.write_bytes(caffemodel({"data": [], "conv/3x3": arrays}, old=old))
    layers = read_caffemodel(path)
    assert list(layers) == ["data", "conv/3x3"]
    assert [a.tolist() for a in layers["conv/3x3"]] == [a.ravel().tolist() for a in arrays]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (random_caffemodel()[:1000], "is damaged"),
        (b"<html>not found</html>", "is not a caffemodel"),
        (field(2, field(4, b"conv") + field(6, field(5, b"123"))), "is not a caffemodel"),
        (struct.pack("<B", 8 * 2 + 2) + b"\xff" * 9 + b"\x01", "is not a caffemodel"),
    ],
)
def test_a_damaged_caffemodel_is_reported_in_one_line(
    tmp_path: Path, content: bytes, message: str
) -> None:
    path = tmp_path / "net.caffemodel"
    path.write_bytes(content)
    with pytest.raises(GlimpsesError, match=message) as raised:
        read_caffemodel(path)
    assert str(raised.value).startswith(f"{path}: ")
    assert "\n" not in str(raised.value)
    with pytest.raises(GlimpsesError, match="cannot be read"):
        read_caffemodel(tmp_path / "none.caffemodel")


def test_a_caffemodel_of_another_network_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "net.caffemodel"
    with pytest.raises(GlimpsesError, match="no array conv1_7x7_s2_w of 9408 numbers"):
        bvlc.state_from_arrays({"conv1_7x7_s2_w": np.zeros(3, np.float32)}, path)


def test_without_weights_the_error_names_both_places(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GLIMPSES_CACHE", str(tmp_path))
    monkeypatch.setenv("GLIMPSES_WEIGHTS_URL", "http://127.0.0.1:9")
    monkeypatch.setattr(download, "pause", lambda _: None)
    with pytest.raises(GlimpsesError, match="cannot be fetched") as raised:
        backbones.load("googlenet_bvlc")
    for name in ("bvlc_googlenet.caffemodel", "googlenet_bvlc.npz"):
        assert str(tmp_path / "weights" / name) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_arrays_that_are_not_the_published_ones_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GLIMPSES_CACHE", str(tmp_path))
    path = tmp_path / "weights" / bvlc.ARRAYS_FILE
    path.parent.mkdir()

    def error() -> str:
        with pytest.raises(GlimpsesError) as raised:
            bvlc.load_state()
        assert "\n" not in str(raised.value)
        assert str(raised.value).startswith(f"{path}: ")
        return str(raised.value)

    np.savez(path, **random_arrays())
    assert "does not hold the weights of Caffe's bvlc_googlenet" in error()
    path.write_bytes(path.read_bytes()[:-1000])
    assert "is damaged" in error()
    np.savez(path, conv1_7x7_s2_w=np.array([object()]))
    assert "is not an archive of NumPy arrays" in error()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", bytes(bvlc._MAX_ARRAY_BYTES + 1))
    assert "more than 100 MB" in error()
