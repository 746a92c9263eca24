"""How a network is run on a GPU: in half precision, with copies beside the computing.

Every thread that calls has a stream of its own, so while one's frames are computed, another's go
up and a third's cubes come back. Frames go up as the bytes that they are and cubes come back in the
half precision in which they are stored.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Collection
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
from jaxtyping import Float, Float16, UInt8
from torch import Tensor, nn
from torch.nn.utils import convert_conv2d_weight_memory_format

from glimpses.utils.errors import describe_error

_log = logging.getLogger(__name__)

# Frames in one call, which is to fill the GPU.
_BATCH = 128
# Root of the mean squared error of cubes in half precision, as a part of that of the cubes: what
# networks here have is below 0.01, what goes beyond this is not rounding (docs/benchmarks.md).
_TOLERANCE = 2e-2


class GpuEngine:
    """PyTorch in half precision, sums in single; in single precision where half is too coarse.

    Args:
        network: what to run, a `FeatureCube` or what computes the same.
        device: where to run it.
        sample: some frames.
        expected: their feature cubes in single precision.
        threads: CPU cores that may decode for it.
    """

    name = "torch"

    def __init__(
        self,
        network: nn.Module,
        device: torch.device,
        sample: UInt8[np.ndarray, "N S S 3"],
        expected: Float[Tensor, "N P D"],
        threads: int,
    ) -> None:
        self.batch = _BATCH
        self.threads = threads
        self._module = convert_conv2d_weight_memory_format(network, torch.channels_last).to(device)
        self._device = device
        self._own = threading.local()
        self._in_half = True
        self._in_half = self._serves(sample, expected)

    @torch.inference_mode()
    def __call__(self, frames: UInt8[np.ndarray, "N S S 3"]) -> Float[Tensor, "N P D"]:
        """Feature cubes of one or more frames, float32, on the engine's device."""
        bytes_ = torch.from_numpy(frames)
        if self._device.type == "cuda":
            bytes_ = bytes_.pin_memory()
        parts = torch.split(bytes_.to(self._device, non_blocking=True), self.batch)
        with torch.autocast(self._device.type, torch.float16, enabled=self._in_half):
            return torch.cat([self._module(part).float() for part in parts])

    @torch.inference_mode()
    def half(self, frames: Collection[UInt8[np.ndarray, "S S 3"]]) -> Float16[np.ndarray, "N P D"]:
        """The same in half precision, in the computer's memory."""
        with self._stream():
            cubes = self(np.stack(list(frames))).half()
            here = torch.empty(cubes.shape, dtype=cubes.dtype, pin_memory=cubes.is_cuda)
            here.copy_(cubes, non_blocking=True)
            if cubes.is_cuda:
                torch.cuda.current_stream(self._device).synchronize()
        found: np.ndarray = here.numpy()
        return found

    def _stream(self) -> AbstractContextManager[object]:
        """This thread's stream, to work in."""
        if self._device.type != "cuda":
            return nullcontext()
        if not hasattr(self._own, "stream"):
            self._own.stream = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
        return torch.cuda.stream(self._own.stream)

    def _serves(
        self, sample: UInt8[np.ndarray, "N S S 3"], expected: Float[Tensor, "N P D"]
    ) -> bool:
        """Whether half precision gives what single does, but for rounding."""
        # Drivers and libraries of other people's making may fail in any way they like.
        try:
            error = self(sample).cpu() - expected
        except Exception as problem:
            _log.warning(
                "features are computed in single precision, for half fails: %s",
                describe_error(problem),
            )
            return False
        difference = float(error.square().mean().sqrt() / expected.square().mean().sqrt())
        if not difference <= _TOLERANCE:
            _log.warning(
                "features are computed in single precision: half is off by %.1e", difference
            )
            return False
        return True
