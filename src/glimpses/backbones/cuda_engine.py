"""Engine for a GPU: half precision, with copies that overlap the computation.

Every calling thread has a CUDA stream of its own. While the frames of one thread are computed,
those of another are uploaded and the cubes of a third are downloaded. Frames are uploaded as bytes,
and cubes are downloaded in the half precision in which they are stored.
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

# Frames in one call, enough to fill a GPU.
_BATCH = 128
# Largest relative root mean squared error of cubes in half precision. The networks here are below
# 0.01; more than this is not rounding (docs/benchmarks.md).
_TOLERANCE = 2e-2


class CudaEngine:
    """PyTorch in half precision with sums in single, or in single if half is not accurate enough.

    Half precision is tested on the frames `sample`, whose cubes in single precision are `expected`.
    The CPU decodes with `threads` cores.
    """

    name = "torch"

    def __init__(
        self, network: nn.Module, device: torch.device, sample: UInt8[np.ndarray, "N S S 3"],
        expected: Float[Tensor, "N P D"], threads: int,
    ) -> None:  # fmt: skip
        self.batch = _BATCH
        self.threads = threads
        self._module = convert_conv2d_weight_memory_format(network, torch.channels_last).to(device)
        self._device = device
        self._thread_local = threading.local()
        self._use_half = True
        self._use_half = self._is_half_accurate(sample, expected)

    @torch.inference_mode()
    def __call__(self, frames: UInt8[np.ndarray, "N S S 3"]) -> Float[Tensor, "N P D"]:
        """Return the feature cubes of one or more frames, float32, on the engine's device."""
        pixels = torch.from_numpy(frames)
        if self._device.type == "cuda":
            pixels = pixels.pin_memory()
        batches = torch.split(pixels.to(self._device, non_blocking=True), self.batch)
        with torch.autocast(self._device.type, torch.float16, enabled=self._use_half):
            return torch.cat([self._module(batch).float() for batch in batches])

    @torch.inference_mode()
    def half(self, frames: Collection[UInt8[np.ndarray, "S S 3"]]) -> Float16[np.ndarray, "N P D"]:
        """Return the feature cubes in half precision, in host memory."""
        with self._stream():
            cubes = self(np.stack(list(frames))).half()
            host = torch.empty(cubes.shape, dtype=cubes.dtype, pin_memory=cubes.is_cuda)
            host.copy_(cubes, non_blocking=True)
            if cubes.is_cuda:
                torch.cuda.current_stream(self._device).synchronize()
        return np.asarray(host)

    def _stream(self) -> AbstractContextManager[object]:
        """Return a context that runs on the CUDA stream of the calling thread."""
        if self._device.type != "cuda":
            return nullcontext()
        if not hasattr(self._thread_local, "stream"):
            self._thread_local.stream = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
        return torch.cuda.stream(self._thread_local.stream)

    def _is_half_accurate(
        self, sample: UInt8[np.ndarray, "N S S 3"], expected: Float[Tensor, "N P D"]
    ) -> bool:
        """Return whether half precision agrees with single precision except for rounding."""
        # Drivers and libraries may fail with any exception.
        try:
            error = self(sample).cpu() - expected
            difference = float(error.square().mean().sqrt() / expected.square().mean().sqrt())
            if difference <= _TOLERANCE:
                return True
            reason = f"differs by {difference:.1e}"
        except Exception as problem:
            reason = f"failed: {describe_error(problem)}"
        _log.warning("features are computed in single precision because half precision %s", reason)
        return False
