"""What sooner features cost: the CNN in 8-bit integers, and cubes of nearly equal frames reused.

    python benchmarks/shortcuts.py OUT [--real CLIPS] [--ways WAY ...] [--seeds SEED ...]

extracts the same clips by every way, trains the same model on each way's features, and writes
`OUT/shortcuts.json` and `OUT/shortcuts.md`: the CPU time of extraction beside the usual way's, and
what the model loses. Data are draws of the generated set, one a seed, and with `--real` a folder of
real clips, of which every seed deals the sources to five folds anew. Interrupted, the same command
goes on where it was.

Everything is paired: with one seed all ways see the same clips, split, blocks and initial weights.
A loss is the mean of the seeds' differences, with a 95 % confidence interval (Student's t). The
model that was trained on the usual features is also shown the others as it stands; that loss has no
noise of training in it.
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
# On the generated set the defaults of `train`; real clips are few and learned by heart by those.
SETTINGS: dict[str, dict[str, Any]] = {
    GENERATED: {},
    REAL: REAL_SETTINGS | {"motion_bias": True},
}


@dataclass(frozen=True)
class Way:
    """How features are made.

    Attributes:
        backbone: what computes them.
        reuse: below which difference frames share a cube.
    """

    backbone: str = BACKBONE
    reuse: float = 0.0


# The others are held to the usual one.
USUAL, INT8 = "float32", "int8"
WAYS = {
    USUAL: Way(),
    INT8: Way(backbone=f"{BACKBONE}@int8"),
    "reuse-2": Way(reuse=2),
    "reuse-4": Way(reuse=4),
    "reuse-8": Way(reuse=8),
}


def main() -> None:
    """Run it all."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("out", type=Path, help="folder for clips, features, runs and the tables")
    parser.add_argument("--real", type=Path, help="folder of real clips with a groups.csv")
    parser.add_argument("--only", choices=(GENERATED, REAL))
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--seeds", nargs="+", type=int, default=SEEDS)
    given = parser.parse_args()
    studies = [GENERATED, REAL] if given.real else [GENERATED]
    keep(given.out / "speed.json", speed)
    # Seed by seed, so that an interrupted study has whole pairs.
    for seed in given.seeds:
        for study in [given.only] if given.only else studies:
            data = given.real
            if study == GENERATED:
                data = given.out / "clips" / f"standard-{seed}"
                generate(data, preset="standard", groups=GROUPS, seed=seed)
            for way in dict.fromkeys((USUAL, *given.ways)):
                measure(given.out, study, data, way, seed)
                write(given.out)
    print((given.out / "shortcuts.md").read_text())


def measure(out: Path, study: str, data: Path, way: str, seed: int) -> None:
    """Extract, train and test by one way with one seed; what was done before is left."""
    keep(
        out / "extracted" / study / f"{way}-{data.name}.json",
        lambda: extracted(out, data, WAYS[way]),
    )
    keep(
        out / "measures" / study / f"{way}-{seed}.json",
        lambda: tested(out, study, data, way, seed),
    )


def extracted(out: Path, data: Path, way: Way) -> dict[str, Any]:
    """Extract; how many frames there are, how many of them were computed, and the CPU time."""
    started = time.process_time()
    features = made(out, data, way)
    seconds = time.process_time() - started
    frames, repeated = 0, 0
    for clip in features.clips.values():
        cubes = clip.block(0, len(clip)).numpy()
        frames += len(cubes)
        # Frames that are equal give equal cubes by every way; only reuse does without the second.
        repeated += int((cubes[1:] == cubes[:-1]).all((1, 2)).sum()) if way.reuse else 0
    return {"frames": frames, "computed": frames - repeated, "seconds": seconds}


def made(out: Path, data: Path, way: Way) -> Features:
    """The features of a data set by one way."""
    return extract(
        data, backbone=way.backbone, fps=FPS, skip_static=way.reuse, feature_dir=out / "features"
    )


def tested(out: Path, study: str, data: Path, way: str, seed: int) -> dict[str, Any]:
    """Train on a way's features and test on them; show them to the usual way's model, too."""
    own, as_it_stands = [], []
    for fold in range(FOLDS) if study == REAL else (0,):
        run = out / "runs" / study / f"{way}-{seed}-{fold}"
        options = {
            "backbone": WAYS[way].backbone, "fps": FPS, "skip_static": WAYS[way].reuse,
            "fold": fold, "feature_dir": out / "features",
        }  # fmt: skip
        train(
            data, out=run, seed=seed, **TrainOptions.from_flat(options | SETTINGS[study])._asdict()
        )
        own += correct(run, out / "features")
        usual, told = out / "runs" / study / f"{USUAL}-{seed}-{fold}", out / "told"
        tell(usual, told, made(out, data, WAYS[way]))
        as_it_stands += correct(told, out / "features")
    return {"accuracy": mean(own), "as it stands": mean(as_it_stands), "clips": len(own)}


def tell(run: Path, copy: Path, features: Features) -> None:
    """Copy a run, as one that reads other features."""
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
    """Of every test clip whether it is recognised."""
    test = evaluate_clips(run, feature_dir=store)
    return [
        int(result.probabilities.argmax()) in clip.labels
        for clip, result in zip(test.clips, test.results, strict=True)
    ]


def speed() -> dict[str, Any]:
    """CPU seconds of a frame in single precision and in integers, in turn, on one core each."""
    engines = {way: backbones.load(WAYS[way].backbone, threads=1) for way in (USUAL, INT8)}
    # The second half was not calibrated on.
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


def keep(file: Path, measured: Any) -> None:
    """Measure once, and keep what that gave."""
    if not file.exists():
        found = measured()
        with atomic_write(file) as part:
            part.write_text(json.dumps(found))


def write(out: Path) -> None:
    """Write all numbers there are, and the tables."""
    speeds = json.loads((out / "speed.json").read_text())
    taken, found = collected(out / "extracted"), collected(out / "measures")
    numbers = {"speed": speeds, "extraction": taken, "studies": found}
    with atomic_write(out / "shortcuts.json") as part:
        part.write_text(json.dumps(numbers, indent=1))
    with atomic_write(out / "shortcuts.md") as part:
        part.write_text("\n".join(tables(speeds, taken, found)) + "\n")


def collected(folder: Path) -> dict[str, dict[str, dict[str, dict[str, Any]]]]:
    """What was kept, by study, way and seed or data set."""
    found: dict[str, dict[str, dict[str, dict[str, Any]]]] = {}
    for study in (GENERATED, REAL):
        for way in WAYS:
            kept = sorted((folder / study).glob(f"{way}-*.json"))
            if kept:
                found.setdefault(study, {})[way] = {
                    file.stem.removeprefix(f"{way}-"): json.loads(file.read_text()) for file in kept
                }
    return found


def tables(speeds: dict[str, Any], taken: dict[str, Any], found: dict[str, Any]) -> Iterator[str]:
    """Everything in Markdown."""
    ratios = np.divide(speeds[USUAL], speeds[INT8])
    yield (
        f"One frame, one core: {1e3 * np.median(speeds[USUAL]):.1f} ms in float32, "
        f"{1e3 * np.median(speeds[INT8]):.1f} in int8: {np.median(ratios):.2f} "
        f"({ratios.min():.2f}-{ratios.max():.2f}) times as fast. Its cubes are off by "
        f"{speeds['error']:.2f} of a channel's deviation.\n"
    )
    yield "| clips | way | frames computed | CPU time | seeds | accuracy | loss | as it stands |"
    yield "|---|---|---:|---:|---:|---:|---:|---:|"
    for study, ways in found.items():
        for way, measures in ways.items():
            share, cost = extraction(taken[study], way)
            accuracy = 100 * mean(one["accuracy"] for one in measures.values())
            cells = [study, way, f"{share:.0%}", f"{cost:.2f}", len(measures), f"{accuracy:.1f}"]
            for name in ("accuracy", "as it stands"):
                cells.append("" if way == USUAL else loss(ways[USUAL], measures, name))
            yield f"| {' | '.join(map(str, cells))} |"


def extraction(taken: dict[str, Any], way: str) -> tuple[float, float]:
    """Share of the frames that were computed, and CPU time as a share of the usual way's."""
    own = list(taken[way].values())
    usual = [taken[USUAL][name] for name in taken[way]]
    return (
        sum(one["computed"] for one in own) / sum(one["frames"] for one in own),
        sum(one["seconds"] for one in own) / sum(one["seconds"] for one in usual),
    )


def loss(usual: dict[str, Any], measures: dict[str, Any], name: str) -> str:
    """Points lost, mean over seeds, with an interval where there are three or more."""
    losses = [100 * (usual[seed]["accuracy"] - one[name]) for seed, one in measures.items()]
    text = f"{mean(losses):+.2f}"
    if len(losses) < 3:
        return text
    half = half_width(losses)
    return f"{text} ({mean(losses) - half:+.2f} to {mean(losses) + half:+.2f})"


if __name__ == "__main__":
    main()
