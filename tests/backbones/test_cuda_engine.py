"""Tests of the engine for a GPU. All but the last test run it on the CPU."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from glimpses.backbones.cuda_engine import CudaEngine

CPU = torch.device("cpu")
FRAMES = np.random.default_rng(0).integers(0, 256, (7, 16, 16, 3), np.uint8)


class Small(nn.Module):
    """Network from frames to cubes (N, 64, 5), scaled by `scale`."""

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.filters = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 5, 1))
        self.scale = scale

    def forward(self, frames: Tensor) -> Tensor:
        maps = self.filters(frames.permute(0, 3, 1, 2).float() / 255) * self.scale
        return maps.flatten(2).transpose(1, 2)


@torch.inference_mode()
def reference(network: nn.Module, frames: np.ndarray = FRAMES) -> Tensor:
    return network(torch.tensor(frames))


def engine(network: nn.Module, device: torch.device = CPU) -> CudaEngine:
    return CudaEngine(network.eval(), device, FRAMES[:2], reference(network, FRAMES[:2]), threads=2)


def test_half_precision_is_accurate_but_rounded(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = Small()
    expected = reference(network)
    running = engine(network)
    running.batch = 3
    cubes = running(FRAMES)
    assert cubes.dtype == torch.float32
    assert 1e-5 < float((cubes - expected).abs().max() / expected.abs().max()) < 5e-3
    stored = running.half(FRAMES)
    assert stored.dtype == np.float16
    assert np.array_equal(stored, cubes.half().numpy())
    assert not caplog.messages


def test_overflow_in_half_precision_falls_back_to_single(
    caplog: pytest.LogCaptureFixture,
) -> None:
    network = Small(1e6)
    with caplog.at_level(logging.INFO):
        running = engine(network)
    torch.testing.assert_close(running(FRAMES), reference(network))
    (message,) = caplog.messages
    assert message.startswith("features are computed in single precision")


def test_an_error_in_half_precision_falls_back_to_single(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class SinglePrecisionOnly(Small):
        def forward(self, frames: Tensor) -> Tensor:
            if torch.is_autocast_enabled("cpu"):
                raise RuntimeError("not implemented for 'Half'\nand more")
            return super().forward(frames)

    network = SinglePrecisionOnly()
    running = engine(network)
    torch.testing.assert_close(running(FRAMES), reference(network))
    (message,) = caplog.messages
    assert message.endswith("because half precision failed: not implemented for 'Half'")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu(caplog: pytest.LogCaptureFixture) -> None:
    network = Small()
    expected = reference(network)
    running = engine(network, torch.device("cuda"))
    assert running(FRAMES).is_cuda
    cubes = torch.from_numpy(running.half(FRAMES)).float()
    assert float((cubes - expected).abs().max() / expected.abs().max()) < 5e-3
    assert not caplog.messages
