"""What the stride of blocks costs and brings, in training and in testing.

The paper moves its blocks by one frame, so that each frame is read in as many blocks as a block has
frames. This trains the attention model with several strides on generated clips (`glimpses actors`,
new ones for every seed), tests each at several strides, and prints accuracy and the processor time
of training as a table:

    python benchmarks/strides.py --out strides

Settings are fixed here and were before the first run. Interrupted, the same command goes on. Times
are of one machine and one run; only their ratios mean something.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np

from glimpses import datasets, runs
from glimpses.datasets import actors
from glimpses.evaluation import score
from glimpses.features import extract
from glimpses.files import replacing
from glimpses.prediction import predict_clips
from glimpses.training import train

# As in the demo: clips of 30 frames, blocks of 10.
GROUPS = 60
SETTINGS: dict[str, Any] = {
    "backbone": "efficientnet_lite0:16:7", "fps": 10.0, "steps": 10, "hidden": 128,
    "epochs": 15, "learning_rate": 5e-4, "schedule": "constant", "dropout": 0.5,
    "motion": False, "attention_size": 128,
}  # fmt: skip
# None draws as many blocks at random as cover each clip once, anew in every epoch.
TRAINING = (1, 2, 5, 10, None)
TESTING = (1, 2, 5, 10)


def main() -> None:
    """Run the study and print its table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    results = [
        one
        for seed in range(given.seeds)
        for stride in TRAINING
        for one in _measure(given.out, stride, seed)
    ]
    with replacing(given.out / "strides.json") as part:
        part.write_text(json.dumps(results, indent=1))
    print(_table(results))


def _measure(out: Path, stride: int | None, seed: int) -> list[dict[str, Any]]:
    """Train once and test at every stride; what was done before is read."""
    clips, store = out / f"clips-{seed}", out / "features"
    run = out / f"stride-{stride or 'random'}-seed{seed}"
    done = run / "strides.json"
    if done.exists():
        return list(json.loads(done.read_text()))
    actors.generate(clips, groups=GROUPS, seed=seed)
    given = {name: SETTINGS[name] for name in ("backbone", "fps")}
    features = extract(clips, store=store, **given)
    started = time.process_time()
    train(clips, out=run, train_stride=stride, seed=seed, store=store, **SETTINGS)
    seconds = time.process_time() - started
    config, model = runs.load_model(run)
    tested = [clip for clip in datasets.load(clips).clips if clip.id in config.split["test"]]
    found = []
    for testing in TESTING:
        results = predict_clips(
            model, [features.clips[clip.id] for clip in tested], steps=config.steps, stride=testing
        )
        probabilities = np.stack([result.probabilities for result in results])
        found.append({
            "training": stride, "testing": testing, "seed": seed, "clips": len(tested),
            "accuracy": score(tested, probabilities, config.classes).value, "seconds": seconds,
        })  # fmt: skip
    with replacing(done) as part:
        part.write_text(json.dumps(found))
    return found


def _table(results: list[dict[str, Any]]) -> str:
    """Accuracy over seeds by stride, per cent, and the time of training beside stride 1's."""
    header = ["stride in training", *(f"tested at {stride}" for stride in TESTING), "time"]
    lines = [_line(header), _line(["---", *["---:"] * (len(header) - 1)])]
    whole = mean(one["seconds"] for one in results if one["training"] == TRAINING[0])
    for training in TRAINING:
        own = [one for one in results if one["training"] == training]
        cells = [str(training or "random")]
        for testing in TESTING:
            values = [100 * one["accuracy"] for one in own if one["testing"] == testing]
            spread = f" ± {stdev(values):.1f}" if len(values) > 1 else ""
            cells.append(f"{mean(values):.1f}{spread}")
        lines.append(_line([*cells, f"{mean(one['seconds'] for one in own) / whole:.2f}"]))
    return "\n".join(lines)


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
