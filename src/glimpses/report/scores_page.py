"""Page of scores, overlay videos, film strips and training curves, in one HTML file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int, UInt8

from glimpses import video
from glimpses.evaluation.pointing_game import LocalisationScores
from glimpses.report.html import data_uri, embed_png, embed_strip, encode_retina, write_page
from glimpses.report.reliability import calibration_table, draw_reliability
from glimpses.report.timelines import Timelines
from glimpses.runs import CalibrationScores, ClassScore, ScoreValue
from glimpses.viz import Filmstrip, confusion_figure, curves_figure, encode_jpeg


@dataclass(frozen=True)
class CaptionedVideo:
    """Overlay video with a caption."""

    video: Path
    caption: str


@dataclass(frozen=True)
class TrainingCurves:
    """Training curves of one model; the fields are those of `curves_figure`."""

    model: str
    curves: Mapping[str, Sequence[float]]
    best_epoch: int | None = None


@dataclass(frozen=True)
class ConfusionMatrix:
    """Confusion matrix of one model; the fields are those of `confusion_figure`."""

    model: str
    matrix: Int[np.ndarray, "C C"]
    classes: Sequence[str]


@dataclass(frozen=True)
class ScoresPage:
    """Contents of a page. Everything but the title is optional, and so is any score.

    Attributes:
        title: heading of the page.
        summary: paragraphs at the top.
        scores: scores of each model by name; the first score of the first model, such as accuracy,
            is the headline and is also drawn as a bar.
        samples: the scored clips of each model in words.
        chance: chance level of each score.
        majority: scores of always predicting the most frequent class.
        classes: scores of each class by the first model.
        localisation: localisation by each model with attention, if annotated.
        videos: overlay videos that browsers can play (MP4 with H.264). They are embedded whole, so
            keep them short.
        correct: clips classified correctly.
        misclassified: the other clips.
        training: training curves of the models.
        calibration: calibration of the models by name, if measured.
        confusions: confusion matrices of the models.
        segments: table of scores of segments, with a head; empty without recordings.
        timelines: timelines of long recordings.
        settings: names and values of all settings.
        next_commands: commands to run next, with their purpose.
    """

    title: str
    summary: Sequence[str] = ()
    scores: Mapping[str, Mapping[str, ScoreValue]] = field(default_factory=dict)
    samples: Mapping[str, str] = field(default_factory=dict)
    chance: Mapping[str, float] = field(default_factory=dict)
    majority: Mapping[str, float] = field(default_factory=dict)
    classes: Mapping[str, ClassScore] = field(default_factory=dict)
    localisation: Mapping[str, LocalisationScores] = field(default_factory=dict)
    videos: Sequence[CaptionedVideo] = ()
    correct: Sequence[Filmstrip] = ()
    misclassified: Sequence[Filmstrip] = ()
    training: Sequence[TrainingCurves] = ()
    calibration: Mapping[str, CalibrationScores] = field(default_factory=dict)
    confusions: Sequence[ConfusionMatrix] = ()
    segments: Sequence[Sequence[str]] = ()
    timelines: Timelines | None = None
    settings: Mapping[str, str] = field(default_factory=dict)
    next_commands: Sequence[tuple[str, str]] = ()


def write_scores_page(out: Path, page: ScoresPage) -> None:
    """Write a page as one self-contained HTML file; the same page gives the same bytes.

    Args:
        out: the file to write.
        page: the contents.

    Raises:
        GlimpsesError: a video cannot be read or the file cannot be written.
    """
    write_page(
        out,
        "report.html",
        title=page.title,
        page=page,
        columns=_columns(page),
        videos=[(*_embed_video(item.video), item.caption) for item in page.videos],
        galleries=[
            ("Classified correctly", [embed_strip(strip) for strip in page.correct]),
            ("Misclassified", [embed_strip(strip) for strip in page.misclassified]),
        ],
        training=[_draw_training(training) for training in page.training],
        calibration=calibration_table(page.calibration) if page.calibration else [],
        diagrams=[draw_reliability(name, scores) for name, scores in page.calibration.items()],
        confusions=[_draw_confusion(confusion) for confusion in page.confusions],
    )


def _columns(page: ScoresPage) -> list[dict[str, Any]]:
    """Return the names of all scores in order of appearance, each with its best value."""
    names = dict.fromkeys(name for scores in page.scores.values() for name in scores)
    return [
        {
            "name": name,
            "best": max(
                scores[name].value if name in scores else 0 for scores in page.scores.values()
            ),
        }
        for name in names
    ]


def _draw_training(training: TrainingCurves) -> dict[str, Any]:
    # One image per quantity, so that they can be stacked on a phone.
    quantities: dict[str, dict[str, Sequence[float]]] = {}
    for name, values in training.curves.items():
        quantities.setdefault(name.split()[-1], {})[name] = values
    images = {
        quantity: embed_png(encode_retina(curves_figure(curves, best_epoch=training.best_epoch)))
        for quantity, curves in quantities.items()
    }
    return {"model": training.model, "images": images, "best_epoch": training.best_epoch}


def _draw_confusion(confusion: ConfusionMatrix) -> dict[str, Any]:
    """Return the image and its text alternative: the most frequent confusions."""
    errors = confusion.matrix.copy()
    np.fill_diagonal(errors, 0)
    order = np.argsort(-errors, axis=None, kind="stable")[:3]
    rows, columns = np.unravel_index(order, errors.shape)
    frequent = [
        f"{confusion.classes[row]} classified as {confusion.classes[column]} "
        f"({errors[row, column]})"
        for row, column in zip(rows, columns, strict=True)
        if errors[row, column]
    ]
    figure = confusion_figure(confusion.matrix, confusion.classes)
    return {
        "model": confusion.model,
        "image": embed_png(encode_retina(figure)),
        "text": "; ".join(frequent) or "no clip was misclassified",
    }


def _embed_video(path: Path) -> tuple[str, str, float]:
    """Return the data URIs of a video and its poster, and its aspect ratio."""
    info = video.probe(path)
    poster = data_uri("image/jpeg", encode_jpeg(_poster(path)))
    return data_uri("video/mp4", path.read_bytes()), poster, info.width / info.height


def _poster(path: Path) -> UInt8[np.ndarray, "H W 3"]:
    """Return the frame of a video at one second, or the last one of a shorter video."""
    frames = iter(video.FrameReader(path, fps=2, size=None))
    return list(islice(frames, 3))[-1].pixels
