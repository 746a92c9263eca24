"""Growth of cost: time per unit of work, and peak memory, as the work gets larger.

A speed of 1 relative to the smallest size means that the cost grows in proportion to the work, less
than 1 that it grows faster. Every case runs in a separate process, so that its memory is measured.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import torch
from extraction import made_clips
from measuring import Bench, Comparison, Sample, Way, peak_memory, timed

from glimpses import backbones, models
from glimpses.models import CubeShape, ModelConfig, ModelOptions, sequence_loss
from glimpses.utils import process

# Only the first layers, so that the cost outside the network is visible.
SHALLOW = "efficientnet_lite0:block_0:7"
# Sizes of a training step, and the larger values that are tried, one size at a time.
BASE = {"batch": 32, "steps": 10, "places": 49, "channels": 256, "classes": 10, "layers": 1}
LARGER = {"batch": (64, 128), "steps": (20, 40), "places": (196,), "channels": (512, 1024),
          "classes": (100, 1000), "layers": (2, 3)}  # fmt: skip


def run(bench: Bench) -> Iterator[Comparison]:
    """Compare extraction by number and length of clips, and a training step by its sizes."""
    backbones.load(SHALLOW)
    counts = (1, 2) if bench.quick else (10, 100, 1000)
    yield _extraction(bench, "clip", {
        f"{count} clips": (made_clips(bench.folder / f"c{count}", count, 8, 16), count)
        for count in counts
    })  # fmt: skip
    if not bench.quick:
        yield _extraction(bench, "frame", {
            f"a clip of {length} frames":
                (made_clips(bench.folder / f"l{length}", 1, length, 16), length)
            for length in (100, 1000, 10000)
        })  # fmt: skip
    for name, values in list(LARGER.items())[: 1 if bench.quick else None]:
        yield _training(bench, name, (BASE[name], *values))


def _extraction(bench: Bench, unit: str, sets: Mapping[str, tuple[Path, int]]) -> Comparison:
    store = bench.folder / "store"

    def extract(clips: Path) -> object:
        shutil.rmtree(store, ignore_errors=True)
        return bench.process(
            Path(sys.executable).with_name("glimpses"), "extract", clips, "--backbone", SHALLOW,
            "--feature-dir", store,
        )  # fmt: skip

    return bench.compare(
        f"Growth: extraction, time for a {unit}",
        unit,
        next(iter(sets)),
        {
            name: Way(lambda clips=clips: extract(clips), count)
            for name, (clips, count) in sets.items()
        },
        f"Whole processes, start included, with {SHALLOW}.",
    )


def _training(bench: Bench, name: str, values: Sequence[int]) -> Comparison:
    def step(value: int) -> Sample:
        settings = json.dumps(BASE | {name: value})
        child = subprocess.run(
            [sys.executable, __file__, settings], capture_output=True, text=True, check=True
        )
        return Sample(**json.loads(child.stdout))

    sizes = ", ".join(f"{value} {key}" for key, value in BASE.items() if key != name)
    return bench.compare(
        f"Growth: a training step, time for one of {name}",
        f"step and one of {name}",
        f"{values[0]} {name}",
        {f"{value} {name}": Way(lambda value=value: step(value), value) for value in values},
        f"With {sizes}. Memory is that of the process, including PyTorch.",
    )


def _steps(batch: int, steps: int, **shape: int) -> Sample:
    """Measure a few training steps in this process."""
    process.keep_freed_memory()
    config = ModelConfig(
        ModelOptions(num_layers=shape["layers"], hidden_size=512, attention_size=128, dropout=0.5),
        shape["classes"],
        CubeShape(shape["places"], shape["channels"]),
    )
    model = models.build_model(config)
    cubes = torch.rand(batch, steps, shape["places"], shape["channels"])
    targets = torch.zeros(batch, dtype=torch.long)
    mask = torch.ones(batch, steps, dtype=torch.bool)

    def step() -> None:
        model.zero_grad()
        sequence_loss(model(cubes, mask), targets, mask).total.backward()

    step()
    sample = timed(step)
    return replace(sample, peak=peak_memory(os.getpid()))


if __name__ == "__main__":
    print(json.dumps(asdict(_steps(**json.loads(sys.argv[1])))))
