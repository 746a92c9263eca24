"""The options of segments that are learned are those that find the annotated ones."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from glimpses.evaluation import fit_segments as module
from glimpses.evaluation.fit_segments import find_in_steps, fit_segments
from glimpses.features import ClipFeatures
from glimpses.models import build_model
from glimpses.segments import Segment, SegmentOptions
from tests.configs import model_config, run_config

LENGTH = 200


def recordings(count: int) -> dict[str, ClipFeatures]:
    times = np.arange(LENGTH) / 10
    return {f"{n}.mp4": ClipFeatures(str(n), times, None, (1, 1), "", ()) for n in range(count)}


def annotated(count: int) -> list[Segment]:
    return [Segment(file=f"{n}.mp4", start=5, end=10, label="run") for n in range(count)]


def config() -> Any:
    shape = model_config(num_classes=3, places=4, channels=1, hidden_size=4, num_layers=1)
    return run_config(classes=("background", "jump", "run"), model=shape, block_length=10)


def fit(monkeypatch: pytest.MonkeyPatch, steps: np.ndarray, count: int = 3) -> Any:
    results = [SimpleNamespace(step_probabilities=steps)] * count
    monkeypatch.setattr(module, "predict_clips", lambda *_, **__: iter(results))
    shape = config().model
    return fit_segments(config(), build_model(shape), recordings(count), annotated(count))


def probabilities(inside: tuple[float, ...], outside: tuple[float, ...]) -> np.ndarray:
    steps = np.tile(outside, (LENGTH, 1))
    steps[50:100] = inside
    return steps


def test_a_model_that_is_never_sure_needs_no_threshold(monkeypatch: pytest.MonkeyPatch) -> None:
    decoding = fit(monkeypatch, probabilities((0.35, 0.26, 0.39), (0.5, 0.25, 0.25)))
    assert decoding.threshold < 0.39
    segments = decode_with(decoding)
    assert [one.label for one in segments] == ["run"]
    assert (segments[0].start, segments[0].end) == pytest.approx((5, 10), abs=0.2)


def decode_with(decoding: Any) -> list[Segment]:
    steps = probabilities((0.35, 0.26, 0.39), (0.5, 0.25, 0.25))
    learned = replace(config(), segment_decoding=decoding)
    return find_in_steps(learned, SegmentOptions(), recordings(1), [steps])


def test_false_alarms_raise_the_threshold(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = probabilities((0.02, 0.02, 0.96), (0.9, 0.05, 0.05))
    # Other actions, less sure.
    steps[120:140] = steps[160:180] = (0.3, 0.1, 0.6)
    assert fit(monkeypatch, steps).threshold == 0.7


def test_too_few_recordings_to_choose_by(monkeypatch: pytest.MonkeyPatch) -> None:
    assert fit(monkeypatch, probabilities((0, 0, 1), (1, 0, 0)), count=2) is None
