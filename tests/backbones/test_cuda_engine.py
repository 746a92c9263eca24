"""A GPU's engine: half precision where it serves. All but the last test run it on the CPU."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from glimpses.backbones.cuda_engine import GpuEngine

CPU = torch.device("cpu")
FRAMES = np.random.default_rng(0).integers(0, 256, (7, 16, 16, 3), np.uint8)


class Small(nn.Module):
    """Frames to (N, 64, 5); what comes out is `size` times as large."""

    def __init__(self, size: float = 1.0) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.filters = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 5, 1))
        self.size = size

    def forward(self, frames: Tensor) -> Tensor:
        maps = self.filters(frames.permute(0, 3, 1, 2).float() / 255) * self.size
        return maps.flatten(2).transpose(1, 2)


@torch.inference_mode()
def plainly(network: nn.Module, frames: np.ndarray = FRAMES) -> Tensor:
    return network(torch.tensor(frames))


def engine(network: nn.Module, device: torch.device = CPU) -> GpuEngine:
    return GpuEngine(network.eval(), device, FRAMES[:2], plainly(network, FRAMES[:2]), threads=2)


def test_half_precision_is_near_and_marked_by_its_rounding(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = Small()
    expected = plainly(network)
    running = engine(network)
    running.batch = 3
    found = running(FRAMES)
    assert found.dtype == torch.float32
    assert 1e-5 < float((found - expected).abs().max() / expected.abs().max()) < 5e-3
    stored = running.half(FRAMES)
    assert stored.dtype == np.float16
    assert np.array_equal(stored, found.half().numpy())
    assert not caplog.messages


def test_what_half_precision_cannot_hold_is_computed_in_single(
    caplog: pytest.LogCaptureFixture,
) -> None:
    network = Small(1e6)
    with caplog.at_level(logging.INFO):
        running = engine(network)
    torch.testing.assert_close(running(FRAMES), plainly(network))
    (message,) = caplog.messages
    assert message.startswith("features are computed in single precision")


def test_what_half_precision_breaks_is_computed_in_single(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Particular(Small):
        def forward(self, frames: Tensor) -> Tensor:
            if torch.is_autocast_enabled("cpu"):
                raise RuntimeError("not implemented for 'Half'\nand more")
            return super().forward(frames)

    network = Particular()
    running = engine(network)
    torch.testing.assert_close(running(FRAMES), plainly(network))
    (message,) = caplog.messages
    assert message.endswith("for half fails: not implemented for 'Half'")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu(caplog: pytest.LogCaptureFixture) -> None:
    network = Small()
    expected = plainly(network)
    running = engine(network, torch.device("cuda"))
    assert running(FRAMES).is_cuda
    found = torch.from_numpy(running.half(FRAMES)).float()
    assert float((found - expected).abs().max() / expected.abs().max()) < 5e-3
    assert not caplog.messages
