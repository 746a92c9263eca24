"""Accuracy lost by faster extraction: the CNN in 8-bit integers, and shared cubes of static frames.

    python benchmarks/shortcuts.py OUT [--real CLIPS] [--ways WAY ...] [--seeds SEED ...]

This extracts the same clips in every way, trains the same model on the features of each way, and
writes `OUT/shortcuts.json` and `OUT/shortcuts.md`: the CPU time of extraction relative to single
precision, and the loss in accuracy. The data are one draw of the generated set per seed, and with
`--real` a folder of real clips, whose recordings every seed assigns to five folds again. If the
command is interrupted, the same command resumes it.

All comparisons are paired: with one seed, all ways use the same clips, split, blocks and initial
weights. A loss is the mean of the differences over seeds, with a 95 % confidence interval
(Student's t). The model that was trained on the usual features is also tested on the others without
retraining; that loss has no training noise.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
from paired import REAL_SETTINGS, half_width

from glimpses import backbones, runs
from glimpses.backbones.quantize import calibration_frames
from glimpses.datasets.synthetic import generate
from glimpses.evaluation import evaluate_clips
from glimpses.features import Features, extract
from glimpses.training import TrainOptions, train
from glimpses.utils.files import atomic_write

BACKBONE, FPS, GROUPS, FOLDS = "efficientnet_lite0:16:7", 10.0, 60, 5
SEEDS, ROUNDS = (201, 202, 203, 204, 205), 9
GENERATED, REAL = "generated", "real"
# The generated set uses the defaults of `train`, with which models overfit the few real clips.
SETTINGS: dict[str, dict[str, Any]] = {
    GENERATED: {},
    REAL: REAL_SETTINGS | {"motion_bias": True},
}


@dataclass(frozen=True)
class Way:
    """One way of computing features.

    Attributes:
        backbone: spec of the network.
        skip_static: difference below which frames share a cube.
    """

    backbone: str = BACKBONE
    skip_static: float = 0.0


# The other ways are compared with the usual one.
USUAL, INT8 = "float32", "int8"
WAYS = {
    USUAL: Way(),
    INT8: Way(backbone=f"{BACKBONE}@int8"),
    "skip-static-2": Way(skip_static=2),
    "skip-static-4": Way(skip_static=4),
    "skip-static-8": Way(skip_static=8),
}


def main() -> None:
    """Run the study."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("out", type=Path, help="folder for clips, features, runs and the tables")
    parser.add_argument("--real", type=Path, help="folder of real clips with a groups.csv")
    parser.add_argument("--only", choices=(GENERATED, REAL))
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--seeds", nargs="+", type=int, default=SEEDS)
    args = parser.parse_args()
    studies = [GENERATED, REAL] if args.real else [GENERATED]
    save_once(args.out / "speed.json", speed)
    # Seed by seed, so that an interrupted study has whole pairs.
    for seed in args.seeds:
        for study in [args.only] if args.only else studies:
            data = args.real
            if study == GENERATED:
                data = args.out / "clips" / f"standard-{seed}"
                generate(data, preset="standard", groups=GROUPS, seed=seed)
            for way in dict.fromkeys((USUAL, *args.ways)):
                measure(args.out, study, data, way, seed)
                write(args.out)
    print((args.out / "shortcuts.md").read_text())


def measure(out: Path, study: str, data: Path, way: str, seed: int) -> None:
    """Extract, train and test in one way with one seed; skip what was measured before."""
    save_once(
        out / "extracted" / study / f"{way}-{data.name}.json",
        lambda: extracted(out, data, WAYS[way]),
    )
    save_once(
        out / "measures" / study / f"{way}-{seed}.json",
        lambda: tested(out, study, data, way, seed),
    )


def extracted(out: Path, data: Path, way: Way) -> dict[str, Any]:
    """Extract; return the number of frames, of computed frames, and the CPU time."""
    started = time.process_time()
    features = compute_features(out, data, way)
    seconds = time.process_time() - started
    frames, repeated = 0, 0
    for clip in features.clips.values():
        cubes = clip.block(0, len(clip)).numpy()
        frames += len(cubes)
        # Equal frames have equal cubes in every way; only --skip-static does not compute them.
        repeated += int((cubes[1:] == cubes[:-1]).all((1, 2)).sum()) if way.skip_static else 0
    return {"frames": frames, "computed": frames - repeated, "seconds": seconds}


def compute_features(out: Path, data: Path, way: Way) -> Features:
    """Return the features of a data set in one way."""
    return extract(
        data,
        backbone=way.backbone,
        fps=FPS,
        skip_static=way.skip_static,
        feature_dir=out / "features",
    )


def tested(out: Path, study: str, data: Path, way: str, seed: int) -> dict[str, Any]:
    """Train and test on the features of a way; also test the usual model on them."""
    retrained, unchanged = [], []
    for fold in range(FOLDS) if study == REAL else (0,):
        run = out / "runs" / study / f"{way}-{seed}-{fold}"
        options = {
            "backbone": WAYS[way].backbone, "fps": FPS, "skip_static": WAYS[way].skip_static,
            "fold": fold, "feature_dir": out / "features",
        }  # fmt: skip
        groups = TrainOptions.from_flat(options | SETTINGS[study])
        train(data, out=run, recipe="standard", seed=seed, **groups._asdict())
        retrained += correct(run, out / "features")
        usual, copy = out / "runs" / study / f"{USUAL}-{seed}-{fold}", out / "copy"
        copy_run(usual, copy, compute_features(out, data, WAYS[way]))
        unchanged += correct(copy, out / "features")
    return {
        "accuracy": mean(retrained),
        "not retrained": mean(unchanged),
        "clips": len(retrained),
    }


def copy_run(run: Path, copy: Path, features: Features) -> None:
    """Copy a run, with other features as its input."""
    config, model = runs.load_model(run)
    runs.write_config(
        copy,
        replace(
            config,
            data=replace(config.data, backbone=features.backbone, skip_static=features.skip_static),
        ),
    )
    runs.save_model(copy, model)


def correct(run: Path, store: Path) -> list[bool]:
    """Return for every test clip whether it is classified correctly."""
    test = evaluate_clips(run, feature_dir=store)
    return [
        int(result.probabilities.argmax()) in clip.labels
        for clip, result in zip(test.clips, test.results, strict=True)
    ]


def speed() -> dict[str, Any]:
    """Measure CPU seconds per frame in single precision and in integers, in turn, on one core."""
    engines = {way: backbones.load(WAYS[way].backbone, threads=1) for way in (USUAL, INT8)}
    # The second half was not used for calibration.
    frames = calibration_frames(224, 96)[48:]
    cubes = {way: engine(frames).numpy() for way, engine in engines.items()}
    taken: dict[str, list[float]] = {way: [] for way in engines}
    for _ in range(ROUNDS):
        for way, engine in engines.items():
            started = time.process_time()
            engine(frames)
            taken[way].append((time.process_time() - started) / len(frames))
    difference = np.sqrt(np.square(cubes[INT8] - cubes[USUAL]).mean((0, 1)))
    return {**taken, "error": float((difference / cubes[USUAL].std((0, 1))).mean())}


def save_once(file: Path, measure_it: Any) -> None:
    """Measure once, and save the result."""
    if not file.exists():
        result = measure_it()
        with atomic_write(file) as part:
            part.write_text(json.dumps(result))


def write(out: Path) -> None:
    """Write all available numbers, and the tables."""
    speeds = json.loads((out / "speed.json").read_text())
    taken, studies = collect(out / "extracted"), collect(out / "measures")
    numbers = {"speed": speeds, "extraction": taken, "studies": studies}
    with atomic_write(out / "shortcuts.json") as part:
        part.write_text(json.dumps(numbers, indent=1))
    with atomic_write(out / "shortcuts.md") as part:
        part.write_text("\n".join(tables(speeds, taken, studies)) + "\n")


def collect(folder: Path) -> dict[str, dict[str, dict[str, dict[str, Any]]]]:
    """Return saved results by study, way and seed or data set."""
    studies: dict[str, dict[str, dict[str, dict[str, Any]]]] = {}
    for study in (GENERATED, REAL):
        for way in WAYS:
            files = sorted((folder / study).glob(f"{way}-*.json"))
            if files:
                studies.setdefault(study, {})[way] = {
                    file.stem.removeprefix(f"{way}-"): json.loads(file.read_text())
                    for file in files
                }
    return studies


def tables(speeds: dict[str, Any], taken: dict[str, Any], studies: dict[str, Any]) -> Iterator[str]:
    """Yield the results as Markdown."""
    ratios = np.divide(speeds[USUAL], speeds[INT8])
    yield (
        f"One frame, one core: {1e3 * np.median(speeds[USUAL]):.1f} ms in float32, "
        f"{1e3 * np.median(speeds[INT8]):.1f} in int8: {np.median(ratios):.2f} "
        f"({ratios.min():.2f}-{ratios.max():.2f}) times as fast. The error of its cubes "
        f"is {speeds['error']:.2f} of a channel's standard deviation.\n"
    )
    yield "| clips | way | frames computed | CPU time | seeds | accuracy | loss | not retrained |"
    yield "|---|---|---:|---:|---:|---:|---:|---:|"
    for study, ways in studies.items():
        for way, measures in ways.items():
            share, cost = extraction(taken[study], way)
            accuracy = 100 * mean(one["accuracy"] for one in measures.values())
            cells = [study, way, f"{share:.0%}", f"{cost:.2f}", len(measures), f"{accuracy:.1f}"]
            for name in ("accuracy", "not retrained"):
                cells.append("" if way == USUAL else loss(ways[USUAL], measures, name))
            yield f"| {' | '.join(map(str, cells))} |"


def extraction(taken: dict[str, Any], way: str) -> tuple[float, float]:
    """Return the fraction of frames that were computed, and CPU time relative to the usual way."""
    results = list(taken[way].values())
    usual = [taken[USUAL][name] for name in taken[way]]
    return (
        sum(one["computed"] for one in results) / sum(one["frames"] for one in results),
        sum(one["seconds"] for one in results) / sum(one["seconds"] for one in usual),
    )


def loss(usual: dict[str, Any], measures: dict[str, Any], name: str) -> str:
    """Return the mean loss in points over seeds, with an interval for three seeds or more."""
    losses = [100 * (usual[seed]["accuracy"] - one[name]) for seed, one in measures.items()]
    text = f"{mean(losses):+.2f}"
    if len(losses) < 3:
        return text
    half = half_width(losses)
    return f"{text} ({mean(losses) - half:+.2f} to {mean(losses) + half:+.2f})"


if __name__ == "__main__":
    main()
