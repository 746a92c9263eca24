"""Quantisation of a network to 8-bit integers, calibrated on two photographs.

Activations are unsigned with one range per layer; weights are signed with one range per channel.
The first block stays in single precision: its depthwise convolution would cause two thirds of the
error, and at full resolution integers are not faster. See docs/benchmarks.md for speed and
accuracy.
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

from glimpses.backbones import onnx_engine
from glimpses.backbones.onnx_engine import BackboneInfo, OnnxEngine

# Convolutions of the first block.
_FLOAT_CONVOLUTIONS = 3
# More frames do not change the results noticeably.
_CALIBRATION_FRAMES = 48


def quantize(graph: bytes, info: BackboneInfo) -> bytes:
    """Return a graph in 8-bit integers, with `info`, the description of the result, as metadata."""
    with TemporaryDirectory() as folder:
        float_path, int8_path = Path(folder, "float.onnx"), Path(folder, "int8.onnx")
        float_path.write_bytes(graph)
        quant_pre_process(float_path, float_path, skip_symbolic_shape=True)
        nodes = onnx.load(float_path).graph.node
        convolutions = [node for node in nodes if node.op_type == "Conv"]
        # Local response normalisation sums squares, whose range is too wide for integers.
        sums = {node.input[0] for node in nodes if node.op_type == "Sqrt"}
        excluded = convolutions[:_FLOAT_CONVOLUTIONS]
        excluded += [node for node in convolutions if node.output[0] in sums]
        quantize_static(
            float_path, int8_path, _CalibrationReader(info.size),
            quant_format=QuantFormat.QDQ, per_channel=True,
            activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
            op_types_to_quantize=["Conv", "Clip", "Relu"],
            nodes_to_exclude=[node.name for node in excluded],
        )  # fmt: skip
        model = onnx.load(int8_path)
    frames = onnx_engine.probe_frames(info.size)
    cubes = OnnxEngine(model.SerializeToString(), 1).compute(frames)
    onnx.helper.set_model_props(model, onnx_engine.graph_metadata(info, cubes))
    return bytes(model.SerializeToString())


def calibration_frames(size: int, count: int = _CALIBRATION_FRAMES) -> UInt8[np.ndarray, "N S S 3"]:
    """Return random square crops of the two photographs that come with scikit-learn.

    The crops are always the same. With frames of the user's clips, features would depend on which
    clips were extracted first.
    """
    random = np.random.default_rng(0)
    photographs = load_sample_images().images
    frames = []
    for index in range(count):
        photograph = photographs[index % len(photographs)]
        height, width, _ = photograph.shape
        side = int(random.integers(160, height + 1))
        top, left = random.integers(height - side + 1), random.integers(width - side + 1)
        crop = Image.fromarray(photograph[top : top + side, left : left + side])
        frames.append(np.asarray(crop.resize((size, size), Image.Resampling.BILINEAR)))
    return np.stack(frames)


class _CalibrationReader:
    """Reader of the calibration frames, as ONNX Runtime's `CalibrationDataReader`."""

    def __init__(self, size: int) -> None:
        self._frames = iter(calibration_frames(size))

    def get_next(self) -> dict[str, np.ndarray] | None:
        """Return the next input, or None after the last."""
        frame = next(self._frames, None)
        return None if frame is None else {"frames": frame[None]}
