"""Choice of the blocks of a training epoch: the time that each sampling needs to reach an accuracy.

    OMP_NUM_THREADS=1 python benchmarks/sampling.py OUT

The paper moves its blocks by one frame, so each frame is in as many blocks as a block has frames.
Fewer blocks shorten an epoch, but not a training, whose cost is its batches. Every sampling
therefore gets the same budgets of batches, each with its own learning rate cycle. The results are
the CPU time of the steps (including reading blocks) and the accuracy of the last weights on
held-out clips, validation and test clips together. These clips select neither an epoch nor a
setting.

Everything below was fixed before the first run. Each seed draws its own data set (60 groups of
`glimpses synthetic`: 252 training clips, 108 held out), weights, order and dropout; all samplings
share these. The clips have 30 frames, and each is cut to a random length of 10 to 30: for clips of
equal length, "one block a clip" and "as many as cover it" would be the same. If the command is
interrupted, the same command resumes it. It writes `sampling.md`, `sampling.json` and
`sampling.png` to OUT.
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
# Accuracies in % whose time is reported; the chance level is 17.
LEVELS = (60, 80)
GROUPS, BACKBONE, FPS = 60, "efficientnet_lite0:16:7", 10.0
STEPS, SHORTEST = 10, 10
# Settings of `glimpses train`.
BATCH, RATE, WARM_UP, DECAY = 32, 2e-3, 0.1, 1e-5
OPTIONS = ModelOptions(hidden_size=128, attention_size=64, num_layers=3, dropout=0.2)

# Function from the length of a clip to the first frames of its blocks in an epoch.
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
    parser.add_argument(
        "--draw", type=int, default=0, help="seed offset of weights, order and dropout"
    )
    options = parser.parse_args(arguments)
    out = options.out / f"draw-{options.draw}" if options.draw else options.out
    torch.set_num_threads(1)
    process.keep_freed_memory()
    total = len(options.seeds) * len(options.budgets) * len(options.only)
    with bar("sampling", total) as progress:
        # Seed by seed, so that an interrupted study has whole pairs.
        for seed in options.seeds:
            prepared = None
            for budget in options.budgets:
                for name in options.only:
                    number = list(SAMPLINGS).index(name)
                    path = out / "measures" / f"{seed}-{budget}-{number}.json"
                    if not path.exists():
                        prepared = prepared or Data(options.out, options.groups, seed)
                        result = {"seed": seed, "budget": budget, "sampling": name}
                        result |= measure(
                            prepared, SAMPLINGS[name], budget, seed + 1000 * options.draw
                        )
                        with atomic_write(path) as part:
                            part.write_text(json.dumps(result))
                    progress.advance()
            write(out)
    print((out / "sampling.md").read_text())


class Data:
    """Draw of the generated set: training clips and held-out clips, all cut to random lengths."""

    def __init__(self, out: Path, groups: int, seed: int) -> None:
        root = out / f"clips-{seed}"
        synthetic.generate(root, groups=groups, seed=seed)
        dataset = datasets.load(root)
        features = extract(root, backbone=BACKBONE, fps=FPS, feature_dir=out / "features")
        split = datasets.split(dataset, None)
        random = np.random.default_rng((seed, *b"lengths"))

        def cut(clips: Sequence[Clip]) -> list[ClipFeatures]:
            whole = [features.clips[clip.id] for clip in clips]
            return [
                replace(one, times=one.times[: random.integers(SHORTEST, len(one) + 1)])
                for one in whole
            ]

        held = (*split.validation, *split.test)
        self.train, self.held = cut(split.train), cut(held)
        self.held_paths = [clip.path for clip in held]
        self.train_labels, self.held_labels = (
            torch.tensor([clip.labels[0] for clip in clips]) for clips in (split.train, held)
        )
        self.config = ModelConfig(
            OPTIONS,
            num_classes=len(dataset.classes),
            cube=CubeShape(features.grid**2, features.channels),
        )


def measure(data: Data, sampling: Sampling, budget: int, seed: int) -> dict[str, Any]:
    """Train with one sampling and one budget, and test the last weights."""
    model, seconds = train_model(data, sampling, budget, seed)
    return {"seconds": seconds, "accuracy": accuracy(model, data)}


def train_model(
    data: Data, sampling: Sampling, budget: int, seed: int
) -> tuple[ActionModel, float]:
    """Train a model for a budget of batches; return it with the seconds of its steps."""
    torch.manual_seed(seed)
    model = models.build_model(data.config)
    fit_normalization(model, STEPS, data.train)
    optimizer = torch.optim.Adam(model.parameters(), lr=RATE, weight_decay=2 * DECAY, fused=True)
    cycle = OneCycleLR(
        optimizer, RATE, total_steps=budget, pct_start=max(WARM_UP, 2 / budget),
        cycle_momentum=False,
    )  # fmt: skip
    started = time.process_time()
    for _, batch in zip(range(budget), batches(data.train, sampling, seed), strict=False):
        targets = data.train_labels[batch.clip]
        loss = sequence_loss(model(batch.cubes, batch.mask), targets, batch.mask)
        optimizer.zero_grad()
        loss.total.backward()
        optimizer.step()
        cycle.step()
    return model, time.process_time() - started


def batches(clips: Sequence[ClipFeatures], sampling: Sampling, seed: int) -> Iterator[Block]:
    """Yield full batches without end; a batch may span two epochs."""
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
    """Return the fraction of held-out clips that are classified correctly."""
    model.eval()
    results = predict_clips(model, data.held, block_length=STEPS, stride=STEPS)
    predictions = [int(result.probabilities.argmax()) for result in results]
    return float(np.mean(np.array(predictions) == data.held_labels.numpy()))


def write(out: Path) -> None:
    """Write all available numbers, the table and the figure."""
    results = [json.loads(path.read_text()) for path in sorted((out / "measures").glob("*.json"))]
    with atomic_write(out / "sampling.json") as part:
        part.write_text(json.dumps(results, indent=1))
    with atomic_write(out / "sampling.md") as part:
        part.write_text("\n".join(table(results)) + "\n")
    draw(out / "sampling.png", results)


def table(results: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Yield accuracy by budget, and the CPU time to each level, as Markdown."""
    budgets = sorted({one["budget"] for one in results})
    head = [
        "blocks of an epoch", "CPU ms per batch", *(f"{budget} batches" for budget in budgets),
        "gain over the default, all budgets", *(f"CPU s to {level} %" for level in LEVELS),
    ]  # fmt: skip
    yield _line(head)
    yield _line(["---", *["---:"] * (len(head) - 1)])
    for name in _ways(results):
        runs = _runs(results, name)
        cost = np.median([seconds / budget for (_, budget), (seconds, _) in runs.items()])
        cells = [name, f"{1000 * cost:.0f}"]
        for budget in budgets:
            values = [100 * correct for (_, size), (_, correct) in runs.items() if size == budget]
            spread = f" ± {np.std(values, ddof=1):.1f}" if len(values) > 1 else ""
            cells.append(f"{np.mean(values):.1f}{spread}")
        times = [_time_to(runs, level) for level in LEVELS]
        cells.append("" if name == COVER else _margin(runs, _runs(results, COVER)))
        yield _line(cells + ["not reached" if time is None else f"{time:.1f}" for time in times])


def _ways(results: Sequence[dict[str, Any]]) -> list[str]:
    measured = {one["sampling"] for one in results}
    return [name for name in SAMPLINGS if name in measured]


def _runs(
    results: Sequence[dict[str, Any]], name: str
) -> dict[tuple[int, int], tuple[float, float]]:
    """Return seconds and accuracy of a sampling by seed and budget."""
    return {
        (one["seed"], one["budget"]): (one["seconds"], one["accuracy"])
        for one in results
        if one["sampling"] == name
    }


def _curve(runs: dict[tuple[int, int], tuple[float, float]]) -> tuple[Any, Any]:
    """Return mean seconds and mean accuracy in % over the seeds, for each budget."""
    budgets = sorted({budget for _, budget in runs})
    rows = [[value for (_, size), value in runs.items() if size == budget] for budget in budgets]
    seconds, correct = np.array([np.mean(row, axis=0) for row in rows]).T
    return seconds, 100 * correct


def _time_to(runs: dict[tuple[int, int], tuple[float, float]], level: float) -> float | None:
    """Return the time at which the mean first reaches a level, interpolated in log time."""
    seconds, correct = _curve(runs)
    for k, reached in enumerate(correct >= level):
        if reached and not k:
            return float(seconds[0])
        if reached:
            share = (level - correct[k - 1]) / (correct[k] - correct[k - 1])
            return float(seconds[k - 1] * (seconds[k] / seconds[k - 1]) ** share)
    return None


def _margin(runs: dict[Any, tuple[float, float]], other: dict[Any, tuple[float, float]]) -> str:
    """Return the mean paired difference over budgets, with a 95 % interval over the seeds."""
    by_seed: dict[int, list[float]] = {}
    for key in runs.keys() & other.keys():
        by_seed.setdefault(key[0], []).append(100 * (runs[key][1] - other[key][1]))
    gains = [np.mean(values) for values in by_seed.values()]
    mean = f"{np.mean(gains):+.1f}"
    # Two differences are too few for an interval.
    if len(gains) < 3:
        return mean
    half = half_width(gains)
    return f"{mean} ({np.mean(gains) - half:+.1f} to {np.mean(gains) + half:+.1f})"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def draw(path: Path, results: Sequence[dict[str, Any]]) -> None:
    """Draw accuracy over the CPU time of training: means, and single seeds in pale colours."""
    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axis = plt.subplots(figsize=(8, 4.5), layout="constrained")
    for name in _ways(results):
        runs = _runs(results, name)
        (line,) = axis.plot(*_curve(runs), "o-", markersize=4, label=name)
        each = np.array([(seconds, 100 * correct) for seconds, correct in runs.values()])
        axis.plot(*each.T, ".", color=line.get_color(), alpha=0.3, markersize=4)
    axis.set_xscale("log")
    for which in ("major", "minor"):
        getattr(axis.xaxis, f"set_{which}_formatter")("{x:g}")
    axis.tick_params(axis="x", which="both", labelsize="small")
    axis.set_xlabel("CPU seconds of training")
    axis.set_ylabel("held-out clips classified correctly, %")
    axis.legend(fontsize="small")
    figure.savefig(path, dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    main()
