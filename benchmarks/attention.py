"""Accuracy and localisation of attention and its baselines, on clips with annotations actors.

    python benchmarks/attention.py OUT [--real CLIPS] [--only STUDY] [--ways WAY]

This makes five new draws of the generated set for each preset, trains every model on each of them,
and writes `OUT/attention.json` and `OUT/attention.md`. With `--real`, a folder of real clips, it
does the same on those, in folds by recording. If the command is interrupted, the same command
resumes it. Several commands with one OUT and different values of `--only` share the work.

All comparisons are paired: with one seed, all models use the same clips and the same split, and if
their shapes agree, the same blocks in the same order. A difference in the table is the mean of the
five paired differences, with a 95 % confidence interval (Student's t). docs/lab-book.md
describes how the settings were chosen.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from paired import REAL_SETTINGS, half_width

from glimpses import backbones, datasets
from glimpses.datasets.annotations import annotations_for
from glimpses.datasets.layouts import feature_set
from glimpses.datasets.synthetic import generate
from glimpses.evaluation import Evaluation, evaluate_clips
from glimpses.evaluation.pointing_game import StepLocalisation, localise_steps
from glimpses.features import ClipFeatures, CubeStore, FeatureStore, extract
from glimpses.training import TrainOptions, train
from glimpses.utils.files import atomic_write
from glimpses.utils.progress import bar

SEEDS = (201, 202, 203, 204, 205)
GROUPS, FPS, FOLDS = 60, 10.0, 5
SETTINGS: dict[str, Any] = {
    "block_length": 10, "hidden_size": 128, "attention_size": 64, "epochs": 20, "dropout": 0.2,
    "learning_rate": 2e-3, "schedule": "one-cycle",
}  # fmt: skip

LAST, FINE, POOLED = "efficientnet_lite0", "efficientnet_lite0:16", "efficientnet_lite0:16:7"
BOTH = "efficientnet_lite0:head+16"


@dataclass(frozen=True)
class Way:
    """One row of a table.

    Attributes:
        folder: folder of its runs.
        name: name in the table.
        options: further options of `train`; None for the oracle, whose input is the mean of the
            features on the actor, with the same LSTMs.
    """

    folder: str
    name: str
    options: dict[str, Any] | None = field(default_factory=dict)


SOFTMAX = Way("softmax", "softmax regression, whole cube", {"model": "softmax"})
AVERAGE = Way("average", "average pooling", {"model": "average", "motion": False})
MAX = Way("max", "max pooling", {"model": "max", "motion": False})
LOCATION = Way(
    "location", "attention, `location` (Eq. 1)", {"attention": "location", "motion": False}
)
CONTENT = Way("content", "attention, `content`", {"motion": False})
MOTION = Way("motion", "attention, `content`, with motion", {"motion": True})
FOLLOWING = Way("following", "attention, `content`, with motion bias", {"motion_bias": True})
BOTH_MOTIONS = Way(
    "following-motion",
    "attention, `content`, with motion and motion bias",
    {"motion_bias": True, "motion": True},
)
AVERAGE_MOTION = Way(
    "average-motion", "average pooling, with motion", {"model": "average", "motion": True}
)
MAX_MOTION = Way("max-motion", "max pooling, with motion", {"model": "max", "motion": True})
ALONE = Way(
    "following-motion-alone",
    "attention, `content`, with motion only and motion bias",
    {"motion_bias": True, "motion": True, "motion_only": True},
)
LOCATION_ALONE = Way(
    "location-following-motion-alone",
    "attention, `location`, with motion only and motion bias",
    {"attention": "location", "motion_bias": True, "motion": True, "motion_only": True},
)
AVERAGE_ALONE = Way(
    "average-motion-alone",
    "average pooling, with motion only",
    {"model": "average", "motion": True, "motion_only": True},
)
MAX_ALONE = Way(
    "max-motion-alone",
    "max pooling, with motion only",
    {"model": "max", "motion": True, "motion_only": True},
)
ONE = Way("lambda-1", "the same, lambda = 1", {"attention_penalty": 1.0, "motion": False})
TEN = Way("lambda-10", "the same, lambda = 10", {"attention_penalty": 10.0, "motion": False})
SHARE = Way(
    "share-1",
    "the same, lambda = 1 towards T/K^2",
    {"attention_penalty": 1.0, "attention_target": "share", "motion": False},
)
HARD = Way("hard", "hard attention", {"attention_mode": "hard", "motion": False})
ORACLE = Way("oracle", "oracle: the actor's own places", None)
POOLINGS = (
    "softmax", "average", "max", "average-motion", "max-motion", "average-motion-alone",
    "max-motion-alone",
)  # fmt: skip


@dataclass(frozen=True)
class Study:
    """One table: a preset of the generated set or real clips, a backbone, and the rows.

    Attributes:
        title: title of the table.
        preset: preset of the generated set; None for the real clips.
        backbone: CNN and stage.
        ways: the rows.
        settings: settings that differ from `SETTINGS`.
    """

    title: str
    preset: Any
    backbone: str
    ways: tuple[Way, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)


FINE_WAYS = (AVERAGE, MAX, CONTENT, FOLLOWING, MOTION, ORACLE)
REAL_WAYS = (
    BOTH_MOTIONS, AVERAGE, MAX, AVERAGE_MOTION, MAX_MOTION, SOFTMAX, FOLLOWING, CONTENT, MOTION,
)  # fmt: skip
REAL_LAST_WAYS = (
    LOCATION_ALONE, AVERAGE_ALONE, AVERAGE_MOTION, MAX_ALONE, MAX_MOTION, ALONE, BOTH_MOTIONS,
    SOFTMAX, AVERAGE, MAX,
)  # fmt: skip
STUDIES = {
    "paper": Study(
        "`standard`, stage 16 pooled to 7x7x224",
        "standard",
        POOLED,
        (SOFTMAX, AVERAGE, MAX, LOCATION, CONTENT, ONE, TEN, SHARE, HARD, MOTION, ORACLE),
    ),
    "last": Study("`standard`, last stage, 7x7x1280", "standard", LAST, (AVERAGE, CONTENT, ORACLE)),
    "both": Study("`standard`, both stages, 7x7 and 14x14", "standard", BOTH, (CONTENT,)),
    "standard": Study("`standard`, stage 16, 14x14x112", "standard", FINE, FINE_WAYS),
    # 20 epochs are too few; 30 are the default of `train`.
    "hard": Study("`hard`, stage 16, 14x14x112", "hard", FINE, FINE_WAYS, {"epochs": 30}),
    "cue": Study("`cue`, stage 16, 14x14x112", "cue", FINE, FINE_WAYS),
    "real": Study("real clips, stage 16 pooled to 7x7x224", None, POOLED, REAL_WAYS, REAL_SETTINGS),
    "real-last": Study(
        "real clips, last stage, 7x7x1280", None, LAST, REAL_LAST_WAYS, REAL_SETTINGS
    ),
}


def main() -> None:
    """Run the studies."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("out", type=Path, help="folder for clips, features, runs and the tables")
    parser.add_argument("--real", type=Path, help="folder of real clips with a groups.csv")
    parser.add_argument("--only", nargs="+", choices=STUDIES, default=list(STUDIES))
    parser.add_argument("--seeds", nargs="+", type=int, default=SEEDS)
    ways = sorted({way.folder for study in STUDIES.values() for way in study.ways})
    parser.add_argument("--ways", nargs="+", choices=ways, default=ways, help="only these rows")
    arguments = parser.parse_args()
    studies = {
        name: replace(
            STUDIES[name],
            ways=tuple(way for way in STUDIES[name].ways if way.folder in arguments.ways),
        )
        for name in arguments.only
        if STUDIES[name].preset or arguments.real
    }
    total = sum(len(study.ways) for study in studies.values()) * len(arguments.seeds)
    with bar("attention", total) as progress:
        # Seed by seed, so that an interrupted study has whole pairs.
        for seed in arguments.seeds:
            for name, study in studies.items():
                prepare(arguments.out, study, seed)
                for way in study.ways:
                    measure(arguments.out, arguments.real, name, way, seed)
                    progress.advance()
                    write(arguments.out)
    print((arguments.out / "attention.md").read_text())


def prepare(out: Path, study: Study, seed: int) -> None:
    """Make a draw of the generated set, and compute pooled cubes of stage 16 from unpooled ones.

    They differ from the cubes that `extract` would store only by rounding to half precision, and
    save a pass of the CNN. Other features are extracted when a training needs them.
    """
    if study.preset is None:
        return
    clips = out / "clips" / f"{study.preset}-{seed}"
    generate(clips, preset=study.preset, groups=GROUPS, seed=seed)
    if study.backbone == POOLED:
        store = FeatureStore(out / "features", backbones.load(POOLED), FPS)
        for clip in extract(
            clips, backbone=FINE, fps=FPS, feature_dir=out / "features"
        ).clips.values():
            if not store.is_intact(clip.digest):
                cubes = (
                    clip.block(0, len(clip)).reshape(-1, 7, 2, 7, 2, 112).transpose(2, 3).float()
                )
                places = cubes.reshape(-1, 49, 4, 112)
                pooled = torch.cat([places.mean(2), places.amax(2)], dim=-1)
                put(store, clip.digest, clip, pooled.half())


def put(store: CubeStore, digest: str, clip: ClipFeatures, cubes: torch.Tensor) -> None:
    """Store the cubes of a short clip."""
    store.write_part(digest, 0, cubes.numpy())
    store.finish(digest, clip.times.tolist(), clip.problem)


def measure(out: Path, real: Path | None, name: str, way: Way, seed: int) -> None:
    """Train and test one row with one seed; save the results."""
    study = STUDIES[name]
    path = out / "measures" / name / f"{way.folder}-{seed}.json"
    if path.exists():
        return
    localisation: dict[str, Any] = {}
    correct: list[bool] = []
    for fold in range(FOLDS) if study.preset is None else (0,):
        data = real if study.preset is None else out / "clips" / f"{study.preset}-{seed}"
        assert data is not None
        if way.options is None:
            data = make_oracle_set(out, data, study, seed)
        run = out / "runs" / name / f"{way.folder}-{seed}-{fold}"
        options = AVERAGE.options if way.options is None else way.options
        options = SETTINGS | study.settings | options | {"fold": fold, "fps": FPS}
        options |= {"backbone": study.backbone, "feature_dir": out / "features"}
        train(
            data, out=run, recipe="standard", seed=seed, **TrainOptions.from_flat(options)._asdict()
        )
        test = evaluate_clips(run, feature_dir=out / "features")
        correct += [
            int(result.probabilities.argmax()) in clip.labels
            for clip, result in zip(test.clips, test.results, strict=True)
        ]
        localisation |= measure_localisation(test)
    with atomic_write(path) as part:
        part.write_text(json.dumps({"accuracy": float(np.mean(correct)), **localisation}))


def measure_localisation(test: Evaluation) -> dict[str, float]:
    """Pointing, energy, area under the ROC curve and chance over all steps of all clips."""
    annotations = annotations_for(test.clips)
    steps = []
    for clip, result, times in zip(test.clips, test.results, test.times, strict=True):
        maps = result.attention_maps
        if maps is not None and clip.id in annotations:
            share = annotations[clip.id].occupancy(times, maps.shape[1])
            steps.append(localise_steps(maps.reshape(len(maps), -1), share.reshape(len(maps), -1)))
    if not steps:
        return {}
    return {
        name: float(np.nanmean(np.concatenate([getattr(aims, name) for aims in steps])))
        for name in StepLocalisation._fields
    }


def make_oracle_set(out: Path, data: Path, study: Study, seed: int) -> Path:
    """Write a data set of cubes with one place: the mean of the features on the actor."""
    root = out / "oracle" / f"{study.preset}-{seed}-{study.backbone.replace(':', '-')}"
    if feature_set.matches(root):
        return root
    dataset = datasets.load(data)
    annotations = annotations_for(dataset.clips)
    extracted = extract(data, backbone=study.backbone, fps=FPS, feature_dir=out / "features")
    split = datasets.split(dataset, None)
    sides = {
        clip.id: side for side in ("train", "validation", "test") for clip in vars(split)[side]
    }
    store = CubeStore(root / feature_set.CUBES)
    entries = []
    for clip in dataset.clips:
        features = extracted.clips[clip.id]
        share = torch.from_numpy(
            annotations[clip.id].occupancy(features.times, extracted.grid)
        ).flatten(1)
        # Without a visible actor the oracle attends to all places.
        share = torch.where(share.sum(1, keepdim=True) > 0, share, 1.0)
        weights = (share / share.sum(1, keepdim=True)).float()
        cubes = torch.einsum("tp,tpd->td", weights, features.block(0, len(features)).float())
        put(store, features.digest, features, cubes.unsqueeze(1).half())
        entries.append(
            feature_set.FeatureClip(
                clip.id, clip.labels, clip.group, len(features), sides[clip.id], features.digest
            )
        )
    feature_set.write(
        root,
        feature_set.FeatureSet(
            classes=dataset.classes, multi_label=False, grouped=True,
            backbone=f"oracle:{study.backbone}", weights=extracted.weights, fps=FPS, size=224,
            grid=1, channels=extracted.channels,
            clips=tuple(sorted(entries, key=lambda entry: entry.id)),
        ),
    )  # fmt: skip
    return root


def write(out: Path) -> None:
    """Write all available numbers, and the tables."""
    results: dict[str, dict[str, dict[str, dict[str, float]]]] = {}
    for path in sorted((out / "measures").glob("*/*.json")):
        way, _, seed = path.stem.rpartition("-")
        results.setdefault(path.parent.name, {}).setdefault(way, {})[seed] = json.loads(
            path.read_text()
        )
    with atomic_write(out / "attention.json") as part:
        part.write_text(
            json.dumps(
                {
                    "settings": SETTINGS,
                    "settings on real clips": REAL_SETTINGS,
                    "groups": GROUPS,
                    "studies": results,
                },
                indent=1,
            )
        )
    with atomic_write(out / "attention.md") as part:
        part.write_text("\n".join(tables(results)) + "\n")


def tables(results: dict[str, dict[str, dict[str, dict[str, float]]]]) -> Iterator[str]:
    """Yield every study as a Markdown table, in %."""
    for name, study in STUDIES.items():
        ways = results.get(name)
        if not ways:
            continue
        aims = next((v for way in ways.values() for v in way.values() if "pointing" in v), None)
        yield f"**{study.title}**\n"
        yield "| | accuracy | single seeds | gain over the best pooling | pointing | energy | AUC |"
        yield "|---|---|---|---|---|---|---|"
        for way in study.ways:
            runs = ways.get(way.folder)
            if not runs:
                continue
            values = [100 * run["accuracy"] for run in runs.values()]
            each = ", ".join(f"{value:.0f}" for value in values)
            cells = [spread(runs, key) for key in ("pointing", "energy", "auc")]
            better = "" if way.folder in POOLINGS else margin(ways, way.folder)
            yield f"| {way.name} | {spread(runs, 'accuracy')} | {each} | {better} | " + (
                " | ".join(cells) + " |"
            )
        if aims:
            chance = f"{100 * aims['chance']:.1f}"
            yield f"| *chance level* | 16.7 | | | {chance} | {chance} | 50 |"
        yield ""


def spread(runs: dict[str, dict[str, float]], key: str) -> str:
    """Return mean and standard deviation over seeds; empty if there is no value."""
    values = [100 * run[key] for run in runs.values() if key in run]
    if not values:
        return ""
    mean = f"{np.mean(values):.1f}"
    return f"{mean} ± {np.std(values, ddof=1):.1f}" if len(values) > 1 else mean


def margin(ways: dict[str, dict[str, dict[str, float]]], way: str) -> str:
    """Return the mean gain over the best pooling model of each seed, with its interval."""
    poolings = [ways[name] for name in POOLINGS if name in ways]
    gains = [
        100 * (run["accuracy"] - max(pooling[seed]["accuracy"] for pooling in poolings))
        for seed, run in ways[way].items()
        if poolings and all(seed in pooling for pooling in poolings)
    ]
    # Two differences are too few for an interval.
    if len(gains) < 3:
        return ""
    half = half_width(gains)
    return f"{np.mean(gains):+.1f} ({np.mean(gains) - half:+.1f} to {np.mean(gains) + half:+.1f})"


if __name__ == "__main__":
    main()
