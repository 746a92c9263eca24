"""One page about trained runs: how they did on clips they had not seen, and where they looked."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glimpses import runs
from glimpses.datasets.annotations import annotations_for
from glimpses.evaluation import Evaluation, evaluate_clips, record_scores
from glimpses.evaluation.pointing_game import LocalisationScores, localise
from glimpses.inference import Prediction
from glimpses.models import ModelConfig, SliceLayout, build_meta_model
from glimpses.report.scores_page import Confusion, Movie, Report, Training, write_report
from glimpses.runs import MONITOR, kept_epoch
from glimpses.utils import progress
from glimpses.utils.errors import GlimpsesError

# Enough to see what a model does, few enough that the page stays small.
_MOVIES, _STRIPS = 6, 6


@dataclass(frozen=True)
class WrittenReport:
    """What `report` made.

    Attributes:
        page: the HTML file.
        overlays: the videos in it, also as files of their own.
        scores: accuracy, or mAP, of each run.
        aims: where each run with attention looked, if the data tell where the actor is.
    """

    page: Path
    overlays: tuple[Path, ...]
    scores: dict[str, float]
    aims: dict[str, LocalisationScores]

    def to_json(self) -> dict[str, Any]:
        """Everything, for programs."""
        return {
            "page": str(self.page),
            "overlays": [str(file) for file in self.overlays],
            "scores": self.scores,
            "aims": {name: vars(aim) for name, aim in self.aims.items()},
        }

    def __str__(self) -> str:
        lines = [f"{name}: {value:.1%}" for name, value in self.scores.items()]
        return "\n".join([*lines, f"written: {self.page}"])


def report(
    *folders: Path,
    out: Path,
    data: Path | None = None,
    title: str = "Where it looks",
    store: Path | None = None,
    device: str = "cpu",
) -> WrittenReport:
    """Write a page about one or more runs: scores, overlay videos, strips, curves, confusion.

    Pictures are of the first run; it is the one that is explained, the others are what it is
    compared with.

    Args:
        folders: trained runs, of one data set.
        out: the HTML file to write; overlay videos go into a folder `overlays` beside it.
        data: folder of labelled clips to show; the data set that each was trained on if not given.
        title: heading of the page.
        store: where features are kept; where each run's own are if not given.
        device: "cpu" or "cuda".

    Returns:
        What was written.

    Raises:
        GlimpsesError: a run cannot be used, or something cannot be written.
    """
    folders, out = tuple(dict.fromkeys(map(Path, folders))), Path(out)
    if not folders:
        raise GlimpsesError("no run given; use glimpses report RUN... --out report.html")
    names = _names(folders)
    tested = {
        name: evaluate_clips(run, data=data, store=store, device=device)
        for name, run in zip(names, folders, strict=True)
    }
    for name, run in zip(names, folders, strict=True):
        record_scores(run, tested[name], data)
    first = tested[names[0]]
    predictions, true_labels = predictions_of(first), true_labels_of(first)
    right, wrong = (side[:_STRIPS] for side in choose_clips(first))
    overlays, strips = [], {}
    with progress.bar("drawing", len([*right, *wrong]), transient=True) as bar:
        for index in (*right, *wrong):
            strips[index] = predictions[index].strip(truth=true_labels[index])
            bar.advance()
    shown = _interleaved(right, wrong)[:_MOVIES]
    with progress.bar("drawing overlays", len(shown), transient=True) as bar:
        for index in shown:
            name = first.clips[index].id.rpartition(".")[0].replace("/", "-")
            file = out.parent / "overlays" / f"{name}.mp4"
            predictions[index].draw_overlay(file, truth=true_labels[index])
            overlays.append(file)
            bar.advance()
    aims = {name: aim for name, test in tested.items() if (aim := localisation_of(test)).steps}
    scores = {name: test.scores.value for name, test in tested.items()}
    quantity = "accuracy" if first.scores.mAP is None else "mAP"
    write_report(
        out,
        Report(
            title=title,
            summary=_summary(names[0], first, aims.get(names[0])),
            scores={name: {quantity: value} for name, value in scores.items()},
            chance={quantity: 1 / len(first.config.classes)} if quantity == "accuracy" else {},
            aims=aims,
            movies=[
                Movie(file, _caption(predictions[index], true_labels[index]))
                for file, index in zip(overlays, shown, strict=True)
            ],
            right=[strips[index] for index in right],
            wrong=[strips[index] for index in wrong],
            training=[_training(name, run) for name, run in zip(names, folders, strict=True)],
            confusions=[
                Confusion(name, test.scores.confusion, test.scores.classes)
                for name, test in tested.items()
                if test.scores.confusion is not None
            ],
            settings=_settings(first),
            next_commands=_next(
                folders[0],
                Path(first.config.data_dir) if data is None else data,
                videos=_has_videos(first),
            ),
        ),
    )
    return WrittenReport(out, tuple(overlays), scores, aims)


def _names(folders: Sequence[Path]) -> list[str]:
    """A name for each run: its folder's, or its path where two are called alike."""
    names = [run.resolve().name for run in folders]
    return names if len(set(names)) == len(names) else [str(run) for run in folders]


def predictions_of(test: Evaluation) -> list[Prediction]:
    """What a test found of each of its clips, with the ways to see it."""
    return [prediction_of(test, index) for index in range(len(test.clips))]


def prediction_of(test: Evaluation, index: int) -> Prediction:
    """What a test found of one of its clips."""
    result = test.results[index]
    return Prediction(
        video=test.clips[index].path,
        classes=test.config.classes,
        probabilities=result.probabilities,
        times=test.times[index],
        step_probabilities=result.step_probabilities,
        attention=result.attention_maps,
    )


def true_labels_of(test: Evaluation) -> list[tuple[str, ...]]:
    """Names of the actions that each clip of a test shows."""
    classes = test.config.classes
    return [tuple(classes[label] for label in clip.labels) for clip in test.clips]


def choose_clips(test: Evaluation) -> tuple[list[int], list[int]]:
    """Clips of a test to show, as indices: the recognised ones and the others.

    The surest clip of each class comes first, then the second of each. Clips without a video are
    left out, and clips with none of the actions are neither.
    """
    predictions, true_labels = predictions_of(test), true_labels_of(test)
    seen = [index for index in range(len(predictions)) if test.clips[index].path.is_file()]
    sure = sorted(seen, key=lambda index: -float(predictions[index].probabilities.max()))

    def spread(indices: list[int]) -> list[int]:
        rounds: list[tuple[int, int]] = []
        for name in test.config.classes:
            own = [index for index in indices if true_labels[index][:1] == (name,)]
            rounds += list(enumerate(own))
        return [index for _, index in sorted(rounds, key=lambda pair: pair[0])]

    right = [index for index in sure if predictions[index].label in true_labels[index]]
    wrong = [index for index in sure if predictions[index].label not in true_labels[index]]
    return spread(right), spread(wrong)


def _interleaved(right: Sequence[int], wrong: Sequence[int]) -> list[int]:
    """Four right ones, two wrong ones, then whatever there is."""
    return [*right[:4], *wrong[:2], *right[4:], *wrong[2:]]


def localisation_of(test: Evaluation) -> LocalisationScores:
    """Where a run looked, over the clips whose actor is known."""
    looking = [
        (clip, prediction.times, prediction.attention)
        for clip, prediction in zip(test.clips, predictions_of(test), strict=True)
        if prediction.attention is not None
    ]
    known = annotations_for([clip for clip, _, _ in looking])
    return LocalisationScores.mean(
        [
            localise(maps, known[clip.id].occupancy(times, maps.shape[1]))
            for clip, times, maps in looking
            if clip.id in known
        ]
    )


def _summary(name: str, test: Evaluation, aim: LocalisationScores | None) -> list[str]:
    count = len(test.clips)
    quantity = "accuracy" if test.scores.mAP is None else "mAP"
    lines = [
        f"`{name}` reaches {test.scores.value:.1%} {quantity} on {count} clips that it had not "
        f"seen, with {len(test.config.classes)} actions to choose from."
    ]
    if not _has_videos(test):
        lines.append("There are no pictures: of these clips only features are here, no videos.")
    if aim is not None:
        lines.append(
            f"The place it looks at most is on the actor in {aim.pointing:.0%} of the steps; a "
            f"place drawn at random would be in {aim.pointing_chance:.0%}."
        )
    return lines


def _caption(prediction: Prediction, truth: Sequence[str]) -> str:
    said = f"{prediction.label}, {float(prediction.probabilities.max()):.0%}"
    if prediction.label in truth:
        return f"{prediction.name}: {said}"
    return f"{prediction.name}: {said}; shows {', '.join(truth)}"


def _training(name: str, run: Path) -> Training:
    curves = runs.read_curves(run)
    shown = {key: values for key, values in curves.items() if key != MONITOR}
    if not curves:
        return Training(name, shown)
    checkpoint = runs.read_config(run).checkpoint
    return Training(name, shown, kept_epoch(curves[MONITOR], checkpoint))


def _settings(test: Evaluation) -> dict[str, str]:
    config = test.config
    model = config.model
    settings: dict[str, Any] = {
        "data": config.data_dir,
        "clips": ", ".join(f"{len(ids)} {side}" for side, ids in config.clips.items()),
        "backbone": f"{config.data.backbone} (weights {config.backbone_weights})",
        "feature cube": _cube(model),
        "frames per second": config.data.fps,
        "steps in a block": config.data.block_length,
        "model": build_meta_model(model).description,
        **{key.replace("_", " "): value for key, value in config.training_settings().items()},
        **{f"{name} version": number for name, number in config.versions.items()},
    }
    return {name: str(value) for name, value in settings.items() if value is not None}


def _cube(model: ModelConfig) -> str:
    """Places and channels; of two joined stages those of either."""
    grid, slices = round(model.cube.places**0.5), SliceLayout.of(model.cube)
    coarse = f"{grid}x{grid}x{slices.coarse_channels}"
    if not slices.fine_channels:
        return coarse
    fine = grid * slices.ratio
    return f"{coarse} and {fine}x{fine}x{slices.fine_channels}"


def _has_videos(test: Evaluation) -> bool:
    """Whether there is anything to look at; where features came from files there isn't."""
    return any(clip.path.is_file() for clip in test.clips)


def _next(run: Path, data: Path, *, videos: bool) -> list[tuple[str, str]]:
    predict = (
        f"glimpses predict {shlex.quote(str(run))} VIDEO.mp4 --overlay overlay.mp4",
        "Name the action in a video of your own, and see where it looks",
    )
    return [
        *([predict] if videos else []),
        (
            "glimpses train MY-CLIPS --out runs/my-clips",
            "Train on your own clips: one folder per action",
        ),
        (
            f"glimpses evaluate {shlex.quote(str(run))} --data {shlex.quote(str(data))} --json",
            "The scores as numbers for programs",
        ),
    ]
