"""Ways of looking, compared on clips in which it is known where the actor is.

    python benchmarks/looking.py OUT

makes the generated set, trains every way with every seed, and writes `OUT/looking.json` and
`OUT/looking.md`. Interrupted, the same command goes on where it was. Seeds are paired: with one
seed all ways see the same clips, and where their shapes agree the same blocks in the same order.
The settings below are those of `glimpses demo`; none was chosen by its result on the test clips.
Hard attention is trained longer in a row of its own, because its validation curve still rises when
the others' are flat. Training is fastest on one core: set `OMP_NUM_THREADS=1` where others compute.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.modules.module import register_module_forward_hook

from glimpses.datasets import actors
from glimpses.evaluation import Evaluation, evaluate_clips
from glimpses.files import replacing
from glimpses.models.looking import Attention
from glimpses.progress import bar
from glimpses.report import aim_of
from glimpses.training import train

GROUPS, DATA_SEED = 60, 0
SEEDS = (0, 1, 2)
SETTINGS: dict[str, Any] = {"steps": 10, "hidden": 128, "epochs": 25}


@dataclass(frozen=True)
class Way:
    """One row of the table: its runs' folder, a name, the backbone, what else `train` is told."""

    folder: str
    name: str
    backbone: str
    options: dict[str, Any]


WAYS = (
    Way("last", "soft, last stage, 7x7", "efficientnet_lite0", {}),
    Way("pooled", "soft, stage 16 pooled to 7x7", "efficientnet_lite0:16:7", {}),
    Way("fine", "soft, stage 16, 14x14", "efficientnet_lite0:16", {}),
    Way("both", "soft, last stage and stage 16, 7x7 and 14x14", "efficientnet_lite0:head+16", {}),
    Way("hard", "hard, stage 16 pooled to 7x7", "efficientnet_lite0:16:7", {"glimpse": "hard"}),
    Way(
        "hard-long",
        "hard, stage 16 pooled to 7x7, 60 epochs",
        "efficientnet_lite0:16:7",
        {"glimpse": "hard", "epochs": 60},
    ),
    Way(
        "average",
        "average pooling, stage 16 pooled to 7x7",
        "efficientnet_lite0:16:7",
        {"model": "average"},
    ),
)


def main() -> None:
    """Run it all."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("out", type=Path, help="folder for clips, features, runs and the table")
    out = parser.parse_args().out
    actors.generate(out / "clips", groups=GROUPS, seed=DATA_SEED)
    with bar("ways of looking", len(WAYS) * len(SEEDS)) as progress:
        # Seed by seed, so that an interrupted study has whole pairs.
        found: dict[str, list[dict[str, float | None]]] = {way.name: [] for way in WAYS}
        for seed in SEEDS:
            for way in WAYS:
                found[way.name].append(measure(out, way, seed))
                progress.advance()
                write(out, found)
    print((out / "looking.md").read_text())


def measure(out: Path, way: Way, seed: int) -> dict[str, float | None]:
    """Train one way with one seed and put it to the test; None for what it has not."""
    run = out / "runs" / f"{way.folder}-{seed}"
    trained = train(
        out / "clips", out=run, backbone=way.backbone, seed=seed, store=out / "features",
        **{**SETTINGS, **way.options},
    )  # fmt: skip
    with fine_shares() as shares:
        test = evaluate_clips(run, store=out / "features")
    own, coarse = aim_of(test), aim_of(on_7x7(test))
    measures = {
        "accuracy": test.scores.value,
        "validation accuracy": trained.validation,
        "pointing": own.pointing,
        "pointing chance": own.pointing_chance,
        "energy": own.energy,
        "energy chance": own.energy_chance,
        "pointing on 7x7": coarse.pointing,
        "share of fine stage": float(np.mean(shares)) if shares else np.nan,
    }
    return {name: None if np.isnan(value) else value for name, value in measures.items()}


def on_7x7(test: Evaluation) -> Evaluation:
    """The same with finer attention summed over 7x7 places, so that all are measured alike."""
    results = []
    for result in test.results:
        maps = result.attention_maps
        if maps is not None:
            ratio = maps.shape[1] // 7
            summed = maps.reshape(-1, 7, ratio, 7, ratio).sum((2, 4))
            result = replace(result, attention=summed.reshape(-1, 49))
        results.append(result)
    return replace(test, results=tuple(results))


@contextmanager
def fine_shares() -> Iterator[list[float]]:
    """How much of the location softmax is on the finer of two stages, in each pass of a batch."""
    shares: list[float] = []

    def listen(module: torch.nn.Module, inputs: Any, _: Any) -> None:
        if isinstance(module, Attention) and module.slices.fine_channels:
            softmax = module.scores(*inputs[1:]).softmax(-1)
            shares.append(float(softmax[:, module.slices.places :].sum(1).mean()))

    handle = register_module_forward_hook(listen)
    try:
        yield shares
    finally:
        handle.remove()


def write(out: Path, found: dict[str, list[dict[str, float | None]]]) -> None:
    """Write numbers and table."""
    with replacing(out / "looking.json") as part:
        part.write_text(json.dumps({"seeds": SEEDS, "settings": SETTINGS, "ways": found}, indent=1))
    lines = [
        "| | accuracy | of each seed | pointing on its own grid | pointing on 7x7 | energy "
        "| fine stage |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, runs in found.items():
        if runs:
            cells = {key: [run[key] for run in runs] for key in runs[0]}
            each = ", ".join(f"{100 * value:.0f}" for value in cells["accuracy"] if value)
            chance = spread(cells["pointing chance"][:1])
            lines.append(
                f"| {name} | {spread(cells['accuracy'])} | {each} "
                f"| {spread(cells['pointing'])}{f' (chance {chance})' if chance else ''} "
                f"| {spread(cells['pointing on 7x7'])} | {spread(cells['energy'])} "
                f"| {spread(cells['share of fine stage'])} |"
            )
    with replacing(out / "looking.md") as part:
        part.write_text("\n".join(lines) + "\n")


def spread(values: Sequence[float | None]) -> str:
    """Mean and standard deviation in per cent; nothing where there is nothing."""
    known = [100 * value for value in values if value is not None]
    if not known:
        return ""
    mean = f"{np.mean(known):.1f}"
    return f"{mean} ± {np.std(known, ddof=1):.1f}" if len(known) > 1 else mean


if __name__ == "__main__":
    main()
