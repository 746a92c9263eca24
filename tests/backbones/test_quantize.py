"""Tests of networks in 8-bit integers: accuracy, caching, and a name of their own."""

from __future__ import annotations

import collections
from pathlib import Path

import numpy as np
import onnx
import pytest
from sklearn.datasets import load_sample_images

from glimpses import backbones
from glimpses.backbones import onnx_engine
from glimpses.features import FeatureStore
from glimpses.utils.errors import GlimpsesError

SPEC = "efficientnet_lite0:16:7"
# Crops of two photographs, and their mirror images.
FRAMES = np.stack(
    [photo[:224, :224][:, ::step] for photo in load_sample_images().images for step in (1, -1)]
)


def test_cubes_are_close_to_single_precision() -> None:
    usual, integers = backbones.load(SPEC), backbones.load(f"{SPEC}@int8")
    expected, cubes = usual(FRAMES).numpy(), integers(FRAMES).numpy()
    assert cubes.shape == expected.shape
    error = np.sqrt(np.square(cubes - expected).mean((0, 1))) / expected.std((0, 1))
    # Rounding to 256 values adds little noise, but more than single precision has.
    assert 0.01 < error.mean() < 0.15
    assert error.max() < 0.5


def test_convolutions_have_integer_weights() -> None:
    graph = onnx.load_from_string(backbones.load(f"{SPEC}@int8").to_onnx()).graph
    operators = collections.Counter(node.op_type for node in graph.node)
    weights = [tensor for tensor in graph.initializer if len(tensor.dims) == 4]
    kinds = collections.Counter(tensor.data_type for tensor in weights)
    assert operators["QuantizeLinear"] > 30
    assert kinds[onnx.TensorProto.INT8] == operators["Conv"] - 3


def test_a_graph_is_quantised_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLIMPSES_CACHE", str(tmp_path))
    first = backbones.load("efficientnet_lite0:4@int8")
    times = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*.onnx")}
    again = backbones.load("efficientnet_lite0:4@int8")
    assert {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*.onnx")} == times
    assert (again(FRAMES) == first(FRAMES)).all()
    # Quantised again in another cache, it is the same.
    monkeypatch.setenv("GLIMPSES_CACHE", str(tmp_path / "other"))
    assert (backbones.load("efficientnet_lite0:4@int8")(FRAMES) == first(FRAMES)).all()


def test_features_are_stored_apart_from_single_precision(tmp_path: Path) -> None:
    usual, integers = backbones.load(SPEC), backbones.load(f"{SPEC}@int8")
    assert integers.name == f"{SPEC}@int8"
    assert integers.weights == usual.weights
    folders = {FeatureStore(tmp_path, backbone, 10.0).folder for backbone in (usual, integers)}
    assert len(folders) == 2
    assert backbones.weights_info(integers.name) == backbones.weights_info(SPEC)


def test_a_spec_has_one_short_form() -> None:
    assert backbones.load("efficientnet_lite0:16:14@int8").name == "efficientnet_lite0:16@int8"


@pytest.mark.parametrize(
    ("spec", "options", "message"),
    [
        ("googlenet@int8", {}, "is supported for efficientnet_lite0, googlenet_bvlc only"),
        (f"{SPEC}@int8", {"engine": "torch"}, "runs on ONNX Runtime on a CPU"),
        (f"{SPEC}@int8", {"device": "cuda"}, "runs on ONNX Runtime on a CPU"),
        (f"{SPEC}@int8", {"weights": "other"}, "the installed weights are .* of other"),
        ("efficientnet_lite0:17@int8", {}, "no such stage"),
    ],
)
def test_unsupported_combinations_are_refused(
    spec: str, options: dict[str, str], message: str
) -> None:
    with pytest.raises(GlimpsesError, match=message):
        backbones.load(spec, **options)  # type: ignore[arg-type]


def test_without_vnni_it_is_slower_but_equal(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    expected = backbones.load(f"{SPEC}@int8")(FRAMES)
    caplog.clear()
    monkeypatch.setattr(onnx_engine, "has_vnni", lambda: False)
    cubes = backbones.load(f"{SPEC}@int8")(FRAMES)
    assert "slower than single precision" in caplog.text
    assert (cubes - expected).abs().max() < 1e-3 * expected.abs().max()
