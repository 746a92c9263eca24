"""The pointwise part of an LSTM layer's step as one kernel each way, for GPUs.

What is a dozen of PyTorch's operations in `sequence`, each launched by itself, is one launch here.
In Triton, which comes with PyTorch's builds for GPUs; where it is not installed, or does not give
the same numbers, `sequence` does without.
"""

from __future__ import annotations

import logging
from functools import cache
from typing import Any

import torch
from torch import Tensor

from glimpses.utils.errors import describe_error

try:
    import triton
    import triton.language as tl
except ImportError:
    triton = None

log = logging.getLogger(__name__)

_WIDTH = 512
# Of the largest value, in single precision.
_ROUNDING = 1e-5


def serve(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether the kernels can be used there; tried once, against PyTorch's own operations."""
    return device.type == "cuda" and triton is not None and _tried(device, dtype)


def advance(gates: Tensor, cell: Tensor, new_cell: Tensor, bent: Tensor, hidden: Tensor) -> None:
    """Eq. 4 and 5 from the sums inside the gates, which become the gates.

    Args:
        gates: of i, f, o and g one below the other, (4H, B).
        cell: c of the step before, (H, B).
        new_cell: takes c.
        bent: takes tanh(c).
        hidden: takes h.
    """
    count = cell.numel()
    grid = (triton.cdiv(count, _WIDTH),)
    _advance[grid](gates, cell, new_cell, bent, hidden, count, width=_WIDTH)


def retreat(
    gates: Tensor, cell: Tensor, bent: Tensor, dhidden: Tensor, dcell: Tensor, dgates: Tensor
) -> None:
    """The same backward: from what reaches h and c to what reaches the sums inside the gates.

    Args:
        gates: what `advance` made of them, (4H, B).
        cell: c of the step before, (H, B).
        bent: tanh(c).
        dhidden: what reaches h.
        dcell: what reaches c from the step after; takes what reaches c of the step before.
        dgates: takes what reaches the sums, (4H, B).
    """
    count = cell.numel()
    grid = (triton.cdiv(count, _WIDTH),)
    _retreat[grid](gates, cell, bent, dhidden, dcell, dgates, count, width=_WIDTH)


if triton is not None:

    @triton.jit  # type: ignore[untyped-decorator]
    def _advance(  # type: ignore[no-untyped-def]
        gates, cell, new_cell, bent, hidden, count, width: tl.constexpr
    ):
        at = tl.program_id(0) * width + tl.arange(0, width)
        there = at < count
        i = tl.sigmoid(tl.load(gates + at, there))
        f = tl.sigmoid(tl.load(gates + count + at, there))
        o = tl.sigmoid(tl.load(gates + 2 * count + at, there))
        # tanh x = 2 sigmoid 2x - 1
        g = 2 * tl.sigmoid(2 * tl.load(gates + 3 * count + at, there)) - 1
        c = f * tl.load(cell + at, there) + i * g
        b = 2 * tl.sigmoid(2 * c) - 1
        tl.store(gates + at, i, there)
        tl.store(gates + count + at, f, there)
        tl.store(gates + 2 * count + at, o, there)
        tl.store(gates + 3 * count + at, g, there)
        tl.store(new_cell + at, c, there)
        tl.store(bent + at, b, there)
        tl.store(hidden + at, o * b, there)

    @triton.jit  # type: ignore[untyped-decorator]
    def _retreat(  # type: ignore[no-untyped-def]
        gates, cell, bent, dhidden, dcell, dgates, count, width: tl.constexpr
    ):
        at = tl.program_id(0) * width + tl.arange(0, width)
        there = at < count
        i = tl.load(gates + at, there)
        f = tl.load(gates + count + at, there)
        o = tl.load(gates + 2 * count + at, there)
        g = tl.load(gates + 3 * count + at, there)
        b = tl.load(bent + at, there)
        dh = tl.load(dhidden + at, there)
        dc = tl.load(dcell + at, there) + dh * o * (1 - b * b)
        tl.store(dgates + at, dc * g * i * (1 - i), there)
        tl.store(dgates + count + at, dc * tl.load(cell + at, there) * f * (1 - f), there)
        tl.store(dgates + 2 * count + at, dh * b * o * (1 - o), there)
        tl.store(dgates + 3 * count + at, dc * i * (1 - g * g), there)
        tl.store(dcell + at, dc * f, there)


@cache
def _tried(device: torch.device, dtype: torch.dtype) -> bool:
    try:
        # It is asked for where nothing is learned, too.
        with torch.inference_mode(False), torch.enable_grad():
            difference = worst_difference(device, dtype)
    # A compiler of other people's making may fail in any way it likes.
    except Exception as error:
        log.warning("no Triton kernels for the LSTM layers: %s", describe_error(error))
        return False
    if not difference <= _ROUNDING:
        log.warning("no Triton kernels for the LSTM layers: they are off by %.1e", difference)
        return False
    return True


def worst_difference(device: torch.device, dtype: torch.dtype) -> float:
    """Largest difference of both kernels from autograd through PyTorch's own operations."""
    generator = torch.Generator().manual_seed(0)

    def some(*shape: int) -> Tensor:
        # To either side of where the functions bend; a count that no block of the kernel divides.
        return (3 * torch.randn(*shape, generator=generator, dtype=torch.float64)).to(device, dtype)

    size, blocks = 37, 19
    sums, cell = some(4 * size, blocks).requires_grad_(), some(size, blocks).requires_grad_()
    dhidden, dlater = some(size, blocks), some(size, blocks)
    i, f, o, g = sums.chunk(4)
    new_cell = f.sigmoid() * cell + i.sigmoid() * g.tanh()
    expected: list[Any] = [new_cell, o.sigmoid() * new_cell.tanh()]
    expected += torch.autograd.grad(expected, [sums, cell], [dlater, dhidden])
    expected = [each.detach() for each in expected]

    gates, c, found_cell = sums.detach().clone(), cell.detach(), torch.empty_like(cell)
    bent, hidden = torch.empty_like(cell), torch.empty_like(cell)
    advance(gates, c, found_cell, bent, hidden)
    dgates, dcell = torch.empty_like(gates), dlater.clone()
    retreat(gates, c, bent, dhidden, dcell, dgates)
    found = [found_cell, hidden, dgates, dcell]
    return max(
        float((one - other).abs().max() / other.abs().max())
        for one, other in zip(found, expected, strict=True)
    )
