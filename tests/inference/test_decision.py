"""Decisions: an action, no action, or unsure."""

from __future__ import annotations

import numpy as np
import pytest

from glimpses.datasets import is_background
from glimpses.inference import NO_ACTION, UNSURE, Prediction, Predictions, StreamStep
from glimpses.inference.decision import decide, is_sure

CLASSES = ("background", "jump", "run")


@pytest.mark.parametrize(
    ("probabilities", "threshold", "decision"),
    [
        ((0.2, 0.5, 0.3), None, "jump"),
        ((0.2, 0.5, 0.3), 0.5, "jump"),
        ((0.2, 0.5, 0.3), 0.51, UNSURE),
        ((0.6, 0.3, 0.1), 0.5, NO_ACTION),
        ((0.6, 0.3, 0.1), 0.7, UNSURE),
    ],
)
def test_the_decision(
    probabilities: tuple[float, ...], threshold: float | None, decision: str
) -> None:
    assert decide(CLASSES, np.array(probabilities), threshold) == decision
    step = StreamStep(0, CLASSES, np.array(probabilities), None, 1, threshold)
    assert step.decision == step.to_json()["decision"] == decision
    assert step.label == CLASSES[int(np.argmax(probabilities))]


def test_rounding_makes_no_prediction_unsure() -> None:
    assert is_sure(np.array([0.1 + 0.2, 0.7 - 1e-15]), 0.7)


@pytest.mark.parametrize("name", ["background", "None", "no action", "No-Action", "other"])
def test_names_of_background(name: str) -> None:
    assert is_background(name)


@pytest.mark.parametrize("name", ["no_fight", "another", "background_noise", ""])
def test_names_of_actions(name: str) -> None:
    assert not is_background(name)


def predict(*probabilities: float, threshold: float | None) -> Prediction:
    values = np.array(probabilities)
    return Prediction(None, CLASSES, values, np.zeros(1), values[None], None, threshold=threshold)


def test_an_unsure_prediction_says_so_in_json_and_in_the_table() -> None:
    prediction = predict(0.2, 0.5, 0.3, threshold=0.6)
    assert not prediction.is_sure
    written = prediction.to_json()
    assert [written[name] for name in ("label", "decision", "sure", "threshold")] == [
        "jump", UNSURE, False, 0.6,
    ]  # fmt: skip
    from rich.console import Console

    console = Console(width=100)
    with console.capture() as capture:
        console.print(Predictions((prediction, predict(0.9, 0.1, 0, threshold=0.6)), {}, ()))
    text = capture.get()
    assert "jump 50%, run 30%, background 20%" in text
    assert "unsure: no class has a probability of 60%" in text
    assert NO_ACTION in text
