"""Report on trained runs: scores on unseen clips and where the models looked; `glimpses report`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from glimpses import runs
from glimpses.evaluation import Evaluation, LocalisationScores, evaluate_clips, record_scores
from glimpses.inference import Prediction
from glimpses.models import ModelConfig, SliceLayout, build_meta_model
from glimpses.report.scores_page import (
    CaptionedVideo,
    ConfusionMatrix,
    ScoresPage,
    TrainingCurves,
    write_scores_page,
)
from glimpses.report.timelines import draw_timelines
from glimpses.runs import MEASURES, MONITOR, ScoreRecord, ScoreValue, kept_epoch
from glimpses.utils import progress
from glimpses.utils.errors import GlimpsesError
from glimpses.utils.files import quote_path
from glimpses.video import is_video

# Enough to show the model's behaviour, few enough to keep the page small.
_MAX_VIDEOS, _MAX_STRIPS = 6, 6


@dataclass(frozen=True)
class WrittenReport:
    """Result of `report`.

    Attributes:
        page: the HTML file.
        overlays: the videos on the page, as separate files.
        scores: scores of each run.
        localisation: localisation of the actor by each run with attention, if annotated.
    """

    page: Path
    overlays: tuple[Path, ...]
    scores: dict[str, ScoreRecord]
    localisation: dict[str, LocalisationScores]

    def to_json(self) -> dict[str, Any]:
        """Return the scores and the files as JSON values."""
        return {
            "page": str(self.page),
            "overlays": [str(file) for file in self.overlays],
            "scores": {name: record.to_json() for name, record in self.scores.items()},
            "localisation": {name: vars(scores) for name, scores in self.localisation.items()},
        }

    def __str__(self) -> str:
        lines = [f"{name}: {record.headline}" for name, record in self.scores.items()]
        return "\n".join([*lines, f"written: {self.page}"])


def report(
    *folders: str | Path,
    out: str | Path,
    data: str | Path | None = None,
    title: str = "Where it looks",
    introduction: Annotated[tuple[str, ...], Parameter(parse=False)] = (),
    feature_dir: str | Path | None = None,
    device: str = "cpu",
) -> WrittenReport:
    """Write a page about one or more runs: scores, overlay videos, film strips, curves, confusion.

    Images and videos show the first run; the other runs are compared with it.

    Args:
        folders: folders of trained runs, of one data set.
        out: the HTML file to write; overlay videos go to a folder `overlays` beside it.
        data: folder of labelled clips; each run's own test clips if not given.
        title: heading of the page.
        introduction: paragraphs to put before the results; Python only.
        feature_dir: folder for features; that of each run if not given.
        device: "cpu" or "cuda".

    Raises:
        GlimpsesError: a run cannot be used, or a file cannot be written.
    """
    paths, out = tuple(dict.fromkeys(map(Path, folders))), Path(out)
    data = None if data is None else Path(data)
    if not paths:
        raise GlimpsesError("no run given; use glimpses report RUN... --out report.html")
    names = _display_names(paths)
    evaluations = {
        name: evaluate_clips(path, data=data, feature_dir=feature_dir, device=device)
        for name, path in zip(names, paths, strict=True)
    }
    scores = {
        name: record_scores(path, evaluations[name], data)
        for name, path in zip(names, paths, strict=True)
    }
    first = evaluations[names[0]]
    correct, misclassified = (indices[:_MAX_STRIPS] for indices in choose_clips(first))
    predictions = {index: first.prediction(index) for index in (*correct, *misclassified)}
    labels = first.labels
    strips = {}
    with progress.bar("drawing", len(predictions), transient=True) as bar:
        for index, prediction in predictions.items():
            strips[index] = prediction.strip(labels=labels[index])
            bar.advance()
    shown = _interleave(correct, misclassified)[:_MAX_VIDEOS]
    overlays = []
    with progress.bar("drawing overlays", len(shown), transient=True) as bar:
        for index in shown:
            name = first.clips[index].id.rpartition(".")[0].replace("/", "-")
            file = out.parent / "overlays" / f"{name}.mp4"
            predictions[index].draw_overlay(file, labels=labels[index])
            overlays.append(file)
            bar.advance()
    localisation = {
        name: measured
        for name, evaluation in evaluations.items()
        if (measured := evaluation.localisation()).steps
    }
    record = scores[names[0]]
    balanced = MEASURES["balanced_accuracy"]
    page = ScoresPage(
        title=title,
        summary=[*introduction, *_summary(names[0], first, record, localisation.get(names[0]))],
        scores={name: _named_measures(record) for name, record in scores.items()},
        samples={name: record.sample for name, record in scores.items()},
        chance=dict.fromkeys((record.metric, balanced), record.chance),
        majority={}
        if record.majority is None
        else {record.metric: record.majority, balanced: record.chance},
        classes=record.per_class,
        localisation=localisation,
        videos=[
            CaptionedVideo(file, _caption(predictions[index], labels[index]))
            for file, index in zip(overlays, shown, strict=True)
        ],
        correct=[strips[index] for index in correct],
        misclassified=[strips[index] for index in misclassified],
        training=[_training_curves(name, path) for name, path in zip(names, paths, strict=True)],
        calibration={
            name: evaluation.scores.calibration
            for name, evaluation in evaluations.items()
            if evaluation.scores.calibration is not None
        },
        confusions=[
            ConfusionMatrix(name, evaluation.scores.confusion, evaluation.scores.classes)
            for name, evaluation in evaluations.items()
            if evaluation.scores.confusion is not None
        ],
        segments=_segment_rows(evaluations),
        timelines=draw_timelines(
            {
                name: evaluation.scores.segments
                for name, evaluation in evaluations.items()
                if evaluation.scores.segments is not None
            }
        ),
        settings=_settings(first),
        next_commands=_next_commands(
            paths[0],
            Path(first.config.data_dir) if data is None else data,
            has_videos=_has_videos(first),
        ),
    )
    write_scores_page(out, page)
    return WrittenReport(out, tuple(overlays), scores, localisation)


def _segment_rows(evaluations: Mapping[str, Evaluation]) -> list[tuple[str, ...]]:
    """Return the scores of segments: a head, and a row for each measure."""
    columns = {
        name: dict(evaluation.scores.segments.model.rows())
        for name, evaluation in evaluations.items()
        if evaluation.scores.segments is not None
    }
    for evaluation in evaluations.values():
        if evaluation.scores.segments is not None:
            baselines = evaluation.scores.segments.baselines
            columns |= {name: dict(scores.rows()) for name, scores in baselines.items()}
            break
    if not columns:
        return []
    measures = next(iter(columns.values()))
    rows = [(name, *(cells.get(name, "–") for cells in columns.values())) for name in measures]
    return [("segments", *columns), *rows]


def _display_names(paths: Sequence[Path]) -> list[str]:
    """Return the folder name of each run, or its path if names repeat."""
    names = [path.resolve().name for path in paths]
    return names if len(set(names)) == len(names) else [str(path) for path in paths]


def choose_clips(evaluation: Evaluation) -> tuple[list[int], list[int]]:
    """Choose clips to show: indices of those classified correctly and of the others.

    The most confident clip of each class comes first, then the second of each class. Clips without
    a video or without any action are left out.
    """
    labels = evaluation.labels
    predictions = {
        index: evaluation.prediction(index)
        for index, clip in enumerate(evaluation.clips)
        if is_video(clip.path)
    }
    confident = sorted(predictions, key=lambda i: -float(predictions[i].probabilities.max()))

    def spread(indices: list[int]) -> list[int]:
        ranked: list[tuple[int, int]] = []
        for name in evaluation.config.classes:
            ranked += enumerate(index for index in indices if labels[index][:1] == (name,))
        return [index for _, index in sorted(ranked, key=lambda pair: pair[0])]

    correct = [index for index in confident if predictions[index].label in labels[index]]
    misclassified = [index for index in confident if predictions[index].label not in labels[index]]
    return spread(correct), spread(misclassified)


def _interleave(correct: Sequence[int], misclassified: Sequence[int]) -> list[int]:
    """Return four correct clips, two misclassified ones, then the rest."""
    return [*correct[:4], *misclassified[:2], *correct[4:], *misclassified[2:]]


def _named_measures(record: ScoreRecord) -> dict[str, ScoreValue]:
    return {MEASURES[record.metric]: record.measures[record.metric], **record.other_measures}


def _summary(
    name: str, evaluation: Evaluation, record: ScoreRecord, localisation: LocalisationScores | None
) -> list[str]:
    lines = [f"`{name}`: {record.headline}; {record.baselines}."]
    if not _has_videos(evaluation):
        lines.append("There are no images: only the features of these clips are available.")
    if localisation is not None:
        lines.append(
            f"The place it attends to most is on the actor in {localisation.pointing:.0%} of the "
            f"steps; chance level is {localisation.pointing_chance:.0%}."
        )
    return lines


def _caption(prediction: Prediction, labels: Sequence[str]) -> str:
    caption = f"{prediction.name}: {prediction.label}, {float(prediction.probabilities.max()):.0%}"
    if not prediction.is_sure:
        caption += f" ({prediction.decision})"
    return caption if prediction.label in labels else f"{caption}; label: {', '.join(labels)}"


def _training_curves(name: str, run: Path) -> TrainingCurves:
    curves = runs.read_curves(run)
    shown = {key: values for key, values in curves.items() if key != MONITOR}
    if not curves:
        return TrainingCurves(name, shown)
    checkpoint = runs.read_config(run).checkpoint
    return TrainingCurves(name, shown, kept_epoch(curves[MONITOR], checkpoint))


def _settings(evaluation: Evaluation) -> dict[str, str]:
    config = evaluation.config
    model = config.model
    settings: dict[str, Any] = {
        "data": config.data_dir,
        "clips": ", ".join(f"{len(ids)} {subset}" for subset, ids in config.clips.items()),
        "backbone": f"{config.data.backbone} (weights {config.backbone_weights})",
        "feature cube": _cube_shape(model),
        "frames per second": config.data.fps,
        "block length": config.data.block_length,
        "model": build_meta_model(model).description,
        **{key.replace("_", " "): value for key, value in config.training_settings().items()},
        **{f"{name} version": number for name, number in config.versions.items()},
    }
    return {name: str(value) for name, value in settings.items() if value is not None}


def _cube_shape(model: ModelConfig) -> str:
    """Describe the cube as places and channels; with two stages, those of both."""
    grid, slices = round(model.cube.places**0.5), SliceLayout.of(model)
    coarse = f"{grid}x{grid}x{slices.coarse_channels}"
    if not slices.fine_channels:
        return coarse
    fine = grid * slices.ratio
    return f"{coarse} and {fine}x{fine}x{slices.fine_channels}"


def _has_videos(evaluation: Evaluation) -> bool:
    """Return whether any clip has a video; imported features have none."""
    return any(is_video(clip.path) for clip in evaluation.clips)


def _next_commands(run: Path, data: Path, *, has_videos: bool) -> list[tuple[str, str]]:
    name = quote_path(run)
    on_videos = [
        (f"glimpses serve {name}", "Open a page to drop videos on and see where the model looks"),
        (
            f"glimpses predict {name} VIDEO.mp4 --overlay overlay.mp4",
            "Recognise the action in your own video and see where the model looks",
        ),
    ]
    return [
        *(on_videos if has_videos else []),
        (
            "glimpses train MY-CLIPS --out runs/my-clips",
            "Train on your own clips: one folder per action",
        ),
        (
            f"glimpses evaluate {name} --data {quote_path(data)} --json",
            "Print the scores as JSON",
        ),
    ]
