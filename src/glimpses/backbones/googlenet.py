"""GoogLeNet, the paper's backbone, with the ImageNet weights that torchvision publishes.

The network is that of Szegedy et al., arXiv:1409.4842, Table 1, with the changes of those weights:
batch normalisation, and 3x3 kernels where the paper has 5x5 (torchvision issue 906). Layers have
the names of the published state dict.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from glimpses.backbones.stages import StageModel, parse_stages, truncate
from glimpses.backbones.weights import PublishedWeights, download_weights, load_weights

WEIGHTS = PublishedWeights(
    folder="https://download.pytorch.org/models",
    file="googlenet-1378be20.pth",
    digest="1378be20a8e875cf1568b8a71654e704449655e34711a959a38b04fb34905cef",
)

#: Inputs, then the channels of Table 1: #1x1, #3x3 reduce, #3x3, #5x5 reduce, #5x5, pool proj.
INCEPTION = {
    "3a": (192, 64, 96, 128, 16, 32, 32), "3b": (256, 128, 128, 192, 32, 96, 64),
    "4a": (480, 192, 96, 208, 16, 48, 64), "4b": (512, 160, 112, 224, 24, 64, 64),
    "4c": (512, 128, 128, 256, 24, 64, 64), "4d": (512, 112, 144, 288, 32, 64, 64),
    "4e": (528, 256, 160, 320, 32, 128, 128),
    "5a": (832, 256, 160, 320, 32, 128, 128), "5b": (832, 384, 192, 384, 48, 128, 128),
}  # fmt: skip

# Last layer of each stage; a stride names the last layer of that stride.
STAGES = {f"inception_{name}": f"inception{name}" for name in INCEPTION}
STAGES |= {"8": "inception3b", "16": "inception4e", "32": "inception5b"}
LAST = "inception_5b"


def build(stage: str | None) -> StageModel:
    """Build GoogLeNet with its ImageNet weights, downloaded on first use, up to a stage.

    Args:
        stage: a key of `STAGES`, or two of them as `LATE+EARLY`; None for the last stage, 7x7x1024
            as in the paper.

    Raises:
        GlimpsesError: there is no such stage, or the weights cannot be downloaded.
    """
    network = googlenet()
    layers = list(dict(network.named_children()))
    depths = {name: layers.index(layer) + 1 for name, layer in STAGES.items()}
    stages = parse_stages("googlenet", stage, depths, LAST)
    joined = "+".join(stages)
    state = load_weights(download_weights(WEIGHTS))
    # The file also has two auxiliary heads, which were used only in training.
    network.load_state_dict({k: v for k, v in state.items() if not k.startswith("aux")})
    # The weights were trained on x * 2 - 1. torchvision normalises with ImageNet's mean and
    # deviation and reverts that inside the network (`transform_input`).
    half = (0.5, 0.5, 0.5)
    module = truncate(network, [depths[name] for name in stages], 224, f"googlenet:{joined}")
    return StageModel(module, half, half, 224, joined, LAST, WEIGHTS.digest[:12])


def googlenet() -> nn.Sequential:
    """Return the complete classifier: images normalised with mean = std = 0.5 -> 1000 logits."""
    layers: OrderedDict[str, nn.Module] = OrderedDict(
        conv1=_conv(3, 64, 7, stride=2), maxpool1=_max_pool(3),
        conv2=_conv(64, 64, 1), conv3=_conv(64, 192, 3), maxpool2=_max_pool(3),
    )  # fmt: skip
    for name, row in INCEPTION.items():
        layers[f"inception{name}"] = Inception(*row, conv=_conv, five_kernel=3)
        if name == "3b":
            layers["maxpool3"] = _max_pool(3)
        if name == "4e":
            layers["maxpool4"] = _max_pool(2)
    layers.update(avgpool=nn.AdaptiveAvgPool2d(1), flatten=nn.Flatten(), fc=nn.Linear(1024, 1000))
    return nn.Sequential(layers)


class Inception(nn.Module):
    """Inception module: 1x1, 3x3, 5x5 and pooling branches, concatenated.

    The first arguments are a row of `INCEPTION`.

    Args:
        conv: builder of a convolution, from input and output channels and the size of the kernel.
        five_kernel: size of the kernel of the 5x5 branch; torchvision has 3x3 there.
    """

    def __init__(
        self, inputs: int, one: int, reduce3: int, three: int, reduce5: int, five: int, pool: int,
        *, conv: Callable[[int, int, int], nn.Module], five_kernel: int,
    ) -> None:  # fmt: skip
        super().__init__()
        self.branch1 = conv(inputs, one, 1)
        self.branch2 = nn.Sequential(conv(inputs, reduce3, 1), conv(reduce3, three, 3))
        self.branch3 = nn.Sequential(conv(inputs, reduce5, 1), conv(reduce5, five, five_kernel))
        self.branch4 = nn.Sequential(nn.MaxPool2d(3, stride=1, padding=1), conv(inputs, pool, 1))

    def forward(self, x: Float[Tensor, "N D H W"]) -> Float[Tensor, "N E H W"]:
        """Return the outputs of all branches."""
        branches = (self.branch1, self.branch2, self.branch3, self.branch4)
        return torch.cat([branch(x) for branch in branches], dim=1)


def _conv(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)
    norm = nn.BatchNorm2d(outputs, eps=1e-3)
    return nn.Sequential(OrderedDict(conv=conv, bn=norm, relu=nn.ReLU(inplace=True)))


def _max_pool(kernel: int) -> nn.MaxPool2d:
    # Rounding down would turn 112 into 55 instead of 56.
    return nn.MaxPool2d(kernel, stride=2, ceil_mode=True)
