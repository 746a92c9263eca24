"""Example explanations with given numbers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from glimpses.evaluation.explanation import (
    Curve,
    DeletionCurves,
    Estimate,
    Explanation,
    MapLocalisation,
)
from glimpses.inference import Prediction

CLASSES = ("clap", "[b] :smile:", "wave")
ORDERS = ("most attended first", "random", "least attended first")


def estimate(value: float, half: float = 0.03) -> Estimate:
    return Estimate(value, value - half, value + half, 60)


def curve(values: Any, x: Any = None, half: float = 0.04) -> Curve:
    values = np.asarray(values, float)
    x = np.arange(len(values), dtype=float) if x is None else np.asarray(x, float)
    return Curve(x, values, values - half, values + half)


def map_localisation(energy: float, pointing: float, auc: float) -> MapLocalisation:
    measures = {"energy": energy, "pointing": pointing, "auc": auc}
    return MapLocalisation(
        **{name: estimate(value) for name, value in measures.items()},
        by_class={
            label: {name: estimate(value - 0.06 * number) for name, value in measures.items()}
            for number, label in enumerate(CLASSES)
        },
        by_step={
            name: curve(value - 0.2 * np.exp(-np.arange(10) / 2))
            for name, value in measures.items()
        },
    )


def localisation(**maps: MapLocalisation) -> dict[str, MapLocalisation]:
    """Localisation of a model's map and the baselines, with margins; underscores are spaces."""
    (name, own), *baselines = ((name.replace("_", " "), each) for name, each in maps.items())
    result = {name: own}
    for name, baseline in baselines:
        margin = {
            measure: estimate(getattr(own, measure).value - getattr(baseline, measure).value)
            for measure in ("energy", "pointing", "auc")
        }
        result[name] = replace(baseline, margin=margin)
    return result


def deletion_curves(most: float, random: float, least: float, *, gain: float) -> DeletionCurves:
    """Curves with the given probabilities at a tenth of the places, by order; linear otherwise."""
    x = [0.0, 0.1, 0.5, 1.0]
    tenths = dict(zip(ORDERS, (most, random, least), strict=True))
    return DeletionCurves(
        curves={
            name: curve([0.93, value, (value + 0.17) / 2, 0.17], x)
            for name, value in tenths.items()
        },
        areas={name: estimate(value / 2) for name, value in tenths.items()},
        gain=estimate(gain),
    )


def explanation(count: int = 6, **changes: Any) -> Explanation:
    """Explanation of a faithful model that beats all baselines except Grad-CAM's AUC."""
    rng = np.random.default_rng(3)
    example = Explanation(
        run="runs/fine",
        name="fine",
        model="attention, content, 3 layers of 128",
        classes=CLASSES,
        subset="test",
        clips=tuple(f"clap/[b] :smile: {number}.avi" for number in range(count)),
        accuracy=estimate(0.84),
        map_name="attention",
        localisation=localisation(
            attention=map_localisation(0.62, 0.91, 0.85),
            uniform=map_localisation(0.13, 0.25, 0.5),
            centre_prior=map_localisation(0.2, 0.4, 0.7),
            motion_energy=map_localisation(0.4, 0.6, 0.8),
            **{"Grad-CAM": map_localisation(0.3, 0.7, 0.95)},
        ),
        attention_ablation={
            "original": estimate(0.84),
            "uniform": estimate(0.35),
            "shuffled in time": estimate(0.83),
            "swapped between clips": estimate(0.5),
        },
        accuracy_drop={
            "uniform": estimate(0.49, 0.05),
            "shuffled in time": estimate(0.01, 0.015),
            "swapped between clips": estimate(0.34, 0.05),
        },
        deletion=deletion_curves(0.41, 0.92, 0.93, gain=0.2),
        insertion=deletion_curves(0.8, 0.35, 0.2, gain=0.3),
        pixel_deletion=None,
        pixel_insertion=None,
        attention_stats={
            "entropy": estimate(0.55),
            "coverage": estimate(0.3),
            "centroid_shift": estimate(0.12),
            "overlap": estimate(0.7),
        },
        attention_stats_by_step={
            "entropy": curve(0.5 + 0.3 * np.exp(-np.arange(10) / 2)),
            "centroid_shift": curve(np.r_[np.nan, np.full(9, 0.12)], half=0.02),
        },
        faithfulness=rng.normal(0.2, 0.1, count).round(2),
        pointing=rng.uniform(0.5, 1, count).round(2),
        groups=tuple(f"g{number // 2}" for number in range(count)),
        by_clip={
            "accuracy": (rng.random(count) < 0.8).astype(float),
            "pointing": rng.uniform(0.5, 1, count),
        },
    )
    return replace(example, **changes)


def predictions(clips: int, videos: list[Path] | None = None) -> tuple[Prediction, ...]:
    """Predictions for some clips, with a map that moves over a grid of 4 x 4."""
    maps = np.full((8, 16), 0.01)
    maps[np.arange(8), np.arange(8)] = 1
    maps = (maps / maps.sum(1, keepdims=True)).reshape(8, 4, 4)
    step_probabilities = np.random.default_rng(0).dirichlet(np.ones(3), 8)
    return tuple(
        Prediction(
            video=videos[number] if videos else Path("nowhere") / f"{number}.avi",
            classes=CLASSES,
            probabilities=step_probabilities.mean(0),
            times=np.arange(8) / 10,
            step_probabilities=step_probabilities,
            attention=maps,
        )
        for number in range(clips)
    )
