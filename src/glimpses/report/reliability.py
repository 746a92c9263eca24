"""Section of the scores page about confidence: calibration and unsure predictions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from glimpses.report.html import embed_png, encode_retina
from glimpses.runs import CalibrationScores, Interval, Reliability
from glimpses.viz import reliability_figure


def calibration_table(models: Mapping[str, CalibrationScores]) -> list[list[str]]:
    """Return the rows of the table, the first one with the column heads.

    Columns about thresholds and background are left out if no model has any.
    """
    heads = ["model", "clips", "calibration error", "before", "if perfect", "adaptive"]
    rows = [
        [
            name, f"{scores.clips} of {scores.recordings} recordings",
            f"{scores.after.ece:.2f}", f"{scores.before.ece.value:.2f}",
            f"{scores.perfect_ece:.2f}", f"{scores.after.adaptive_ece:.2f}",
        ]
        for name, scores in models.items()
    ]  # fmt: skip
    if any(scores.threshold is not None for scores in models.values()):
        heads += ["sure at", "sure predictions", "of them correct"]
        for row, scores in zip(rows, models.values(), strict=True):
            if scores.threshold is None:
                row += ["–"] * 3
            else:
                row += [f"{scores.threshold:.0%}", _percent(scores.coverage)]
                row += [_percent(scores.precision)]
    if any(scores.false_alarms is not None for scores in models.values()):
        heads += ["false alarms on background"]
        for row, scores in zip(rows, models.values(), strict=True):
            row += [_percent(scores.false_alarms)]
    return [heads, *rows]


def draw_reliability(name: str, scores: CalibrationScores) -> dict[str, Any]:
    """Return the reliability diagram of a model as an image with its text alternative."""
    series = {"before calibration": _points(scores.before)} if scores.temperature != 1 else {}
    series["calibrated"] = _points(scores.after)
    text = "; ".join(
        f"of {count} clips with a confidence of {confidence:.0%}, {accuracy:.0%} are correct"
        for confidence, accuracy, count in series["calibrated"]
    )
    image = embed_png(encode_retina(reliability_figure(series)))
    return {"model": name, "image": image, "text": text, "temperature": scores.temperature}


def _points(reliability: Reliability) -> list[tuple[float, float, int]]:
    return [(part.confidence, part.accuracy, part.clips) for part in reliability.bins]


def _percent(interval: Interval | None) -> str:
    return "–" if interval is None else f"{interval:.0%}"
