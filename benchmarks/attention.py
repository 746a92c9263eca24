"""Does attention pay, and does it look at the actor? Asked where the answer is known.

    python benchmarks/attention.py OUT [--real CLIPS] [--only STUDY] [--ways WAY]

makes five fresh draws of the generated set for each preset, trains every way of reading a cube on
each of them, and writes `OUT/attention.json` and `OUT/attention.md`. With `--real`, a folder of
real clips, the same question is asked of those, in folds by source. Interrupted, the same command
goes on where it was; several at once on one OUT, each with an `--only` of its own, share the work.

Everything is paired: with one seed all ways see the same clips and the same split, and where their
shapes agree the same blocks in the same order. What the table calls a difference is the mean of the
five paired ones, with a 95 % confidence interval (Student's t). How the settings below were found
is told in docs/experiments.md.
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
        folder: of its runs.
        name: in the table.
        options: what else `train` is told; None for the oracle, which is given the mean of the
            features on the actor, and learns from those by the same LSTMs.
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
FOLLOWING = Way("following", "attention, `content`, following motion", {"motion_bias": True})
BOTH_MOTIONS = Way(
    "following-motion",
    "attention, `content`, with motion and following it",
    {"motion_bias": True, "motion": True},
)
AVERAGE_MOTION = Way(
    "average-motion", "average pooling, with motion", {"model": "average", "motion": True}
)
MAX_MOTION = Way("max-motion", "max pooling, with motion", {"model": "max", "motion": True})
ALONE = Way(
    "following-motion-alone",
    "attention, `content`, with motion alone and following it",
    {"motion_bias": True, "motion": True, "motion_only": True},
)
LOCATION_ALONE = Way(
    "location-following-motion-alone",
    "attention, `location`, with motion alone and following it",
    {"attention": "location", "motion_bias": True, "motion": True, "motion_only": True},
)
AVERAGE_ALONE = Way(
    "average-motion-alone",
    "average pooling, with motion alone",
    {"model": "average", "motion": True, "motion_only": True},
)
MAX_ALONE = Way(
    "max-motion-alone",
    "max pooling, with motion alone",
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
    """One table: a preset of the generated set (or real clips), a backbone, and its rows.

    Attributes:
        title: over the table.
        preset: of the generated set; None for the real clips.
        backbone: CNN and stage.
        ways: its rows.
        settings: where they are others than `SETTINGS`.
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
    # It is not learned in 20 epochs; 30 are the default of `train`.
    "hard": Study("`hard`, stage 16, 14x14x112", "hard", FINE, FINE_WAYS, {"epochs": 30}),
    "cue": Study("`cue`, stage 16, 14x14x112", "cue", FINE, FINE_WAYS),
    "real": Study("real clips, stage 16 pooled to 7x7x224", None, POOLED, REAL_WAYS, REAL_SETTINGS),
    "real-last": Study(
        "real clips, last stage, 7x7x1280", None, LAST, REAL_LAST_WAYS, REAL_SETTINGS
    ),
}


def main() -> None:
    """Run it all."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("out", type=Path, help="folder for clips, features, runs and the tables")
    parser.add_argument("--real", type=Path, help="folder of real clips with a groups.csv")
    parser.add_argument("--only", nargs="+", choices=STUDIES, default=list(STUDIES))
    parser.add_argument("--seeds", nargs="+", type=int, default=SEEDS)
    ways = sorted({way.folder for study in STUDIES.values() for way in study.ways})
    parser.add_argument("--ways", nargs="+", choices=ways, default=ways, help="only these rows")
    given = parser.parse_args()
    asked = {
        name: replace(
            STUDIES[name],
            ways=tuple(way for way in STUDIES[name].ways if way.folder in given.ways),
        )
        for name in given.only
        if STUDIES[name].preset or given.real
    }
    total = sum(len(study.ways) for study in asked.values()) * len(given.seeds)
    with bar("attention", total) as progress:
        # Seed by seed, so that an interrupted study has whole pairs.
        for seed in given.seeds:
            for name, study in asked.items():
                prepare(given.out, study, seed)
                for way in study.ways:
                    measure(given.out, given.real, name, way, seed)
                    progress.advance()
                    write(given.out)
    print((given.out / "attention.md").read_text())


def prepare(out: Path, study: Study, seed: int) -> None:
    """Make a draw of the generated set, and the pooled cubes of stage 16 from the whole ones.

    They differ from what `extract` would store by no more than the rounding to half precision, and
    save a pass of the CNN. Other features are extracted when a training wants them.
    """
    if study.preset is None:
        return
    clips = out / "clips" / f"{study.preset}-{seed}"
    generate(clips, preset=study.preset, groups=GROUPS, seed=seed)
    if study.backbone == POOLED:
        place = FeatureStore(out / "features", backbones.load(POOLED), FPS)
        for clip in extract(
            clips, backbone=FINE, fps=FPS, feature_dir=out / "features"
        ).clips.values():
            if not place.has(clip.digest):
                cubes = (
                    clip.block(0, len(clip)).reshape(-1, 7, 2, 7, 2, 112).transpose(2, 3).float()
                )
                places = cubes.reshape(-1, 49, 4, 112)
                pooled = torch.cat([places.mean(2), places.amax(2)], dim=-1)
                put(place, clip.digest, clip, pooled.half())


def put(place: CubeStore, digest: str, clip: ClipFeatures, cubes: torch.Tensor) -> None:
    """Store a short clip's cubes."""
    place.write_part(digest, 0, cubes.numpy())
    place.finish(digest, clip.times.tolist(), clip.problem)


def measure(out: Path, real: Path | None, name: str, way: Way, seed: int) -> None:
    """Train one way with one seed and put it to the test; keep what it gave."""
    study = STUDIES[name]
    kept = out / "measures" / name / f"{way.folder}-{seed}.json"
    if kept.exists():
        return
    found: dict[str, Any] = {}
    correct: list[bool] = []
    for fold in range(FOLDS) if study.preset is None else (0,):
        data = real if study.preset is None else out / "clips" / f"{study.preset}-{seed}"
        assert data is not None
        if way.options is None:
            data = seen_by_oracle(out, data, study, seed)
        run = out / "runs" / name / f"{way.folder}-{seed}-{fold}"
        options = AVERAGE.options if way.options is None else way.options
        options = SETTINGS | study.settings | options | {"fold": fold, "fps": FPS}
        options |= {"backbone": study.backbone, "feature_dir": out / "features"}
        train(data, out=run, seed=seed, **TrainOptions.from_flat(options)._asdict())
        test = evaluate_clips(run, feature_dir=out / "features")
        correct += [
            int(result.probabilities.argmax()) in clip.labels
            for clip, result in zip(test.clips, test.results, strict=True)
        ]
        found |= aimed(test)
    with atomic_write(kept) as part:
        part.write_text(json.dumps({"accuracy": float(np.mean(correct)), **found}))


def aimed(test: Evaluation) -> dict[str, float]:
    """Pointing, energy, area under the ROC curve and chance over all steps of all clips."""
    known = annotations_for(test.clips)
    steps = []
    for clip, result, times in zip(test.clips, test.results, test.times, strict=True):
        maps = result.attention_maps
        if maps is not None and clip.id in known:
            share = known[clip.id].occupancy(times, maps.shape[1])
            steps.append(localise_steps(maps.reshape(len(maps), -1), share.reshape(len(maps), -1)))
    if not steps:
        return {}
    return {
        name: float(np.nanmean(np.concatenate([getattr(aims, name) for aims in steps])))
        for name in StepLocalisation._fields
    }


def seen_by_oracle(out: Path, data: Path, study: Study, seed: int) -> Path:
    """A data set of cubes with one place: the mean of the features on the actor."""
    root = out / "oracle" / f"{study.preset}-{seed}-{study.backbone.replace(':', '-')}"
    if feature_set.matches(root):
        return root
    dataset = datasets.load(data)
    known = annotations_for(dataset.clips)
    found = extract(data, backbone=study.backbone, fps=FPS, feature_dir=out / "features")
    split = datasets.split(dataset, None)
    sides = {
        clip.id: side for side in ("train", "validation", "test") for clip in vars(split)[side]
    }
    place = CubeStore(root / feature_set.CUBES)
    entries = []
    for clip in dataset.clips:
        features = found.clips[clip.id]
        share = torch.from_numpy(known[clip.id].occupancy(features.times, found.grid)).flatten(1)
        # Where no actor is to be seen the oracle looks everywhere.
        share = torch.where(share.sum(1, keepdim=True) > 0, share, 1.0)
        weights = (share / share.sum(1, keepdim=True)).float()
        cubes = torch.einsum("tp,tpd->td", weights, features.block(0, len(features)).float())
        put(place, features.digest, features, cubes.unsqueeze(1).half())
        entries.append(
            feature_set.FeatureClip(
                clip.id, clip.labels, clip.group, len(features), sides[clip.id], features.digest
            )
        )
    feature_set.write(
        root,
        feature_set.FeatureSet(
            classes=dataset.classes, multi_label=False, grouped=True,
            backbone=f"oracle:{study.backbone}", weights=found.weights, fps=FPS, size=224, grid=1,
            channels=found.channels, clips=tuple(sorted(entries, key=lambda entry: entry.id)),
        ),
    )  # fmt: skip
    return root


def write(out: Path) -> None:
    """Write all numbers there are, and the tables."""
    found: dict[str, dict[str, dict[str, dict[str, float]]]] = {}
    for kept in sorted((out / "measures").glob("*/*.json")):
        way, _, seed = kept.stem.rpartition("-")
        found.setdefault(kept.parent.name, {}).setdefault(way, {})[seed] = json.loads(
            kept.read_text()
        )
    with atomic_write(out / "attention.json") as part:
        part.write_text(
            json.dumps(
                {
                    "settings": SETTINGS,
                    "settings on real clips": REAL_SETTINGS,
                    "groups": GROUPS,
                    "studies": found,
                },
                indent=1,
            )
        )
    with atomic_write(out / "attention.md") as part:
        part.write_text("\n".join(tables(found)) + "\n")


def tables(found: dict[str, dict[str, dict[str, dict[str, float]]]]) -> Iterator[str]:
    """Every study as a table in Markdown; all in per cent."""
    for name, study in STUDIES.items():
        ways = found.get(name)
        if not ways:
            continue
        aims = next((v for way in ways.values() for v in way.values() if "pointing" in v), None)
        yield f"**{study.title}**\n"
        yield "| | accuracy | each seed | above the best pooling | pointing | energy | AUC |"
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
            yield f"| *chance* | 16.7 | | | {chance} | {chance} | 50 |"
        yield ""


def spread(runs: dict[str, dict[str, float]], key: str) -> str:
    """Mean and standard deviation over seeds; nothing where there is nothing."""
    known = [100 * run[key] for run in runs.values() if key in run]
    if not known:
        return ""
    mean = f"{np.mean(known):.1f}"
    return f"{mean} ± {np.std(known, ddof=1):.1f}" if len(known) > 1 else mean


def margin(ways: dict[str, dict[str, dict[str, float]]], way: str) -> str:
    """By how much a way beats, seed by seed, whichever pooling is best with that seed."""
    poolings = [ways[name] for name in POOLINGS if name in ways]
    gains = [
        100 * (run["accuracy"] - max(pooling[seed]["accuracy"] for pooling in poolings))
        for seed, run in ways[way].items()
        if poolings and all(seed in pooling for pooling in poolings)
    ]
    # Two differences bound nothing.
    if len(gains) < 3:
        return ""
    half = half_width(gains)
    return f"{np.mean(gains):+.1f} ({np.mean(gains) - half:+.1f} to {np.mean(gains) + half:+.1f})"


if __name__ == "__main__":
    main()
