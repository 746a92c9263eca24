"""Whole blocks at once: what is said and every gradient against a loop of `nn.LSTMCell`."""

from __future__ import annotations

import logging
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest
import torch
from glimpses.models.loss import sequence_loss
from torch.autograd import gradcheck

from glimpses.models import ModelConfig, ModelOutput, RecurrentModel, build, decoder, sequence
from glimpses.models.dropout import Dropout, survivors
from tests.models.transcription import CHANNELS, make, penalised_loss

sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))
import step


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    step.WAYS.pop("JAX scan", None)  # compiles for half a minute
    return step


def by_step(model: torch.nn.Module, *given: torch.Tensor | None) -> ModelOutput:
    """The same model by `forward`'s loop, which is taken when attention's parts are watched."""
    watching = model.looking.register_forward_hook(lambda *_: None)
    try:
        return model(*given)
    finally:
        watching.remove()


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many times blocks were read at once."""
    times: list[int] = []
    real = sequence.read

    def counted(*given: object) -> object:
        times.append(1)
        return real(*given)

    monkeypatch.setattr(decoder.sequence, "read", counted)
    return times


EVERY = [{"form": "location"}, {"form": "content"}, {"kind": "average"}, {"kind": "max"}]


@pytest.mark.parametrize("options", EVERY)
@pytest.mark.parametrize(("layers", "steps", "places"), [(1, 1, 4), (3, 5, 9), (2, 4, 1)])
def test_gradients_are_those_of_the_loop(
    at_once: list[int], options: dict[str, str], layers: int, steps: int, places: int
) -> None:
    model = make(layers=layers, places=places, **options)
    cubes = torch.randn(3, steps, places, CHANNELS, dtype=torch.float64) * 3 + 2
    mask = torch.arange(steps) < torch.tensor([[steps], [max(1, steps - 1)], [1]])
    weight = 0.0 if "kind" in options else 0.3
    found = []
    for read in (model, lambda *given: by_step(model, *given)):
        model.zero_grad()
        output = read(cubes, mask)
        # The penalty reaches attention from elsewhere than the glimpse.
        loss = sequence_loss(output, torch.tensor([0, 2, 1]), mask, attention_weight=weight)
        loss.total.backward()
        found.append((output, {name: p.grad for name, p in model.named_parameters()}))
    (fast, fast_grads), (slow, slow_grads) = found
    assert len(at_once) == 1
    torch.testing.assert_close(fast.logits[mask], slow.logits[mask], rtol=0, atol=1e-12)
    if weight:
        torch.testing.assert_close(fast.attention[mask], slow.attention[mask], rtol=0, atol=1e-12)
    else:
        assert fast.attention is fast.softmax is slow.attention is None
    for name, expected in slow_grads.items():
        scale = float(expected.abs().max())
        torch.testing.assert_close(
            fast_grads[name], expected, rtol=0, atol=1e-10 * max(scale, 1), msg=name
        )


@pytest.mark.parametrize("options", EVERY)
def test_many_expanded_parts_are_as_good_as_one(
    monkeypatch: pytest.MonkeyPatch, options: dict[str, str]
) -> None:
    """Half-precision cubes, three blocks at a time, with one left over."""
    model = make(**options).float()
    cubes = (torch.randn(7, 5, 4, CHANNELS) * 3 + 2).half()
    slow = by_step(model, cubes.float())
    monkeypatch.setattr(sequence, "_EXPANDED", 3 * 4 * CHANNELS // torch.get_num_threads())
    for given in (cubes, cubes.float(), cubes.repeat(1, 2, 1, 1)[:, :5]):
        fast = model(given)
        torch.testing.assert_close(fast.logits, slow.logits, rtol=1e-5, atol=2e-5)
        if slow.attention is not None:
            torch.testing.assert_close(fast.attention, slow.attention, rtol=1e-5, atol=2e-5)


def test_dropped_connections_reach_the_gradient(at_once: list[int]) -> None:
    """With the same seed the function is fixed, so finite differences hold with dropout too."""
    model = make(dropout=0.5, layers=2).train()
    cubes = torch.randn(2, 3, 4, CHANNELS, dtype=torch.float64)
    loss, values = penalised_loss(
        model, cubes, torch.ones(2, 3, dtype=torch.bool), torch.tensor([0, 2])
    )

    def seeded(*parameters: torch.Tensor) -> torch.Tensor:
        torch.manual_seed(5)
        return loss(*parameters)

    assert gradcheck(seeded, values, atol=1e-7, fast_mode=True)
    assert at_once
    assert not torch.allclose(seeded(*values), penalised(model, cubes))


def penalised(model: torch.nn.Module, cubes: torch.Tensor) -> torch.Tensor:
    """The same loss without dropout."""
    mask = torch.ones(2, 3, dtype=torch.bool)
    loss, values = penalised_loss(model.eval(), cubes, mask, torch.tensor([0, 2]))
    return loss(*values)


@pytest.mark.parametrize("share", [0.2, 0.5])
def test_survivors_are_as_many_as_they_should_be_and_independent(share: float) -> None:
    torch.manual_seed(0)
    count = 400_000
    kept = survivors(count, share, torch.float64)
    assert len(kept.unique()) == 2
    assert kept.max() == pytest.approx(1 / (1 - share), rel=1e-4)
    alive = (kept > 0).double()
    deviation = (share * (1 - share) / count) ** 0.5
    assert abs(alive.mean() - (1 - share)) < 4 * deviation
    # Four share one random number: neighbours must know nothing of each other.
    for distance in (1, 2, 3, 4):
        both = (alive[:-distance] * alive[distance:]).mean()
        assert abs(both - (1 - share) ** 2) < 6 * deviation


def test_dropout_rests_in_evaluation() -> None:
    numbers = torch.randn(3, 5)
    assert Dropout(0.5).eval()(numbers) is numbers
    made = Dropout(0.5)(numbers)
    assert ((made == 0) | (made == 2 * numbers)).all()


def test_where_it_does_not_serve_the_loop_does_and_says_so(
    at_once: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    sequence.say.cache_clear()
    caplog.set_level(logging.INFO, "glimpses.models.sequence")
    cubes = torch.randn(2, 4, 4, CHANNELS, dtype=torch.float64)
    holes = torch.tensor([[True, False, True, True]] * 2)
    model = make()
    model(cubes, holes)
    model(cubes.clone().requires_grad_())
    model(cubes, None, torch.full((2, 4, 4), 0.25, dtype=torch.float64))
    for options in ({"motion": True}, {"glimpse": "hard"}, {"kind": "max", "motion": True}):
        make(**options)(cubes)
    with torch.autocast("cpu", torch.bfloat16):
        make().float()(cubes.float())
    assert not at_once
    said = [record.message for record in caplog.records]
    # Of poolings nobody expects it.
    assert len(said) == len(set(said)) == 5
    assert all("step by step" in each for each in said)


def test_a_shape_it_does_not_know_is_left_to_the_loop(at_once: list[int]) -> None:
    @dataclass(frozen=True)
    class Later(ModelConfig):
        temperature: float = 1.0

    model = build(ModelConfig(classes=2, places=4, channels=3, hidden=5))
    cubes = torch.randn(2, 3, 4, 3)
    model(cubes)
    assert len(at_once) == 1
    model.config = Later(classes=2, places=4, channels=3, hidden=5, temperature=2.0)
    model(cubes)
    assert len(at_once) == 1


def test_a_second_derivative_is_refused() -> None:
    model = make()
    loss = model(torch.randn(1, 3, 4, CHANNELS, dtype=torch.float64)).logits.square().sum()
    parameters = list(model.cells.parameters())
    (first, *_) = torch.autograd.grad(loss, parameters, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first.sum().backward()


PEAK = """
import resource, sys, torch
from glimpses.models import ModelConfig, build
torch.set_num_threads(1)
config = ModelConfig(classes=3, places=49, channels=1024, hidden=16, attention_size=8)
model = build(config)
small, cubes = (torch.zeros(n, 30, 49, 1024, dtype=torch.half) for n in (1, 30))
model(small).logits.sum().backward()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
model(cubes).logits.sum().backward()
taken = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
print(taken / (cubes.numel() * 4))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="counts memory as Linux does")
def test_cubes_are_never_expanded() -> None:
    """The loop takes twice the memory of the cubes in single precision; this next to none."""
    taken = subprocess.check_output([sys.executable, "-c", PEAK], text=True)
    assert float(taken) < 0.4


@pytest.mark.parametrize("number", [0, 1])
def test_the_benchmark_compares_the_same_function(benchmark: ModuleType, number: int) -> None:
    """Without dropout all ways but the one without attention have the same loss."""
    known = benchmark.SIZES["quick"][number]
    size = benchmark.Size(**{**vars(known), "dropout": 0.0})
    losses = {way: make(size)() for way, make in benchmark.WAYS.items() if "pooled" not in way}
    assert isinstance(build(size.config), RecurrentModel)
    for loss in losses.values():
        assert loss == pytest.approx(losses["plain loop"], rel=1e-5)


def test_the_benchmark_runs(benchmark: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    size = benchmark.SIZES["quick"][0]
    threads = torch.get_num_threads()
    try:
        one = benchmark.measure(size, 1, 2, side=32)
    finally:
        torch.set_num_threads(threads)
    *_, row = benchmark.rows([{**one, "memory": {"glimpses": 12.0}}])
    assert str(size) in row
    assert ", 12 |" in row
