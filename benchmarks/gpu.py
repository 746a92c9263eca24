"""On a GPU: extraction, a training step, its batches' way, beside what the GPU can do at most.

    python benchmarks/run.py gpu --out results

Whatever is timed is waited for. The limits are of the same run and precision: a product of two
large matrices, a large copy within the GPU's memory, and one to it from page-locked memory.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import extraction
import numpy as np
import peers
import step
import torch
from measuring import Bench, Comparison, Way
from torch.utils.flop_counter import FlopCounterMode

from glimpses import backbones, features
from glimpses.features import FRAMES_PER_PART, BatchLoader, Blocks, ClipFeatures, CubeStore, collate

DEVICE = "cuda"
# Side of the matrices, and numbers that are copied: enough to fill any GPU for a while.
SIDE, NUMBERS = 8192, 1 << 28
CLIPS, BLOCKS = 8, 512


def run(bench: Bench) -> Iterator[Comparison]:
    """Extraction, the paper's step at several sizes, and its batches from the store on."""
    if DEVICE == "cuda" and not torch.cuda.is_available():
        print("gpu: there is none here that PyTorch can use; nothing is measured", flush=True)
        return
    side, numbers = (64, 1024) if bench.quick else (SIDE, NUMBERS)
    yield _extraction(bench, side)
    for size in step.SIZES["quick" if bench.quick else "paper"]:
        yield _training(bench, size, side, numbers)
    yield _loading(bench, step.SIZES["quick"][0] if bench.quick else step.SIZES["paper"][1])


def _extraction(bench: Bench, side: int) -> Comparison:
    """The default stage on frames in memory, and from videos to the store."""
    stage = (extraction.QUICK_STAGES if bench.quick else extraction.STAGES)[0]
    spec = f"efficientnet_lite0:{stage}"
    clips, length = (2, 4) if bench.quick else (50, 300)
    folder = extraction.made_clips(bench.folder / "clips", clips, length)
    plain = backbones.load(spec, engine="torch", device=DEVICE)
    ours = backbones.load(spec, device=DEVICE)
    count = 2 if bench.quick else 8 * ours.batch
    frames = np.random.default_rng(0).integers(0, 256, (count, ours.size, ours.size, 3), np.uint8)

    def extract() -> None:
        store = bench.folder / "store"
        features.extract(folder, backbone=spec, fps="native", feature_dir=store, device=DEVICE)
        shutil.rmtree(store)

    ways = {
        "PyTorch in single precision, frames in memory": Way(lambda: plain.half(frames), count),
        "glimpses, frames in memory": Way(lambda: ours.half(frames), count),
        "glimpses extract, video to store": Way(extract, clips * length),
    }
    for way in ways.values():
        way.do()
    with FlopCounterMode(display=False) as counter:
        peers.eager(stage)(frames[:1])
    operations = counter.get_total_flops()
    product, work = _product(side, torch.half if DEVICE == "cuda" else torch.float)
    ways["limit: matrix product in half precision"] = Way(product, work / operations)
    note = f"{operations / 1e9:.2f} GFLOP a frame. {_card()}"
    return bench.compare(f"Extraction on a GPU by {spec}", "frame", next(iter(ways)), ways, note)


def _training(bench: Bench, size: step.Size, side: int, numbers: int) -> Comparison:
    makers = {
        "plain loop": step.plain,
        "glimpses": step.ours,
        "nn.LSTM, pooled": step.pooled,
    }
    with torch.device(DEVICE):
        ways = {name: Way(_waited_for(make(size)), size.batch) for name, make in makers.items()}
    for way in ways.values():
        for _ in range(3):
            way.do()
    product, work = _product(side)
    ways["limit: matrix product"] = Way(product, work / (size.operations / size.batch))
    # Cubes are read at least once forward and once backward; a copy reads and writes.
    moved = 2 * size.steps * size.places * size.channels * 2
    ways["limit: memory"] = Way(_copy(numbers, DEVICE), 2 * 4 * numbers / moved)
    note = (
        f"{size.operations / size.batch / 1e9:.2f} GFLOP and {moved / 1e6:.1f} MB a block cannot "
        f"be done without. {_card()}"
    )
    return bench.compare(f"A training step on a GPU: {size}", "block", "plain loop", ways, note)


def _loading(bench: Bench, size: step.Size) -> Comparison:
    """Batches in the paper's shape from the store to the GPU, without anything computed."""
    clips = _stored(bench.folder / "cubes", size)
    random = np.random.default_rng(0)
    last = len(clips[0]) - size.steps
    each = (size.batch if bench.quick else BLOCKS) // CLIPS + 1
    blocks = Blocks(clips, [random.integers(0, last + 1, each).tolist() for _ in clips], size.steps)
    order = random.permutation(len(blocks)).tolist()

    def ahead() -> None:
        for _ in BatchLoader(blocks, size.batch, order=order, device=DEVICE):
            pass

    def in_turn() -> None:
        for first in range(0, len(order), size.batch):
            batch = collate([blocks[index] for index in order[first : first + size.batch]])
            for part in batch:
                part.to(DEVICE)

    ways = {
        "read and copied in turn": Way(_waited_for(in_turn), len(blocks)),
        "glimpses, read ahead": Way(_waited_for(ahead), len(blocks)),
    }
    bytes_of_block = 2 * size.steps * size.places * size.channels
    numbers = 1024 if bench.quick else NUMBERS // 4
    ways["limit: copy to the GPU"] = Way(_copy(numbers, "cpu"), 4 * numbers / bytes_of_block)
    ahead()
    note = f"{bytes_of_block / 1e6:.1f} MB a block; the files are in the page cache. {_card()}"
    reference = "read and copied in turn"
    return bench.compare(f"From the store to the GPU: {size}", "block", reference, ways, note)


def _stored(root: Path, size: step.Size) -> list[ClipFeatures]:
    store = CubeStore(root)
    frames = max(2 * size.steps, min(FRAMES_PER_PART, 8 * size.steps))
    cubes = torch.rand(frames, size.places, size.channels).half().numpy()
    for name in map(str, range(CLIPS)):
        store.write_part(name, 0, cubes)
        store.finish(name, [frame / 10 for frame in range(frames)], None)
    clips = map(store.find, map(str, range(CLIPS)))
    return [clip for clip in clips if clip is not None]


def _product(side: int, dtype: torch.dtype = torch.float) -> tuple[Callable[[], object], float]:
    """A large product, single precision as PyTorch is set to do it, and its operations."""
    left, right = torch.rand(2, side, side, device=DEVICE, dtype=dtype)
    out = torch.empty_like(left)
    return _waited_for(lambda: torch.mm(left, right, out=out)), 2 * side**3


def _copy(numbers: int, source: str) -> Callable[[], object]:
    """A large copy to the GPU, from its own memory or from page-locked memory."""
    pinned = source == "cpu" and DEVICE == "cuda"
    source_tensor = torch.rand(numbers, device=source, pin_memory=pinned)
    here = torch.empty(numbers, device=DEVICE)
    return _waited_for(lambda: here.copy_(source_tensor, non_blocking=True))


def _waited_for(do: Callable[[], object]) -> Callable[[], object]:
    def done() -> None:
        do()
        if DEVICE == "cuda":
            torch.cuda.synchronize()

    return done


def _card() -> str:
    name = torch.cuda.get_device_name() if DEVICE == "cuda" else "no GPU, a rehearsal"
    return f"{name}, matrix products: {torch.get_float32_matmul_precision()} precision."
