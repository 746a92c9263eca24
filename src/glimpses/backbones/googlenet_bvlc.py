"""GoogLeNet with Caffe's ImageNet weights (bvlc_googlenet), the CNN of the paper.

The network is that of Szegedy et al., arXiv:1409.4842, Table 1, as in Caffe's `models/
bvlc_googlenet`: 5x5 kernels, biases instead of batch normalisation, and local response
normalisation. Its input is blue, green, red in 0..255 minus their means.
"""

from __future__ import annotations

import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from glimpses.backbones.caffemodel import read_caffemodel
from glimpses.backbones.googlenet import INCEPTION, LAST, STAGES, Inception
from glimpses.backbones.stages import StageModel, parse_stages, truncate
from glimpses.backbones.weights import PublishedWeights, download_weights, weights_digest
from glimpses.utils.errors import GlimpsesError
from glimpses.utils.files import NPZ_ERRORS, cache_dir, check_regular

# The SHA-1 is that of Caffe's models/bvlc_googlenet/readme.md.
WEIGHTS = PublishedWeights(
    folder="http://dl.caffe.berkeleyvision.org",
    file="bvlc_googlenet.caffemodel",
    digest="405fc5acd08a3bb12de8ee5e23a96bec22f08204",
    algorithm="sha1",
)
#: The same weights as arrays `<layer>_w` and `<layer>_b`, with `_` for `/` in the layers' names.
ARRAYS_FILE = "googlenet_bvlc.npz"
ARRAYS_SHA256 = "9070a4e6e98b4127248e2f6cd871b1b17b5b9e630297a6f8326bfba7f1380297"

# Means of red, green and blue in 0..255.
_MEAN = (123.0, 117.0, 104.0)

# The arrays take 28 MB.
_MAX_ARRAY_BYTES = 100_000_000


def build(stage: str | None) -> StageModel:
    """Build GoogLeNet with Caffe's weights, downloaded on first use, up to a stage.

    Args:
        stage: a key of `STAGES`, or two of them as `LATE+EARLY`; None for the last stage, 7x7x1024
            as in the paper.

    Raises:
        GlimpsesError: there is no such stage, or the weights cannot be obtained.
    """
    network = googlenet_bvlc()
    layers = list(dict(network.named_children()))
    depths = {name: layers.index(layer) + 1 for name, layer in STAGES.items()}
    stages = parse_stages("googlenet_bvlc", stage, depths, LAST)
    joined = "+".join(stages)
    network.load_state_dict(load_state())
    red, green, blue = (value / 255 for value in _MEAN)
    std = (1 / 255,) * 3
    module = truncate(network, [depths[name] for name in stages], 224, f"googlenet_bvlc:{joined}")
    return StageModel(module, (red, green, blue), std, 224, joined, LAST, WEIGHTS.digest[:12])


def load_state() -> dict[str, Tensor]:
    """Return Caffe's weights as a state dict of `googlenet_bvlc`.

    They come from the arrays in the cache folder if they are there, else from Caffe's file, which
    is downloaded if needed.

    Raises:
        GlimpsesError: the file cannot be downloaded, or a file does not hold these weights.
    """
    arrays_path = cache_dir() / "weights" / ARRAYS_FILE
    if arrays_path.exists():
        arrays = _read_arrays(arrays_path)
        if weights_digest({name: torch.tensor(a) for name, a in arrays.items()}) != ARRAYS_SHA256:
            raise GlimpsesError(
                f"{arrays_path}: does not hold the weights of Caffe's bvlc_googlenet; remove it or "
                "replace it"
            )
        return state_from_arrays(arrays, arrays_path)
    try:
        path = download_weights(WEIGHTS)
    except GlimpsesError as error:
        raise GlimpsesError(f"{error}, or an .npz of its arrays at {arrays_path}") from error
    arrays = {}
    for layer, blobs in read_caffemodel(path).items():
        for kind, blob in zip("wb", blobs, strict=False):
            arrays[f"{layer.replace('/', '_')}_{kind}"] = blob
    return state_from_arrays(arrays, path)


def state_from_arrays(arrays: Mapping[str, np.ndarray], path: Path) -> dict[str, Tensor]:
    """Return arrays in Caffe's names and order as a state dict of `googlenet_bvlc`.

    Args:
        arrays: weights `<layer>_w` and biases `<layer>_b`, of any shape with the right size; other
            arrays are ignored.
        path: their file, for error messages.

    Raises:
        GlimpsesError: an array is missing or has another size.
    """
    state = {}
    with torch.device("meta"):
        expected = googlenet_bvlc().state_dict()
    for name, tensor in expected.items():
        module, _, kind = name.rpartition(".")
        array_name = f"{_caffe_name(module)}_{kind[0]}"
        if array_name not in arrays or arrays[array_name].size != tensor.numel():
            raise GlimpsesError(
                f"{path}: has no array {array_name} of {tensor.numel()} numbers; it is not a "
                "bvlc_googlenet"
            )
        array = arrays[array_name].astype(np.float32).reshape(tuple(tensor.shape))
        state[name] = torch.from_numpy(array)
    # Our images are red, green, blue.
    state["conv1.0.weight"] = state["conv1.0.weight"].flip(1)
    return state


def googlenet_bvlc() -> nn.Sequential:
    """Return the complete classifier: red, green, blue in 0..255 minus `_MEAN` -> 1000 logits.

    Layers have the names of `googlenet`, so that the stages have, too.
    """
    layers: OrderedDict[str, nn.Module] = OrderedDict(
        conv1=_conv(3, 64, 7, stride=2), maxpool1=_max_pool(), norm1=LocalResponseNorm(64),
        conv2=_conv(64, 64, 1), conv3=_conv(64, 192, 3), norm2=LocalResponseNorm(192),
        maxpool2=_max_pool(),
    )  # fmt: skip
    for name, row in INCEPTION.items():
        layers[f"inception{name}"] = Inception(*row, conv=_conv, five_kernel=5)
        if name in ("3b", "4e"):
            layers[f"maxpool{int(name[0])}"] = _max_pool()
    layers.update(avgpool=nn.AdaptiveAvgPool2d(1), flatten=nn.Flatten(), fc=nn.Linear(1024, 1000))
    return nn.Sequential(layers)


class LocalResponseNorm(nn.Module):
    """Local response normalisation across channels, as `nn.LocalResponseNorm(5, 1e-4, 0.75, 1)`.

    The squares of five neighbouring channels are summed by a 1x1 convolution with a band matrix,
    and the power 0.75 is two square roots. ONNX Runtime computes this in a third of the time of
    `nn.LocalResponseNorm`, and faster than five shifted slices (docs/benchmarks.md).

    Args:
        channels: number of channels, D.
    """

    band: Tensor
    bias: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        band = torch.ones(channels, channels).tril(2).triu(-2) * (1e-4 / 5)
        self.register_buffer("band", band[:, :, None, None], persistent=False)
        self.register_buffer("bias", torch.ones(channels), persistent=False)

    def forward(self, x: Float[Tensor, "N D H W"]) -> Float[Tensor, "N D H W"]:
        """Return the normalised activations."""
        root = torch.sqrt(F.conv2d(x * x, self.band, self.bias))
        return x / (root * torch.sqrt(root))


def _conv(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2)
    return nn.Sequential(conv, nn.ReLU(inplace=True))


def _max_pool() -> nn.MaxPool2d:
    # Caffe rounds up.
    return nn.MaxPool2d(3, stride=2, ceil_mode=True)


_CAFFE_NAMES = {
    "conv1.0": "conv1_7x7_s2", "conv2.0": "conv2_3x3_reduce", "conv3.0": "conv2_3x3",
    "fc": "loss3_classifier",
    "branch1.0": "1x1", "branch2.0.0": "3x3_reduce", "branch2.1.0": "3x3",
    "branch3.0.0": "5x5_reduce", "branch3.1.0": "5x5", "branch4.1.0": "pool_proj",
}  # fmt: skip


def _caffe_name(module: str) -> str:
    """Return the name of a module's arrays, without `_w` and `_b`."""
    if not module.startswith("inception"):
        return _CAFFE_NAMES[module]
    inception, _, branch = module.partition(".")
    return f"inception_{inception.removeprefix('inception')}_{_CAFFE_NAMES[branch]}"


def _read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Read an archive of NumPy arrays, without unpickling."""
    try:
        check_regular(path, _MAX_ARRAY_BYTES)
        with zipfile.ZipFile(path) as archive:
            size = sum(member.file_size for member in archive.infolist())
        if size > _MAX_ARRAY_BYTES:
            raise GlimpsesError(
                f"{path}: its arrays take more than {_MAX_ARRAY_BYTES // 10**6} MB; it is not a "
                "bvlc_googlenet"
            )
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except NPZ_ERRORS as error:
        raise GlimpsesError(
            f"{path}: is not an archive of NumPy arrays, or is damaged ({error}); replace it"
        ) from error
