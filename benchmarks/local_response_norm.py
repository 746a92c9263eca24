"""Time the forms of local response normalisation in GoogLeNet (bvlc) on ONNX Runtime.

Run `python benchmarks/local_response_norm.py`. The weights are random: they do not affect the time.
"""

from __future__ import annotations

import time

import onnxruntime
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from glimpses.backbones import googlenet_bvlc
from glimpses.backbones.export import to_onnx

ROUNDS = 60


class Slices(nn.Module):
    """Sum of five shifted slices, and two square roots."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels

    def forward(self, x: Tensor) -> Tensor:
        """Return the normalised activations."""
        squares = F.pad(x * x, (0, 0, 0, 0, 2, 2))
        total = squares[:, : self.channels]
        for shift in range(1, 5):
            total = total + squares[:, shift : shift + self.channels]
        root = torch.sqrt(total * (1e-4 / 5) + 1)
        return x / (root * torch.sqrt(root))


FORMS = {
    "nn.LocalResponseNorm": lambda _: nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=1),
    "five slices": Slices,
    "band matrix (in use)": googlenet_bvlc.LocalResponseNorm,
    "none": lambda _: nn.Identity(),
}


def main() -> None:
    """Print the CPU time of each form, in rounds that alternate between them."""
    images = torch.randn(2, 3, 224, 224) * 60
    sessions = {}
    for name, norm in FORMS.items():
        torch.manual_seed(0)
        network = googlenet_bvlc.googlenet_bvlc().eval()
        network.norm1, network.norm2 = norm(64), norm(192)
        graph = to_onnx(network[:18], (images,), ["images"], ["maps"])
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        sessions[name] = onnxruntime.InferenceSession(graph, options, ["CPUExecutionProvider"])
    times: dict[str, list[float]] = {name: [] for name in sessions}
    for _ in range(ROUNDS):
        for name, session in sessions.items():
            start = time.process_time()
            session.run(None, {"images": images[:1].numpy()})
            times[name].append(time.process_time() - start)
    for name, values in times.items():
        print(f"{name:24} {1000 * min(values):5.1f} CPU ms per frame")


if __name__ == "__main__":
    main()
