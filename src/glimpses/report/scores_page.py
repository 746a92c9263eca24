"""One page for a run: scores, overlays, strips, curves; a single file that needs no network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from glimpses import video
from glimpses.evaluation.pointing_game import LocalisationScores
from glimpses.report.html import data_uri, embed_png, embed_strip, encode_sharp, write_page
from glimpses.viz import Filmstrip, confusion_figure, curves_figure


@dataclass(frozen=True)
class Movie:
    """An overlay video and a sentence about it."""

    video: Path
    caption: str


@dataclass(frozen=True)
class Training:
    """How one model's training went; the fields are those of `curves_figure`."""

    model: str
    curves: Mapping[str, Sequence[float]]
    best_epoch: int | None = None


@dataclass(frozen=True)
class Confusion:
    """What one model took for what; the fields are those of `confusion_figure`."""

    model: str
    matrix: Int[np.ndarray, "C C"]
    classes: Sequence[str]


@dataclass(frozen=True)
class Report:
    """What a page shows. Everything but the title may be left out, and so may any score.

    Attributes:
        title: heading of the page.
        summary: what was found, a paragraph each.
        scores: for each model, its scores by name, 0 to 1; the first score of the first model
            is the headline, such as accuracy, and is drawn as a bar too.
        chance: what guessing would reach in each score.
        aims: for each model with attention, how well it falls on the actor, where that is known.
        movies: overlay videos that browsers play (MP4 with H.264); they are embedded whole, so
            keep them short.
        right: clips that were recognised.
        wrong: clips that were not.
        training: training curves of the models.
        confusions: confusion matrices of the models.
        settings: names and values of all that shaped the result.
        next_commands: commands to go on with, and what each does.
    """

    title: str
    summary: Sequence[str] = ()
    scores: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    chance: Mapping[str, float] = field(default_factory=dict)
    aims: Mapping[str, LocalisationScores] = field(default_factory=dict)
    movies: Sequence[Movie] = ()
    right: Sequence[Filmstrip] = ()
    wrong: Sequence[Filmstrip] = ()
    training: Sequence[Training] = ()
    confusions: Sequence[Confusion] = ()
    settings: Mapping[str, str] = field(default_factory=dict)
    next_commands: Sequence[tuple[str, str]] = ()


def write_report(out: Path, report: Report) -> None:
    """Write a report as one HTML file with everything inside it; equal reports give equal files.

    Args:
        out: the file to write.
        report: what it shows.

    Raises:
        GlimpsesError: a video cannot be read or the file cannot be written.
    """
    write_page(
        out,
        "report.html",
        title=report.title,
        report=report,
        columns=_columns(report),
        movies=[(*_video(movie.video), movie.caption) for movie in report.movies],
        galleries=[
            ("Recognised", [embed_strip(strip) for strip in report.right]),
            ("Not recognised", [embed_strip(strip) for strip in report.wrong]),
        ],
        training=[_training(training) for training in report.training],
        confusions=[_confusion(confusion) for confusion in report.confusions],
    )


def _columns(report: Report) -> list[dict[str, Any]]:
    """The scores' names in order of appearance, each with the best value it has."""
    names = dict.fromkeys(name for scores in report.scores.values() for name in scores)
    return [
        {"name": name, "best": max(scores.get(name, 0) for scores in report.scores.values())}
        for name in names
    ]


def _training(training: Training) -> dict[str, Any]:
    # A picture per quantity, so that they stand side by side or, on a phone, one below the other.
    quantities: dict[str, dict[str, Sequence[float]]] = {}
    for name, values in training.curves.items():
        quantities.setdefault(name.split()[-1], {})[name] = values
    pictures = {
        quantity: embed_png(encode_sharp(curves_figure(curves, best_epoch=training.best_epoch)))
        for quantity, curves in quantities.items()
    }
    return {"model": training.model, "pictures": pictures, "best_epoch": training.best_epoch}


def _confusion(confusion: Confusion) -> dict[str, Any]:
    """The picture, and what it shows in words for those who cannot see it."""
    wrong = confusion.matrix.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:3]
    rows, columns = np.unravel_index(order, wrong.shape)
    most = [
        f"{confusion.classes[row]} taken for {confusion.classes[column]} ({wrong[row, column]})"
        for row, column in zip(rows, columns, strict=True)
        if wrong[row, column]
    ]
    return {
        "model": confusion.model,
        "picture": embed_png(encode_sharp(confusion_figure(confusion.matrix, confusion.classes))),
        "words": "; ".join(most) or "no clip was taken for another action",
    }


def _video(path: Path) -> tuple[str, float]:
    """A video's content, and its width by its height."""
    info = video.probe(path)
    return data_uri("video/mp4", path.read_bytes()), info.width / info.height
