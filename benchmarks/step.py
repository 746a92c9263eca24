"""Time of a training step, compared with other implementations and the speed of the processor.

    python benchmarks/step.py [--quick] [--sizes paper ours] [--threads 1 2] [--out step.json]

A step is the forward and backward pass of the attention model on a batch of blocks, without the
optimizer and without reading files. The implementations take turns in one process; a product of two
2048 x 2048 matrices is timed before and after each. The limit is the time that the multiply-adds of
the step (LSTM layers, glimpses, keys; forward and twice backward) would take at the speed of that
product. Times are CPU time over all threads, medians over rounds, with quartiles in brackets.

Implementations:

- `glimpses`: this package, from half-precision cubes as in the store, with channel normalisation.
- `plain loop`: `nn.LSTMCell` in a loop, broadcast multiply and sum, from cubes already expanded to
  single precision, without normalisation.
- `nn.LSTM, pooled`: the same layers on pooled features without attention, as a lower bound.
- `JAX scan`: the plain loop under `jax.jit` with `lax.scan`, if JAX is installed.

Peak memory is that of three steps, the batch and the model, in a separate process.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, astuple, dataclass
from importlib.util import find_spec
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import torch
import torch.nn.functional as F
from peer_training import LAYERS, PlainLoop
from torch import Tensor, nn

from glimpses.models import CubeShape, ModelConfig, ModelOptions, build_model
from glimpses.utils import process
from glimpses.utils.progress import bar

CLASSES = 51
SIDE = 2048  # size of the matrices whose product is the limit


@dataclass(frozen=True)
class Size:
    """One row of the table; see `ModelConfig`."""

    form: str
    batch: int
    steps: int
    places: int
    channels: int
    hidden: int
    attention_size: int = 64
    dropout: float = 0.5

    def __str__(self) -> str:
        return (
            f"{self.form}, {self.places}x{self.channels}, d {self.hidden}, T {self.steps}, "
            f"batch {self.batch}"
        )

    @property
    def classes(self) -> int:
        """Number of actions."""
        return CLASSES

    @property
    def config(self) -> ModelConfig:
        """Configuration of the model of Glimpses."""
        model_options = ModelOptions(
            hidden_size=self.hidden, attention=self.form, attention_size=self.attention_size,
            dropout=self.dropout, num_layers=LAYERS,
        )  # fmt: skip
        return ModelConfig(model_options, CLASSES, CubeShape(self.places, self.channels))

    @property
    def operations(self) -> float:
        """Multiplications and additions that every implementation needs."""
        rows = self.batch * self.steps
        gates = self.channels + (2 * LAYERS - 1) * self.hidden
        lstm = 3 * 2 * rows * 4 * self.hidden * gates
        glimpse = 2 * 2 * rows * self.places * self.channels
        keys = 2 * 2 * rows * self.places * self.channels * self.attention_size
        return lstm + glimpse + (keys if self.form == "content" else 0)


SIZES = {
    "paper": [
        Size(form, batch, 30, 49, 1024, hidden)
        for hidden in (512, 1024)
        for form in ("location", "content")
        for batch in (16, 64, 128)
    ],
    "ours": [
        Size("content", batch, 10, places, channels, 128, dropout=0.2)
        for places, channels in ((49, 224), (196, 112))
        for batch in (32, 64)
    ],
    "quick": [Size(form, 3, 4, 4, 6, 8, 5) for form in ("location", "content")],
}


class Pooled(nn.Module):
    """`nn.LSTM` on average-pooled cubes, without attention."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.lstm = nn.LSTM(
            size.channels, size.hidden, LAYERS, batch_first=True, dropout=size.dropout
        )
        self.head = nn.Linear(size.hidden, CLASSES)

    def forward(self, cubes: Tensor) -> Tensor:
        """Return logits (B, T, C) of cubes (B, T, P, D)."""
        return self.head(self.lstm(cubes.mean(2))[0])


def batch_of(size: Size) -> tuple[Tensor, Tensor]:
    """Return random half-precision cubes as after a ReLU, and a class for every step."""
    torch.manual_seed(0)
    shape = (size.batch, size.steps, size.places, size.channels)
    cubes = torch.empty(shape, dtype=torch.half)
    for block in cubes:
        block.copy_(torch.randn(shape[1:]).relu_())
    return cubes, torch.randint(CLASSES, (size.batch, size.steps))


def torch_step(model: nn.Module, cubes: Tensor, targets: Tensor) -> Callable[[], float]:
    """Return a function that computes loss and gradients of a PyTorch model."""

    def step() -> float:
        model.zero_grad(set_to_none=True)
        output = model(cubes)
        logits = output if isinstance(output, Tensor) else output.logits
        loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten())
        loss.backward()
        return float(loss.detach())

    return step


def ours(size: Size) -> Callable[[], float]:
    """Return a step of the model of Glimpses."""
    cubes, targets = batch_of(size)
    torch.manual_seed(1)
    return torch_step(build_model(size.config).train(), cubes, targets)


def plain(size: Size) -> Callable[[], float]:
    """Return a step of the plain loop, with the same weights."""
    cubes, targets = batch_of(size)
    torch.manual_seed(1)
    weights = build_model(size.config).state_dict()
    model = PlainLoop(size).train()
    model.load_state_dict(
        {name: weight for name, weight in weights.items() if not name.startswith("channel_norm")}
    )
    return torch_step(model, cubes.float(), targets)


def pooled(size: Size) -> Callable[[], float]:
    """Return a step of PyTorch's LSTM without attention."""
    cubes, targets = batch_of(size)
    return torch_step(Pooled(size).train(), cubes.float(), targets)


def scanned(size: Size) -> Callable[[], float]:
    """Return a step of the plain loop in JAX, with the same weights."""
    import jax
    import jax.numpy as jnp

    cubes, targets = batch_of(size)
    torch.manual_seed(1)
    state = build_model(size.config).state_dict()
    weights = {name: jnp.asarray(weight.numpy()) for name, weight in state.items()}
    share = size.dropout

    def linear(w: Any, name: str, x: Any) -> Any:
        y = x @ w[f"{name}.weight"].T
        return y + w[f"{name}.bias"] if f"{name}.bias" in w else y

    def drop(key: Any, x: Any) -> Any:
        if not share:
            return x
        return jnp.where(jax.random.bernoulli(key, 1 - share, x.shape), x / (1 - share), 0)

    def loss(w: Any, x: Any, y: Any, key: Any) -> Any:
        keys = jax.random.split(key, 5)
        state = []
        for place, name in enumerate(("init_hidden", "init_cell")):
            inner = jnp.tanh(linear(w, f"{name}.inner", drop(keys[2 * place], x.mean((1, 2)))))
            outer = jnp.tanh(linear(w, f"{name}.outer", drop(keys[2 * place + 1], inner)))
            state.append(jnp.split(outer, LAYERS, axis=1))

        def step(carry: Any, at: Any) -> Any:
            hidden, cell = carry
            cube, key = at
            drawn = jax.random.split(key, LAYERS + 2)
            if size.form == "location":
                scores = linear(w, "attention.place", hidden[-1])
            else:
                query = linear(w, "attention.query", hidden[-1])[:, None]
                activation = jnp.tanh(linear(w, "attention.key", cube) + query)
                scores = linear(w, "attention.score", activation)[..., 0]
            v = jnp.einsum("bp,bpd->bd", jax.nn.softmax(scores), cube)
            new_hidden, new_cell = [], []
            for layer in range(LAYERS):
                name = f"cells.{layer}"
                gates = (
                    drop(drawn[layer], v) @ w[f"{name}.weight_ih"].T
                    + hidden[layer] @ w[f"{name}.weight_hh"].T
                    + w[f"{name}.bias_ih"]
                    + w[f"{name}.bias_hh"]
                )
                i, f, g, o = jnp.split(gates, 4, axis=1)
                c = jax.nn.sigmoid(f) * cell[layer] + jax.nn.sigmoid(i) * jnp.tanh(g)
                v = jax.nn.sigmoid(o) * jnp.tanh(c)
                new_hidden.append(v)
                new_cell.append(c)
            inner = jnp.tanh(linear(w, "head.1", drop(drawn[-2], v)))
            return (new_hidden, new_cell), linear(w, "head.4", drop(drawn[-1], inner))

        each = jax.random.split(keys[4], x.shape[1])
        _, logits = jax.lax.scan(step, tuple(state), (jnp.moveaxis(x, 1, 0), each))
        logs = jax.nn.log_softmax(jnp.moveaxis(logits, 0, 1))
        return -jnp.take_along_axis(logs, y[..., None], -1).mean()

    gradient = jax.jit(jax.value_and_grad(loss))
    x, y = jnp.asarray(cubes.float().numpy()), jnp.asarray(targets.numpy())
    key = jax.random.PRNGKey(0)

    def step() -> float:
        return float(jax.block_until_ready(gradient(weights, x, y, key))[0])

    return step


WAYS = {"glimpses": ours, "plain loop": plain, "nn.LSTM, pooled": pooled}
if find_spec("jax"):
    WAYS["JAX scan"] = scanned


def measure(size: Size, threads: int, rounds: int, side: int = SIDE) -> dict[str, Any]:
    """Measure all implementations and the limit in turn, in CPU seconds."""
    process.keep_freed_memory()
    torch.set_num_threads(threads)
    steps = {way: make(size) for way, make in WAYS.items()}
    left, right, product = (torch.randn(side, side) for _ in range(3))
    for step in steps.values():
        step()
    times: dict[str, list[float]] = {way: [] for way in steps}
    limits = []
    for _ in range(rounds):
        for way, step in steps.items():
            before = _cpu(lambda: torch.mm(left, right, out=product))
            times[way].append(_cpu(step))
            after = _cpu(lambda: torch.mm(left, right, out=product))
            limits.append((before + after) / 2)
    limit = median(limits) * size.operations / (2 * side**3)
    return {"size": asdict(size), "threads": threads, "limit": limit, "times": times}


def _cpu(work: Callable[[], Any]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def memory(size: Size, way: str) -> float:
    """Return the peak memory in MB of three steps, the batch and the model."""
    # Without `process.keep_freed_memory`, so that freed memory does not count.
    before = _resident()
    step = WAYS[way](size)
    for _ in range(3):
        step()
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024


def _resident() -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return float(line.split()[1])
    raise RuntimeError("this system does not report the memory of a process")


def child(*task: Any) -> Any:
    """Run one measurement in a separate process; the last item of the task is its threads."""
    threads = str(task[-1])
    environment = {**os.environ, "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
    if threads == "1":
        environment["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false"
    finished = subprocess.run(
        [sys.executable, __file__, "--child", json.dumps(task)],
        env=environment, check=True, capture_output=True, text=True,
    )  # fmt: skip
    return json.loads(finished.stdout.splitlines()[-1])


def rows(results: list[dict[str, Any]]) -> list[str]:
    """Return the table as lines of Markdown."""
    ways = list(WAYS)
    lines = [
        "| step | threads | limit, s | "
        + " | ".join(f"{way}: x limit, x plain loop, MB" for way in ways)
        + " |",
        "|---|---:|---:|" + "---|" * len(ways),
    ]
    for one in results:
        cells = []
        for way in ways:
            times = one["times"].get(way)
            if not times:
                cells.append("")
                continue
            low, _, high = quantiles(times, n=4) if len(times) > 1 else times * 3
            limit, loop = one["limit"], median(one["times"]["plain loop"])
            megabytes = one.get("memory", {}).get(way)
            cells.append(
                f"{median(times) / limit:.2f} ({low / limit:.2f} to {high / limit:.2f}), "
                f"{median(times) / loop:.2f}" + (f", {megabytes:.0f}" if megabytes else "")
            )
        size = Size(**one["size"])
        lines.append(
            f"| {size} | {one['threads']} | {one['limit']:.3g} | " + " | ".join(cells) + " |"
        )
    return lines


def machine() -> str:
    """Return the processor, versions and commit."""
    names = [
        line.split(":")[1].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    commit = subprocess.run(
        ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"],
        capture_output=True, text=True, check=False,
    ).stdout.strip()  # fmt: skip
    return (
        f"{names[0] if names else platform.processor()}, {len(os.sched_getaffinity(0))} cores; "
        f"PyTorch {torch.__version__} ({torch.backends.cpu.get_cpu_capability()}); commit {commit}"
    )


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=["paper", "ours"])
    parser.add_argument("--only", help="only rows with this text in their name")
    parser.add_argument("--threads", nargs="+", type=int, default=None)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to test that it runs")
    parser.add_argument("--out", type=Path, help="JSON file for all times")
    parser.add_argument("--child", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        task, size, *rest = options.child
        done = {"measure": measure, "memory": memory}[task](Size(*size), *rest[:-1])
        print(json.dumps(done))
        return
    cores = len(os.sched_getaffinity(0))
    threads = [1] if options.quick else options.threads or sorted({1, cores})
    sizes = [
        size for name in (["quick"] if options.quick else options.sizes) for size in SIZES[name]
    ]
    sizes = [size for size in sizes if options.only is None or options.only in str(size)]
    rounds, side = (2, 64) if options.quick else (options.rounds, SIDE)
    print(machine(), flush=True)
    results: list[dict[str, Any]] = []
    with bar("steps", len(sizes) * len(threads)) as progress:
        for count in threads:
            for size in sizes:
                one = child("measure", astuple(size), count, rounds, side, count)
                if count == 1:
                    one["memory"] = {
                        way: child("memory", astuple(size), way, count) for way in WAYS
                    }
                results.append(one)
                progress.advance()
                print(rows([one])[-1], flush=True)
                if options.out:
                    options.out.write_text(json.dumps({"machine": machine(), "rows": results}))
    print("\n" + "\n".join(rows(results)))


if __name__ == "__main__":
    main()
