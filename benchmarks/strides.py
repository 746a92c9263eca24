"""What the stride of blocks costs and brings, in training and in testing.

The paper moves its blocks of 30 frames by one frame, so that each frame is read thirty times. This
trains the attention model with several strides on the folds of a folder of clips, tests each at
several strides, and prints accuracy and training time as a table:

    python benchmarks/strides.py CLIPS --out strides

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
from glimpses.evaluation import score
from glimpses.features import extract
from glimpses.files import replacing
from glimpses.prediction import predict_clips
from glimpses.training import train

SETTINGS: dict[str, Any] = {
    "backbone": "efficientnet_lite0:16:7", "fps": 30.0, "steps": 30, "hidden": 128,
    "epochs": 15, "patience": 15,
}  # fmt: skip
# None draws as many blocks at random as cover each clip once, anew in every epoch.
TRAINING = (1, 5, 15, 30, None)
TESTING = (1, 5, 15, 30)


def main() -> None:
    """Run the study and print its table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("clips", type=Path, help="folder with one folder of clips per action")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--folds", type=int, default=5)
    given = parser.parse_args()
    results = [
        one
        for stride in TRAINING
        for fold in range(given.folds)
        for one in _fold(given.clips, given.out, stride, fold, given.folds)
    ]
    with replacing(given.out / "strides.json") as part:
        part.write_text(json.dumps(results, indent=1))
    print(_table(results))


def _fold(
    clips: Path, out: Path, stride: int | None, fold: int, folds: int
) -> list[dict[str, Any]]:
    """Train once and test at every stride; what was done before is read."""
    run = out / f"stride-{stride or 'random'}-fold{fold}"
    done = run / "strides.json"
    if done.exists():
        return list(json.loads(done.read_text()))
    started = time.process_time()
    train(clips, out=run, train_stride=stride, fold=fold, folds=folds, **SETTINGS)
    seconds = time.process_time() - started
    config, model = runs.load_model(run)
    features = extract(clips, backbone=config.backbone, fps=config.fps)
    tested = [c for c in datasets.load(clips).clips if c.id in config.split["test"]]
    found = []
    for testing in TESTING:
        started = time.process_time()
        probabilities = [
            result.probabilities
            for result in predict_clips(
                model, [features.clips[c.id] for c in tested], steps=config.steps, stride=testing
            )
        ]
        scores = score(tested, np.stack(probabilities), config.classes)
        found.append({
            "training": stride, "testing": testing, "fold": fold, "clips": len(tested),
            "accuracy": scores.value, "training seconds": seconds,
            "testing seconds": time.process_time() - started,
        })  # fmt: skip
    with replacing(done) as part:
        part.write_text(json.dumps(found))
    return found


def _table(results: list[dict[str, Any]]) -> str:
    """Accuracy over folds by stride, per cent, and the CPU time of training beside stride 1's."""
    lines = [
        "| stride in training | "
        + " | ".join(f"tested at {stride}" for stride in TESTING)
        + " | training time |",
        "| --- |" + " ---: |" * (len(TESTING) + 1),
    ]

    def of(training: int | None, testing: int, name: str) -> list[float]:
        return [
            r[name] for r in results if r["training"] == training and r["testing"] == testing
        ]  # fmt: skip

    whole = mean(of(1, TESTING[0], "training seconds"))
    for training in TRAINING:
        cells = []
        for testing in TESTING:
            values = [100 * value for value in of(training, testing, "accuracy")]
            cells.append(f"{mean(values):.1f} ± {stdev(values):.1f}")
        share = mean(of(training, TESTING[0], "training seconds")) / whole
        lines.append(f"| {training or 'random'} | {' | '.join(cells)} | {share:.2f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
