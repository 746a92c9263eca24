"""A compiled step takes the place of the eager one only where the two agree."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from glimpses.models.compiled import CheckedCompile


class Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 4)
        self.calls = 0

    def step(self, x: Tensor, state: Sequence[Tensor], bias: Tensor | None) -> tuple[Any, ...]:
        y = torch.tanh(self.linear(x)) + state[0]
        return y if bias is None else y + bias, (y * 2,)


def backend(change: Callable[[Tensor], Tensor]) -> Callable[..., Any]:
    """A compiler of graphs whose first output is changed."""

    def compile_graph(graph: torch.fx.GraphModule, _: Any) -> Callable[..., Any]:
        def run(*args: Any) -> Any:
            first, *rest = graph(*args)
            return (change(first), *rest)

        return run

    return compile_graph


class Shifted(torch.autograd.Function):
    """The right value with a wrong gradient."""

    @staticmethod
    def forward(_: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(_: Any, gradient: Tensor) -> Tensor:
        return gradient * 1.1


def arguments() -> tuple[Any, ...]:
    torch.manual_seed(0)
    return torch.randn(2, 3, requires_grad=True), [torch.randn(2, 4)], None


def test_what_agrees_is_used(caplog: pytest.LogCaptureFixture) -> None:
    used: list[int] = []

    def counted(x: Tensor) -> Tensor:
        used.append(1)
        return x

    layer = Layer()
    step = CheckedCompile(torch._dynamo.disable(backend(counted))).wrap(layer.step)
    args = arguments()
    for _ in range(3):
        for own, expected in zip(step(*args), layer.step(*args), strict=True):
            torch.testing.assert_close(own, expected)
    assert len(used) == 4  # one of them the check's
    assert not [r for r in caplog.records if r.name.startswith("glimpses")]


@pytest.mark.parametrize(
    "wrong",
    [lambda x: x + 0.1, Shifted.apply, lambda x: x.no_such_thing],
    ids=["output", "gradient", "error"],
)
def test_what_differs_is_not_used_and_logged_once(
    wrong: Callable[[Tensor], Tensor], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    layer, args = Layer(), arguments()
    step = CheckedCompile(backend(wrong)).wrap(layer.step)
    for _ in range(3):
        for own, expected in zip(step(*args), layer.step(*args), strict=True):
            assert torch.equal(own[0], expected[0])
    said = [r.message for r in caplog.records if r.name.startswith("glimpses")]
    assert [text.partition(":")[0] for text in said] == ["torch.compile is not used"]


def test_every_set_of_shapes_is_checked_up_to_a_limit() -> None:
    layer, compiled = Layer(), CheckedCompile(backend(lambda x: x))
    step = compiled.wrap(layer.step)
    for rows in range(1, 12):
        x = torch.randn(rows, 3)
        (own, _), (expected, _) = (each(x, [x[:, :1]], None) for each in (step, layer.step))
        torch.testing.assert_close(own, expected)
    assert sum(compiled._agrees.values()) == 8


def test_a_copy_starts_without_compiled_code() -> None:
    compiled = CheckedCompile("eager")
    compiled._agrees["x"] = True
    assert copy.deepcopy(compiled)._agrees == {}
