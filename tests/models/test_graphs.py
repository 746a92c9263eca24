"""A CUDA graph in a function's place: right or not at all. Graphs are played here, not captured."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from glimpses.models.graphs import Function, Graphs
from glimpses.models.loss import sequence_loss
from torch import Tensor, nn

from glimpses.models import graphs
from tests.models.transcription import CHANNELS, make


def played(function: Function, own: Sequence[Tensor], **_: Any) -> Callable[..., Any]:
    """What `make_graphed_callables` gives, in what matters: all calls share the same memory."""
    outputs: list[Tensor] = []
    gradients: list[Tensor | None] = []

    class Replayed(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, *given: Tensor) -> tuple[Tensor, ...]:
            for place, each in zip(own, given, strict=True):
                if place.data_ptr() != each.data_ptr():
                    place.detach().copy_(each)
            with torch.enable_grad():
                found = function(*own)
            Replayed.found = found
            if not outputs:
                outputs.extend(each.detach().clone() for each in found)
            for place, each in zip(outputs, found, strict=True):
                place.copy_(each.detach())
            return tuple(place.detach() for place in outputs)

        @staticmethod
        def backward(ctx: Any, *reaching: Tensor) -> tuple[Tensor | None, ...]:
            wanted = [each for each in own if each.requires_grad]
            found = iter(torch.autograd.grad(Replayed.found, wanted, reaching, allow_unused=True))
            new = [next(found) if each.requires_grad else None for each in own]
            if not gradients:
                gradients.extend(None if each is None else each.clone() for each in new)
            for place, each in zip(gradients, new, strict=True):
                if place is not None and each is not None:
                    place.copy_(each)
            return tuple(None if place is None else place.detach() for place in gradients)

    return Replayed.apply


@pytest.fixture
def captures(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How often a graph was made; all tensors count as a GPU's."""
    times: list[int] = []

    def counted(*given: Any, **others: Any) -> Callable[..., Any]:
        times.append(1)
        return played(*given, **others)

    monkeypatch.setattr(torch.cuda, "make_graphed_callables", counted)
    monkeypatch.setattr(graphs, "_on_gpu", lambda given: True)
    return times


def curve(tensor: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    return (tensor @ weight).tanh(), (tensor @ weight).sin()


def some(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def test_every_call_is_the_functions_own(captures: list[int]) -> None:
    weight, made = nn.Parameter(some(3, 4)), Graphs()
    for rows in (5, 5, 2, 5):
        given, first = some(rows, 3).requires_grad_(), some(rows, 3)
        for each in (given, first):
            expected = curve(each, weight)
            found = made.take(curve, (each, weight))(each, weight)
            assert all(map(torch.equal, found, expected))
            gradients = [
                torch.autograd.grad(one.sum() + other.prod(), weight)[0]
                for one, other in (found, expected)
            ]
            torch.testing.assert_close(*gradients)
        with torch.no_grad():
            weight += 1
    # Two sizes, with and without a gradient of what is given.
    assert len(captures) == 4


def test_nothing_given_or_got_is_overwritten(captures: list[int]) -> None:
    weight, made = nn.Parameter(some(3, 4)), Graphs()
    one, other = some(5, 3), some(5, 3)
    kept = one.clone()
    first = made.take(curve, (one, weight))(one, weight)
    before = [each.detach().clone() for each in first]
    first[0].sum().backward()
    alone = weight.grad.clone()
    second = made.take(curve, (other, weight))(other, weight)
    assert all(map(torch.equal, first, before))
    assert torch.equal(one, kept)
    # Gradients add up, though the graph's lie in one place.
    second[0].sum().backward()
    expected = torch.autograd.grad(curve(other, weight)[0].sum(), weight)[0]
    torch.testing.assert_close(weight.grad, alone + expected)
    assert len(captures) == 1


def test_a_pass_that_waits_for_its_gradient_is_left_alone(captures: list[int]) -> None:
    weight, made = nn.Parameter(some(3, 4)), Graphs()
    given = some(5, 3), weight
    graph = made.take(curve, given)
    assert graph is not curve
    first = graph(*given)
    assert made.take(curve, given) is curve
    first[1].sum().backward()
    assert made.take(curve, given) is graph
    # One that nobody will ask for a gradient any more is not waited for.
    graph(*given)
    assert made.take(curve, given) is graph
    assert len(captures) == 1


def test_many_shapes_are_not_all_kept(captures: list[int]) -> None:
    weight, made = nn.Parameter(some(3, 4)), Graphs()
    taken = [made.take(curve, (some(rows, 3), weight)) is curve for rows in range(1, 9)]
    assert taken == [False] * 4 + [True] * 4


def test_without_a_gradient_there_is_nothing_to_capture(captures: list[int]) -> None:
    given = some(5, 3), nn.Parameter(some(3, 4))
    with torch.no_grad():
        assert Graphs().take(curve, given) is curve
    assert not captures


@pytest.mark.parametrize("fault", ["raises", "is wrong"])
def test_a_graph_that_fails_is_not_used_and_the_log_says_so_once(
    fault: str,
    captures: list[int],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken(function: Function, own: Sequence[Tensor], **_: Any) -> Function:
        if fault == "raises":
            raise RuntimeError("operation not permitted when stream is capturing\nmore of it")
        return lambda *given: tuple(1.001 * each for each in function(*given))

    monkeypatch.setattr(torch.cuda, "make_graphed_callables", broken)
    given, made = (some(5, 3), nn.Parameter(some(3, 4))), Graphs()
    with caplog.at_level(logging.INFO):
        assert [made.take(curve, given) is curve for _ in range(3)] == [True] * 3
    (message,) = caplog.messages
    assert ("stream is capturing" if fault == "raises" else "off by 1.0e-03") in message
    assert "\n" not in message


@pytest.mark.parametrize("options", [{"form": "location"}, {"form": "content"}, {"kind": "max"}])
@pytest.mark.parametrize("dropout", [0.0, 0.4])
def test_a_model_learns_by_it_as_without(
    captures: list[int], options: dict[str, str], dropout: float
) -> None:
    """Three steps of training, and a copy of the model, which has no graphs of its own yet."""
    plain = make(dropout=dropout, layers=2, **options).train()
    fast = copy.deepcopy(plain)
    plain.graphs = None
    for seed in range(3):
        cubes = torch.randn(4, 5, 4, CHANNELS, dtype=torch.float64)
        mask = torch.arange(5) < torch.tensor([[5], [5], [3], [1]])
        for model in (plain, fast):
            torch.manual_seed(seed)
            loss = sequence_loss(model(cubes, mask), torch.tensor([0, 1, 2, 0]), mask).total
            model.zero_grad()
            loss.backward()
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter -= 0.1 * parameter.grad
    assert len(captures) == 1
    for one, other in zip(plain.parameters(), fast.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)
    copy.deepcopy(fast)(cubes, mask).logits.sum().backward()
    assert len(captures) == 2


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("form", ["location", "content"])
def test_on_a_gpu_a_step_is_that_of_the_cpu(form: str, caplog: pytest.LogCaptureFixture) -> None:
    here = make(form=form, dropout=0.0, layers=3).float().train()
    there = copy.deepcopy(here).cuda()
    with caplog.at_level(logging.INFO):
        for _ in range(3):
            cubes = torch.randn(4, 5, 4, CHANNELS).half()
            mask = torch.ones(4, 5, dtype=torch.bool)
            for model, place in ((here, "cpu"), (there, "cuda")):
                targets = torch.tensor([0, 1, 2, 0], device=place)
                output = model(cubes.to(place), mask.to(place))
                model.zero_grad()
                sequence_loss(
                    output, targets, mask.to(place), attention_weight=0.3
                ).total.backward()
            for one, other in zip(here.parameters(), there.parameters(), strict=True):
                torch.testing.assert_close(other.grad.cpu(), one.grad, rtol=1e-3, atol=1e-5)
    # Anything in the log would be a fall-back.
    assert not caplog.messages
