"""Start-up and latency: commands from a cold start, and one frame of a stream on one core."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import measuring
import numpy as np
import peers
import torch
from extraction import graph_of, made_clips
from measuring import Bench, Comparison, Way

from glimpses import backbones, models, runs
from glimpses.models import CubeShape, ModelConfig, ModelOptions
from glimpses.runs import DataOptions, RunConfig

STAGE = "16"
SPEC = f"efficientnet_lite0:{STAGE}"


def run(bench: Bench) -> Iterator[Comparison]:
    """Measure whole commands, then the backbone and the decoder separately."""
    graph = graph_of(bench, STAGE)
    yield _commands(bench)
    yield _backbone(bench, graph)
    yield _decoder(bench)


def _commands(bench: Bench) -> Comparison:
    clip = next(made_clips(bench.folder / "clips", 1, 30).rglob("*.avi"))
    trained = _run(bench.folder / "run")
    python = sys.executable
    glimpses = Path(python).with_name("glimpses")
    commands: dict[str, Sequence[str | Path]] = {
        "python -c pass": (python, "-c", "pass"),
        "glimpses --help": (glimpses, "--help"),
        "python -c 'import torch, onnxruntime, av'": (
            python, "-c", "import torch, onnxruntime, av",
        ),
        "glimpses predict, a clip of 3 s": (glimpses, "predict", trained, clip),
    }  # fmt: skip
    return bench.compare(
        "From a cold start",
        "process",
        "python -c pass",
        {
            name: Way(lambda words=words: bench.process(*words), 1)
            for name, words in commands.items()
        },
        "Program files are in the system's cache; the graph of the network exists already.",
    )


def _run(folder: Path) -> Path:
    """Write a run with initial weights."""
    backbone = backbones.load(SPEC)
    config = ModelConfig(ModelOptions(), 6, CubeShape(backbone.grid**2, backbone.channels))
    runs.write_config(folder, RunConfig(
        classes=tuple("abcdef"), multi_label=False, data_dir="", data=DataOptions(backbone=SPEC),
        model=config, optim=None, seed=0, backbone_weights=backbone.weights,
        frame_size=backbone.size, clips={}, seen=(),
    ))  # fmt: skip
    runs.save_model(folder, models.build_model(config))
    return folder


def _backbone(bench: Bench, graph: Path) -> Comparison:
    backbone = backbones.load(SPEC, threads=1)
    alone, eager = peers.onnx_runtime(graph, 1), peers.eager(STAGE)
    frame = np.random.default_rng(0).integers(0, 256, (1, 224, 224, 3), np.uint8)
    times = 2 if bench.quick else 20
    ways = {"eager PyTorch": eager, "ONNX Runtime alone": alone, "glimpses backbone": backbone}
    return bench.compare(
        f"One frame on one core: {SPEC}",
        "frame",
        "eager PyTorch",
        {name: _repeated(lambda way=way: way(frame), times) for name, way in ways.items()},
    )


def _decoder(bench: Bench) -> Comparison:
    options = ModelOptions(attention="location", hidden_size=512)
    config = ModelConfig(options, 51, CubeShape(49, 1024))
    model = models.build_model(config).eval()
    cube = torch.rand(1, 49, 1024)
    read = sum(weight.nbytes for weight in model.parameters()) + cube.nbytes
    with torch.inference_mode():
        state = model.initial_state(cube.mean(1))
    step = _repeated(lambda: model.step(cube, state), 2 if bench.quick else 50)
    memory = measuring.memory_read()
    limit = _repeated(memory.do, 1)
    return bench.compare(
        "One frame on one core: decoder step, the paper's 3 layers of 512 over 7x7x1024",
        "frame",
        "glimpses decoder step",
        {
            "glimpses decoder step": step,
            "limit: reading weights and cube": Way(limit.do, memory.work * 1e9 / read),
        },
        f"Weights and cube take {read / 1e6:.0f} MB. If the last-level cache is larger than that, "
        "reading from memory is not a limit.",
    )


def _repeated(do: Callable[[], object], times: int) -> Way:
    """Return a case that repeats a call on a single core."""

    def repeat() -> None:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        with torch.inference_mode():
            for _ in range(times):
                do()
        torch.set_num_threads(threads)

    repeat()
    return Way(repeat, times)
