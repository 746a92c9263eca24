"""Which blocks should an epoch of training have? The time that each way takes to an accuracy.

    OMP_NUM_THREADS=1 python benchmarks/sampling.py OUT

The paper moves its blocks by one frame, so each frame is read in as many blocks as a block has
frames. Rarer blocks make an epoch shorter, not a training: what costs time is a batch. So every way
of sampling is given the same budgets of batches, each with a learning rate cycle of its own, and
what counts is the processor time of the steps (reading blocks included) and the accuracy that the
last weights have on clips that were not trained on, validation and test clips together. Nothing is
chosen by them: neither an epoch nor a setting.

Everything below was fixed before the first run. Each seed draws a set of its own (60 groups of
`glimpses synthetic`: 252 clips to train, 108 held out), weights, order and dropout; all ways share
these. The clips have 30 frames; each is cut to a length drawn from 10 to 30, for among clips of one
length "one block a clip" and "as many as cover it" would be the same. Interrupted, the same command
goes on. OUT gets `sampling.md`, `sampling.json` and `sampling.png`.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
from paired import half_width
from torch.optim.lr_scheduler import OneCycleLR

from glimpses import datasets, models
from glimpses.datasets import Clip, synthetic
from glimpses.features import (
    Block,
    Blocks,
    ClipFeatures,
    collate,
    extract,
    grid_starts,
    random_starts,
)
from glimpses.inference.aggregate import predict_clips
from glimpses.models import ActionModel, CubeShape, ModelConfig, ModelOptions, sequence_loss
from glimpses.training.trainer import fit_normalization
from glimpses.utils import process
from glimpses.utils.files import atomic_write
from glimpses.utils.progress import bar

SEEDS = (401, 402, 403, 404, 405)
BUDGETS = (60, 120, 240, 480)
# Of which the time is asked, in per cent of the clips held out; chance is 17.
LEVELS = (60, 80)
GROUPS, BACKBONE, FPS = 60, "efficientnet_lite0:16:7", 10.0
STEPS, SHORTEST = 10, 10
# Those of `glimpses train`.
BATCH, RATE, WARM_UP, DECAY = 32, 2e-3, 0.1, 1e-5
OPTIONS = ModelOptions(hidden_size=128, attention_size=64, num_layers=3, dropout=0.2)

# First frames of an epoch's blocks of a clip of so many frames.
Sampling = Callable[[int, np.random.Generator], Sequence[int]]
COVER = "random blocks that cover a clip once"


def _some(count: int) -> Sampling:
    return lambda frames, random: random.integers(0, max(frames - STEPS, 0) + 1, count).tolist()


SAMPLINGS: dict[str, Sampling] = {
    "every block (the paper)": lambda frames, _: grid_starts(frames, STEPS, 1),
    "half a block apart": lambda frames, _: grid_starts(frames, STEPS, STEPS // 2),
    "a block apart": lambda frames, _: grid_starts(frames, STEPS, STEPS),
    "one random block a clip": _some(1),
    "three random blocks a clip": _some(3),
    COVER: lambda frames, random: random_starts(frames, STEPS, random),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the study and print its table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("out", type=Path, help="folder for clips, features and results")
    parser.add_argument("--seeds", nargs="+", type=int, default=SEEDS)
    parser.add_argument("--budgets", nargs="+", type=int, default=BUDGETS, help="in batches")
    parser.add_argument("--groups", type=int, default=GROUPS)
    parser.add_argument("--only", nargs="+", choices=SAMPLINGS, default=list(SAMPLINGS))
    parser.add_argument("--draw", type=int, default=0, help="of weights, order and dropout")
    given = parser.parse_args(arguments)
    out = given.out / f"draw-{given.draw}" if given.draw else given.out
    torch.set_num_threads(1)
    process.keep_freed_memory()
    total = len(given.seeds) * len(given.budgets) * len(given.only)
    with bar("sampling", total) as progress:
        # Seed by seed, so that an interrupted study has whole pairs.
        for seed in given.seeds:
            prepared = None
            for budget in given.budgets:
                for name in given.only:
                    number = list(SAMPLINGS).index(name)
                    kept = out / "measures" / f"{seed}-{budget}-{number}.json"
                    if not kept.exists():
                        prepared = prepared or Data(given.out, given.groups, seed)
                        found = {"seed": seed, "budget": budget, "sampling": name}
                        found |= measure(
                            prepared, SAMPLINGS[name], budget, seed + 1000 * given.draw
                        )
                        with atomic_write(kept) as part:
                            part.write_text(json.dumps(found))
                    progress.advance()
            write(out)
    print((out / "sampling.md").read_text())


class Data:
    """A draw of the generated set: clips to train on and clips held out, all cut."""

    def __init__(self, out: Path, groups: int, seed: int) -> None:
        root = out / f"clips-{seed}"
        synthetic.generate(root, groups=groups, seed=seed)
        dataset = datasets.load(root)
        features = extract(root, backbone=BACKBONE, fps=FPS, feature_dir=out / "features")
        divided = datasets.split(dataset, None)
        random = np.random.default_rng((seed, *b"lengths"))

        def cut(clips: Sequence[Clip]) -> list[ClipFeatures]:
            whole = [features.clips[clip.id] for clip in clips]
            return [
                replace(one, times=one.times[: random.integers(SHORTEST, len(one) + 1)])
                for one in whole
            ]

        held = (*divided.validation, *divided.test)
        self.train, self.held = cut(divided.train), cut(held)
        self.held_paths = [clip.path for clip in held]
        self.train_labels, self.held_labels = (
            torch.tensor([clip.labels[0] for clip in clips]) for clips in (divided.train, held)
        )
        self.config = ModelConfig(
            OPTIONS,
            num_classes=len(dataset.classes),
            cube=CubeShape(features.grid**2, features.channels),
        )


def measure(data: Data, sampling: Sampling, budget: int, seed: int) -> dict[str, Any]:
    """Train with one sampling on one budget, and put the last weights to the test."""
    model, seconds = trained(data, sampling, budget, seed)
    return {"seconds": seconds, "accuracy": accuracy(model, data)}


def trained(data: Data, sampling: Sampling, budget: int, seed: int) -> tuple[ActionModel, float]:
    """A model that has seen a budget of batches, and the seconds that its steps took."""
    torch.manual_seed(seed)
    model = models.build_model(data.config)
    fit_normalization(model, STEPS, data.train)
    optimiser = torch.optim.Adam(model.parameters(), lr=RATE, weight_decay=2 * DECAY, fused=True)
    cycle = OneCycleLR(
        optimiser, RATE, total_steps=budget, pct_start=max(WARM_UP, 2 / budget),
        cycle_momentum=False,
    )  # fmt: skip
    started = time.process_time()
    for _, batch in zip(range(budget), batches(data.train, sampling, seed), strict=False):
        targets = data.train_labels[batch.clip]
        loss = sequence_loss(model(batch.cubes, batch.mask), targets, batch.mask)
        optimiser.zero_grad()
        loss.total.backward()
        optimiser.step()
        cycle.step()
    return model, time.process_time() - started


def batches(clips: Sequence[ClipFeatures], sampling: Sampling, seed: int) -> Iterator[Block]:
    """Epoch after epoch without an end, and without a smaller batch where two meet."""
    random = np.random.default_rng((seed, *b"blocks"))
    waiting: list[Block] = []
    while True:
        blocks = Blocks(clips, [sampling(len(clip), random) for clip in clips], STEPS)
        for index in random.permutation(len(blocks)):
            waiting.append(blocks[index])
            if len(waiting) == BATCH:
                yield collate(waiting)
                waiting = []


@torch.inference_mode()
def accuracy(model: ActionModel, data: Data) -> float:
    """Share of the clips held out that are named rightly."""
    model.eval()
    results = predict_clips(model, data.held, block_length=STEPS, stride=STEPS)
    said = [int(result.probabilities.argmax()) for result in results]
    return float(np.mean(np.array(said) == data.held_labels.numpy()))


def write(out: Path) -> None:
    """Write all numbers there are, the table and the picture."""
    found = [json.loads(path.read_text()) for path in sorted((out / "measures").glob("*.json"))]
    with atomic_write(out / "sampling.json") as part:
        part.write_text(json.dumps(found, indent=1))
    with atomic_write(out / "sampling.md") as part:
        part.write_text("\n".join(table(found)) + "\n")
    draw(out / "sampling.png", found)


def table(found: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Accuracy by budget, and the processor time to each level, in Markdown."""
    budgets = sorted({one["budget"] for one in found})
    head = [
        "blocks of an epoch", "CPU ms a batch", *(f"{budget} batches" for budget in budgets),
        "above today's, all budgets", *(f"CPU s to {level} %" for level in LEVELS),
    ]  # fmt: skip
    yield _line(head)
    yield _line(["---", *["---:"] * (len(head) - 1)])
    for name in _ways(found):
        runs = _runs(found, name)
        cost = np.median([seconds / budget for (_, budget), (seconds, _) in runs.items()])
        cells = [name, f"{1000 * cost:.0f}"]
        for budget in budgets:
            values = [100 * right for (_, own), (_, right) in runs.items() if own == budget]
            spread = f" ± {np.std(values, ddof=1):.1f}" if len(values) > 1 else ""
            cells.append(f"{np.mean(values):.1f}{spread}")
        times = [_time_to(runs, level) for level in LEVELS]
        cells.append("" if name == COVER else _margin(runs, _runs(found, COVER)))
        yield _line(cells + ["not reached" if time is None else f"{time:.1f}" for time in times])


def _ways(found: Sequence[dict[str, Any]]) -> list[str]:
    there = {one["sampling"] for one in found}
    return [name for name in SAMPLINGS if name in there]


def _runs(found: Sequence[dict[str, Any]], name: str) -> dict[tuple[int, int], tuple[float, float]]:
    """Seconds and accuracy of a sampling by seed and budget."""
    return {
        (one["seed"], one["budget"]): (one["seconds"], one["accuracy"])
        for one in found
        if one["sampling"] == name
    }


def _curve(runs: dict[tuple[int, int], tuple[float, float]]) -> tuple[Any, Any]:
    """Mean seconds and mean accuracy, in per cent, over the seeds at each budget."""
    budgets = sorted({budget for _, budget in runs})
    rows = [[value for (_, own), value in runs.items() if own == budget] for budget in budgets]
    seconds, right = np.array([np.mean(row, axis=0) for row in rows]).T
    return seconds, 100 * right


def _time_to(runs: dict[tuple[int, int], tuple[float, float]], level: float) -> float | None:
    """When the mean over the seeds first is at a level; straight lines over the log of time."""
    seconds, right = _curve(runs)
    for k, reached in enumerate(right >= level):
        if reached and not k:
            return float(seconds[0])
        if reached:
            share = (level - right[k - 1]) / (right[k] - right[k - 1])
            return float(seconds[k - 1] * (seconds[k] / seconds[k - 1]) ** share)
    return None


def _margin(own: dict[Any, tuple[float, float]], theirs: dict[Any, tuple[float, float]]) -> str:
    """Mean paired difference of accuracy over budgets, with a 95 % interval over the seeds."""
    by_seed: dict[int, list[float]] = {}
    for key in own.keys() & theirs.keys():
        by_seed.setdefault(key[0], []).append(100 * (own[key][1] - theirs[key][1]))
    gains = [np.mean(values) for values in by_seed.values()]
    mean = f"{np.mean(gains):+.1f}"
    # Two differences bound nothing.
    if len(gains) < 3:
        return mean
    half = half_width(gains)
    return f"{mean} ({np.mean(gains) - half:+.1f} to {np.mean(gains) + half:+.1f})"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def draw(path: Path, found: Sequence[dict[str, Any]]) -> None:
    """Accuracy over the processor time of training: means, and every seed faintly."""
    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axis = plt.subplots(figsize=(8, 4.5), layout="constrained")
    for name in _ways(found):
        runs = _runs(found, name)
        (line,) = axis.plot(*_curve(runs), "o-", markersize=4, label=name)
        each = np.array([(seconds, 100 * right) for seconds, right in runs.values()])
        axis.plot(*each.T, ".", color=line.get_color(), alpha=0.3, markersize=4)
    axis.set_xscale("log")
    for which in ("major", "minor"):
        getattr(axis.xaxis, f"set_{which}_formatter")("{x:g}")
    axis.tick_params(axis="x", which="both", labelsize="small")
    axis.set_xlabel("CPU seconds of training")
    axis.set_ylabel("clips held out named rightly, %")
    axis.legend(fontsize="small")
    figure.savefig(path, dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    main()
