"""A function with its gradient as two CUDA graphs: one launch each in place of thousands.

A graph does again, kernel by kernel, what was done while it was captured, in the same memory. So
there is one for each shape of what is given, a second pass may not begin before the first has gone
backward, and what a pass gives is copied before the next overwrites it; `Graphs.take` sees to all
three. A graph is used only if it gave the same as the function itself; whatever goes wrong, the
function does the work and the log says why.
"""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from glimpses.features.loader import beside_capture
from glimpses.utils.errors import describe_error

log = logging.getLogger(__name__)

Function = Callable[..., tuple[Tensor, ...]]

# Shapes that have graphs: whole batches, an epoch's last one, and some of short clips. Each keeps
# the memory of a pass.
_MOST = 4
# Largest difference, as a part of the largest value: the order of additions may differ.
_ROUNDING = 1e-4


class Graphs:
    """The graphs of one function, by the shapes of what it is given. A copy begins without any."""

    def __init__(self) -> None:
        self._captured: dict[Any, _Graph | None] = {}

    def __reduce__(self) -> tuple[type[Graphs], tuple[()]]:
        return Graphs, ()

    def take(self, function: Function, given: Sequence[Tensor]) -> Function:
        """What to call in the function's place: a graph of it, or itself where none serves.

        Args:
            function: of tensors alone, without random numbers; always the same one.
            given: what it will be called with.
        """
        if not (_on_gpu(given) and torch.is_grad_enabled()):
            return function
        shapes = tuple((each.shape, each.dtype, each.requires_grad) for each in given)
        if shapes not in self._captured and len(self._captured) < _MOST:
            self._captured[shapes] = _captured(function, given)
        graph = self._captured.get(shapes)
        return function if graph is None or graph.busy else graph


def _on_gpu(given: Sequence[Tensor]) -> bool:
    return all(each.device.type == "cuda" for each in given)


class _Graph:
    """A captured function, and whether its last pass still waits to go backward."""

    def __init__(self, replay: Function) -> None:
        self._replay = replay
        self._waiting: Callable[[], object | None] = lambda: None

    @property
    def busy(self) -> bool:
        return self._waiting() is not None

    def __call__(self, *given: Tensor) -> tuple[Tensor, ...]:
        found = self._replay(*map(_WithGradientOfItsOwn.apply, given))
        # It waits until its gradient comes, or until autograd no longer knows of it.
        self._waiting = weakref.ref(found[0].grad_fn)
        found[0].register_hook(self._gone_back)  # type: ignore[no-untyped-call]
        return tuple(each.clone() for each in found)

    def _gone_back(self, _: Tensor) -> None:
        self._waiting = lambda: None


class _WithGradientOfItsOwn(torch.autograd.Function):
    """The same tensor in the same place, whose gradient is copied out of the graph's memory."""

    @staticmethod
    def forward(_: Any, tensor: Tensor) -> Tensor:
        return tensor.view_as(tensor)

    @staticmethod
    @once_differentiable
    def backward(_: Any, gradient: Tensor) -> Tensor:
        return gradient.clone()


def _captured(function: Function, given: Sequence[Tensor]) -> _Graph | None:
    """A graph of the function that gives the same; None, and a word in the log, without one."""
    # A graph reads weights where they lie. All else is copied to a place of its own by every call.
    own = tuple(
        (each.detach() if isinstance(each, torch.nn.Parameter) else each.detach().clone())
        .requires_grad_(each.requires_grad)
        for each in given
    )  # fmt: skip
    try:
        expected = _both_ways(function, own)
        with beside_capture:
            replay = cast(
                Function,
                torch.cuda.make_graphed_callables(function, own, allow_unused_input=True),
            )
        found = _both_ways(replay, own)
    # Drivers, allocators and PyTorch itself: what may fail here is not for us to list.
    except Exception as error:
        log.warning(
            "training steps are launched kernel by kernel, no CUDA graph: %s", describe_error(error)
        )
        return None
    worst = max(
        float((one - other).abs().max() / other.abs().max().clamp(min=1e-30))
        for one, other in zip(found, expected, strict=True)
    )
    if not worst <= _ROUNDING:
        log.warning("training steps are launched kernel by kernel: a graph is off by %.1e", worst)
        return None
    return _Graph(replay)


def _both_ways(function: Function, given: Sequence[Tensor]) -> list[Tensor]:
    """What a function gives, and the gradients of its sum."""
    found = function(*given)
    wanted = [each for each in given if each.requires_grad]
    gradients = torch.autograd.grad([each.sum() for each in found], wanted, allow_unused=True)
    return [each.detach().clone() for each in (*found, *gradients) if each is not None]
