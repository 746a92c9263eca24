"""Explanations made by hand, so that what is to be said and drawn of them is known."""

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


def curve(values: Any, at: Any = None, half: float = 0.04) -> Curve:
    values = np.asarray(values, float)
    at = np.arange(len(values), dtype=float) if at is None else np.asarray(at, float)
    return Curve(at, values, values - half, values + half)


def aiming(energy: float, pointing: float, auc: float) -> MapLocalisation:
    each = {"energy": energy, "pointing": pointing, "auc": auc}
    return MapLocalisation(
        **{name: estimate(value) for name, value in each.items()},
        by_class={
            label: {name: estimate(value - 0.06 * number) for name, value in each.items()}
            for number, label in enumerate(CLASSES)
        },
        by_step={
            name: curve(value - 0.2 * np.exp(-np.arange(10) / 2)) for name, value in each.items()
        },
    )


def where(**maps: MapLocalisation) -> dict[str, MapLocalisation]:
    """The aim of a map and its rivals; underlines are spaces."""
    own, *rivals = ((name.replace("_", " "), each) for name, each in maps.items())
    found = dict([own])
    for name, rival in rivals:
        behind = {
            measure: estimate(getattr(own[1], measure).value - getattr(rival, measure).value)
            for measure in ("energy", "pointing", "auc")
        }
        found[name] = replace(rival, behind=behind)
    return found


def removal(first: float, random: float, last: float, *, gain: float) -> DeletionCurves:
    """Certainty after a tenth of the places, by order; before and after it runs straight."""
    at = [0.0, 0.1, 0.5, 1.0]
    tenths = dict(zip(ORDERS, (first, random, last), strict=True))
    return DeletionCurves(
        curves={
            name: curve([0.93, value, (value + 0.17) / 2, 0.17], at)
            for name, value in tenths.items()
        },
        areas={name: estimate(value / 2) for name, value in tenths.items()},
        gain=estimate(gain),
    )


def explanation(count: int = 6, **changes: Any) -> Explanation:
    """A model whose attention means something, and wins but for Grad-CAM's AUC."""
    rng = np.random.default_rng(3)
    whole = Explanation(
        run="runs/fine",
        name="fine",
        shape="attention, content, 3 layers of 128",
        classes=CLASSES,
        side="test",
        clips=tuple(f"clap/[b] :smile: {number}.avi" for number in range(count)),
        accuracy=estimate(0.84),
        maps="attention",
        where=where(
            attention=aiming(0.62, 0.91, 0.85),
            uniform=aiming(0.13, 0.25, 0.5),
            centre_prior=aiming(0.2, 0.4, 0.7),
            motion_energy=aiming(0.4, 0.6, 0.8),
            **{"Grad-CAM": aiming(0.3, 0.7, 0.95)},
        ),
        frozen={
            "own": estimate(0.84),
            "uniform": estimate(0.35),
            "shuffled in time": estimate(0.83),
            "swapped between clips": estimate(0.5),
        },
        lost={
            "uniform": estimate(0.49, 0.05),
            "shuffled in time": estimate(0.01, 0.015),
            "swapped between clips": estimate(0.34, 0.05),
        },
        deletion=removal(0.41, 0.92, 0.93, gain=0.2),
        insertion=removal(0.8, 0.35, 0.2, gain=0.3),
        pixel_deletion=None,
        pixel_insertion=None,
        moves={
            "entropy": estimate(0.55),
            "coverage": estimate(0.3),
            "travel": estimate(0.12),
            "agreement": estimate(0.7),
        },
        moves_by_step={
            "entropy": curve(0.5 + 0.3 * np.exp(-np.arange(10) / 2)),
            "travel": curve(np.r_[np.nan, np.full(9, 0.12)], half=0.02),
        },
        faithfulness=rng.normal(0.2, 0.1, count).round(2),
        pointing=rng.uniform(0.5, 1, count).round(2),
        groups=tuple(f"g{number // 2}" for number in range(count)),
        by_clip={
            "accuracy": (rng.random(count) < 0.8).astype(float),
            "pointing": rng.uniform(0.5, 1, count),
        },
    )
    return replace(whole, **changes)


def predictions(clips: int, videos: list[Path] | None = None) -> tuple[Prediction, ...]:
    """What a model said of some clips, with a map that walks over a grid of 4 x 4."""
    maps = np.full((8, 16), 0.01)
    maps[np.arange(8), np.arange(8)] = 1
    maps = (maps / maps.sum(1, keepdims=True)).reshape(8, 4, 4)
    rng = np.random.default_rng(0)
    said = rng.dirichlet(np.ones(3), 8)
    return tuple(
        Prediction(
            video=videos[number] if videos else Path("nowhere") / f"{number}.avi",
            classes=CLASSES,
            probabilities=said.mean(0),
            times=np.arange(8) / 10,
            step_probabilities=said,
            attention=maps,
        )
        for number in range(clips)
    )
