"""A network in 8-bit integers says nearly the same, and under a name of its own."""

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
# Two squares of photographs, and their mirror images.
FRAMES = np.stack(
    [photo[:224, :224][:, ::step] for photo in load_sample_images().images for step in (1, -1)]
)


def test_its_cubes_are_nearly_the_usual_ones() -> None:
    usual, integers = backbones.load(SPEC), backbones.load(f"{SPEC}@int8")
    expected, found = usual(FRAMES).numpy(), integers(FRAMES).numpy()
    assert found.shape == expected.shape
    error = np.sqrt(np.square(found - expected).mean((0, 1))) / expected.std((0, 1))
    # Rounding to one of 256 values is no more than noise, but more than single precision's.
    assert 0.01 < error.mean() < 0.15
    assert error.max() < 0.5


def test_it_is_computed_in_integers() -> None:
    graph = onnx.load_from_string(backbones.load(f"{SPEC}@int8").to_onnx()).graph
    operators = collections.Counter(node.op_type for node in graph.node)
    weights = [tensor for tensor in graph.initializer if len(tensor.dims) == 4]
    kinds = collections.Counter(tensor.data_type for tensor in weights)
    assert operators["QuantizeLinear"] > 30
    assert kinds[onnx.TensorProto.INT8] == operators["Conv"] - 3


def test_it_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLIMPSES_CACHE", str(tmp_path))
    first = backbones.load("efficientnet_lite0:4@int8")
    made = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*.onnx")}
    again = backbones.load("efficientnet_lite0:4@int8")
    assert {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*.onnx")} == made
    assert (again(FRAMES) == first(FRAMES)).all()
    # Made anew elsewhere, it is the same.
    monkeypatch.setenv("GLIMPSES_CACHE", str(tmp_path / "other"))
    assert (backbones.load("efficientnet_lite0:4@int8")(FRAMES) == first(FRAMES)).all()


def test_its_features_are_never_taken_for_the_usual_ones(tmp_path: Path) -> None:
    usual, integers = backbones.load(SPEC), backbones.load(f"{SPEC}@int8")
    assert integers.name == f"{SPEC}@int8"
    assert integers.weights == usual.weights
    folders = {FeatureStore(tmp_path, each, 10.0).folder for each in (usual, integers)}
    assert len(folders) == 2
    assert backbones.weights_info(integers.name) == backbones.weights_info(SPEC)


def test_one_thing_has_one_name() -> None:
    assert backbones.load("efficientnet_lite0:16:14@int8").name == "efficientnet_lite0:16@int8"


@pytest.mark.parametrize(
    ("spec", "options", "message"),
    [
        ("googlenet@int8", {}, "was measured for efficientnet_lite0 alone"),
        (f"{SPEC}@int8", {"engine": "torch"}, "is run by ONNX Runtime on a CPU"),
        (f"{SPEC}@int8", {"device": "cuda"}, "is run by ONNX Runtime on a CPU"),
        (f"{SPEC}@int8", {"weights": "other"}, "the weights here are .* of other"),
        ("efficientnet_lite0:17@int8", {}, "no such stage"),
    ],
)
def test_what_cannot_be_is_refused(spec: str, options: dict[str, str], message: str) -> None:
    with pytest.raises(GlimpsesError, match=message):
        backbones.load(spec, **options)  # type: ignore[arg-type]


def test_without_exact_sums_it_is_slower_and_the_same(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    expected = backbones.load(f"{SPEC}@int8")(FRAMES)
    caplog.clear()
    monkeypatch.setattr(onnx_engine, "has_vnni", lambda: False)
    found = backbones.load(f"{SPEC}@int8")(FRAMES)
    assert "slower than the usual way" in caplog.text
    assert (found - expected).abs().max() < 1e-3 * expected.abs().max()
