"""`glimpses train` compared with a plain script; a training step compared with other ways.

Only a few sizes of the step are measured; `step.py` measures more.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import measuring
import numpy as np
import step
from extraction import made_clips
from measuring import Bench, Comparison, Way

from glimpses import datasets, features, runs

# Frames of a clip: three blocks of the default length.
FRAMES = 30


def run(bench: Bench) -> Iterator[Comparison]:
    """Measure the paper's batches of 64 with both kinds of attention, and the default of 32."""
    yield _whole_processes(bench)
    sizes = [step.Size(form, 64, 30, 49, 1024, 512) for form in ("location", "content")]
    sizes.append(step.Size("content", 32, 10, 196, 112, 128, dropout=0.2))
    for size in step.SIZES["quick"] if bench.quick else sizes:
        ways = {name: Way(make(size), size.batch) for name, make in step.WAYS.items()}
        for way in ways.values():
            way.do()
        product = measuring.matrix_product()
        gigaflops = size.operations / size.batch / 1e9
        ways["limit: matrix product"] = Way(product.do, product.work / gigaflops)
        note = f"A block needs at least {gigaflops:.2f} GFLOP; the limit is a product of as many."
        yield bench.compare(f"A training step: {size}", "block", "plain loop", ways, note)


def _whole_processes(bench: Bench) -> Comparison:
    """Compare the whole command, on stored features, with a plain script."""
    number, epochs = (8, 1) if bench.quick else (200, 10)
    clips = made_clips(bench.folder / "clips", number, FRAMES)
    # The default; an early and small stage for a quick run.
    spec = "efficientnet_lite0:4:7" if bench.quick else "efficientnet_lite0:16"
    store, out = bench.folder / "store", bench.folder / "run"

    def glimpses() -> object:
        shutil.rmtree(out, ignore_errors=True)
        return bench.process(
            Path(sys.executable).with_name("glimpses"), "train", clips, "--recipe", "standard",
            "--backbone", spec, "--feature-dir", store, "--epochs", str(epochs), "--out", out,
        )  # fmt: skip

    glimpses()
    split = runs.read_config(out).clips
    dataset = datasets.load(clips)
    stored = features.open_features(dataset, spec, clips=dataset.clips, fps=10.0, feature_dir=store)
    arrays = bench.folder / "arrays"
    arrays.mkdir()
    files: dict[str, dict[str, int]] = {"train": {}, "validation": {}}
    for index, clip in enumerate(dataset.clips):
        cubes = stored.clips[clip.id]
        np.save(arrays / f"{index}.npy", cubes.block(0, len(cubes)).numpy())
        for subset, names in files.items():
            if clip.id in split[subset]:
                names[f"{index}.npy"] = clip.labels[0]
    (bench.folder / "split.json").write_text(json.dumps(files))
    # Blocks that the command draws from each clip: at least ten batches in total.
    once = len(files["train"]) * FRAMES // 10
    blocks = FRAMES // 10 * -(-10 * 32 // once)

    def peer() -> object:
        return bench.process(
            sys.executable, Path(__file__).with_name("peer_training.py"), arrays,
            bench.folder / "split.json", "--epochs", str(epochs), "--blocks", str(blocks),
            "--threads", str(bench.threads), "--out", bench.folder / "weights.pt",
        )  # fmt: skip

    batches = epochs * -(-len(files["train"]) * blocks // 32)
    return bench.compare(
        f"Training as a whole process: {number} clips of {FRAMES} frames, {spec}, {batches} "
        "batches",
        "batch",
        "plain script",
        {"plain script": Way(peer, batches), "glimpses train": Way(glimpses, batches)},
        "From stored features, including start-up, and validation after each of "
        f"{epochs} epochs. The script, `benchmarks/peer_training.py`, holds all features in memory "
        "in single precision; the command reads them from the store, and can be resumed.",
    )
