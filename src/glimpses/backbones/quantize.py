"""A network in 8-bit integers: its graph, with the scale of every layer found on photographs.

Activations are unsigned, of one range a layer; weights signed, of one range a channel. The first
block stays in single precision: two thirds of the error would be its depthwise convolution's, and
at the picture's full size integers are no faster. docs/benchmarks.md has what it gains and costs.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
from jaxtyping import UInt8
from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from PIL import Image
from sklearn.datasets import load_sample_images

from glimpses.backbones import onnx_engine as engines
from glimpses.backbones.onnx_engine import BackboneInfo, OnnxEngine

# Convolutions of the first block.
_KEPT = 3
# Enough that more change nothing that matters.
_PHOTOGRAPHS = 48


def quantize(graph: bytes, description: BackboneInfo) -> bytes:
    """A graph in integers, which says of itself what it is.

    Args:
        graph: ONNX file, `frames` to `cubes`.
        description: of the result.
    """
    with TemporaryDirectory() as folder:
        plain, found = Path(folder, "plain.onnx"), Path(folder, "int8.onnx")
        plain.write_bytes(graph)
        quant_pre_process(plain, plain, skip_symbolic_shape=True)
        layers = [node.name for node in onnx.load(plain).graph.node if node.op_type == "Conv"]
        quantize_static(
            plain,
            found,
            _Frames(description.size),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            op_types_to_quantize=["Conv", "Clip"],
            nodes_to_exclude=layers[:_KEPT],
        )
        result = onnx.load(found)
    del result.metadata_props[:]
    cubes = OnnxEngine(result.SerializeToString(), 1).cubes(engines.probe_frames(description.size))
    for key, value in engines.graph_metadata(description, cubes).items():
        result.metadata_props.add(key=key, value=value)
    made: bytes = result.SerializeToString()
    return made


def calibration_frames(size: int, count: int = _PHOTOGRAPHS) -> UInt8[np.ndarray, "N S S 3"]:
    """Squares of the two photographs that come with scikit-learn, of any size and place.

    They are always the same. Of frames of the user's clips, features would depend on which clips
    were there first.
    """
    draws = np.random.default_rng(0)
    photos = load_sample_images().images
    found = []
    for number in range(count):
        photo = photos[number % len(photos)]
        height, width, _ = photo.shape
        side = int(draws.integers(160, height + 1))
        top, left = draws.integers(height - side + 1), draws.integers(width - side + 1)
        square = Image.fromarray(photo[top : top + side, left : left + side])
        found.append(np.asarray(square.resize((size, size), Image.Resampling.BILINEAR)))
    return np.stack(found)


class _Frames:
    """The photographs one by one, as a `CalibrationDataReader` of ONNX Runtime's gives them."""

    def __init__(self, size: int) -> None:
        self._left = iter(calibration_frames(size))

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The next input, None after the last."""
        frame = next(self._left, None)
        return None if frame is None else {"frames": frame[None]}
