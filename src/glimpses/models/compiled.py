"""`torch.compile` for CUDA, used only where it agrees with eager PyTorch."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from glimpses.utils.errors import describe_error

log = logging.getLogger(__name__)

# Largest difference between compiled and eager numbers, relative to the largest of them.
_TOLERANCE = 1e-3
# Sets of shapes that are compiled; a training has two, for full batches and the last one.
_MAX_SHAPES = 8


class CheckedCompile:
    """Compiled form of a module's method, checked against the method for every set of shapes.

    A copy or a pickle of it starts without compiled code. For `backend` see `torch.compile`.
    """

    def __init__(self, backend: str | Callable[..., Any] = "inductor") -> None:
        self._backend = backend
        self._compiled: Callable[..., Any] | None = None
        self._agrees: dict[Any, bool] = {}

    def __reduce__(self) -> tuple[type[CheckedCompile], tuple[Any]]:
        return CheckedCompile, (self._backend,)

    def wrap(self, method: Callable[..., Any]) -> Callable[..., Any]:
        """Return the compiled method; for shapes on which the two differ, the method itself."""

        def call(*args: Any) -> Any:
            shapes = [(x.shape, x.dtype, x.requires_grad) for x in _tensors(args)]
            key = (*shapes, torch.is_grad_enabled())
            if key not in self._agrees:
                self._agrees[key] = len(self._agrees) < _MAX_SHAPES and self._check(method, args)
            return self._compiled(*args) if self._agrees[key] and self._compiled else method(*args)

        return call

    def _check(self, method: Callable[..., Any], args: Sequence[Any]) -> bool:
        """Compare outputs and gradients."""
        parameters = list(method.__self__.parameters())  # type: ignore[attr-defined]
        try:
            self._compiled = self._compiled or torch.compile(method, backend=self._backend)
            expected, actual = (
                _outputs_and_gradients(each, args, parameters) for each in (method, self._compiled)
            )
            differences = [
                float((a - e).abs().max() / e.abs().max().clamp(min=1e-6))
                for a, e in zip(actual, expected, strict=True)
            ]
            agrees = all(difference <= _TOLERANCE for difference in differences)
            problem = None if agrees else f"differs from eager by {max(differences):.1e}"
        # A compiler may fail in any way.
        except Exception as error:
            problem = describe_error(error)
        if problem is not None:
            log.warning("torch.compile is not used: %s", problem)
        return problem is None


def _outputs_and_gradients(
    function: Callable[..., Any], args: Sequence[Any], parameters: Sequence[Tensor]
) -> list[Tensor]:
    args = pytree.tree_map_only(Tensor, lambda x: x.detach().requires_grad_(x.requires_grad), args)
    outputs = [x for x in _tensors(function(*args)) if x.is_floating_point()]
    inputs = [x for x in (*_tensors(args), *parameters) if x.requires_grad]
    if not (torch.is_grad_enabled() and inputs):
        return outputs
    total = torch.stack([x.float().square().sum() for x in outputs]).sum()
    gradients = torch.autograd.grad(total, inputs, allow_unused=True, materialize_grads=True)
    return [x.detach() for x in outputs] + list(gradients)


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in pytree.tree_leaves(tree) if isinstance(leaf, Tensor)]
