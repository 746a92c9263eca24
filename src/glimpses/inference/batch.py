"""Prediction for files and folders of files: the command `glimpses predict`."""

from __future__ import annotations

import hashlib
import logging
import os
from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from cyclopts import Group as OptionsGroup
from cyclopts import Parameter
from rich.console import Group
from rich.table import Table

from glimpses import runs
from glimpses.datasets.layouts.video_files import is_clip, is_hidden, walk, warn_unreadable
from glimpses.inference.csv_table import PredictionRow, PredictionTable, escape_path
from glimpses.inference.prediction import Prediction
from glimpses.inference.recogniser import Recogniser, predict_together
from glimpses.inference.segment_batch import (
    SegmentPredictions,
    predict_segments,
    require_one_video,
)
from glimpses.runs import RunConfig
from glimpses.segments import SegmentOptions, segment_format
from glimpses.utils import progress
from glimpses.utils.errors import GlimpsesError, WithFailures
from glimpses.utils.files import check_writable, sha256
from glimpses.video import SUFFIXES, Prefetcher, is_picture_folder, start_decoder, suspects_last

log = logging.getLogger(__name__)

#: Options of segments as arguments of a command.
SegmentArguments = Annotated[
    SegmentOptions | None, Parameter(name="*", group=OptionsGroup("Segments", sort_key=5))
]


class _InputVideo(NamedTuple):
    """A video to predict, with its path in the CSV file and its `PredictionRow.version`."""

    name: str
    path: Path
    relative: Path  # to the given folder, or the file name
    version: tuple[int, int]


@dataclass(frozen=True)
class Predictions(WithFailures):
    """Predictions for videos, held in memory.

    Attributes:
        predictions: the predictions, in the order of the videos.
        overlays: overlay videos that were written, by input video.
        failures: one line for each video that could not be read.
    """

    predictions: tuple[Prediction, ...]
    overlays: dict[Path, Path]
    failures: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return all fields as JSON types."""
        overlays = {str(video): str(overlay) for video, overlay in self.overlays.items()}
        predictions = [prediction.to_json() for prediction in self.predictions]
        return {
            "predictions": [
                {**prediction, "overlay": overlays.get(prediction["video"])}
                for prediction in predictions
            ],
            "failures": list(self.failures),
        }

    def __rich__(self) -> Group:
        table = Table()
        for name in ("video", "action", "probability", "then"):
            table.add_column(name, justify="right" if name == "probability" else "left")
        for prediction in self.predictions:
            first, *others = prediction.top(3)
            if prediction.is_sure:
                probability = f"{first[1]:.0%}"
            else:
                probability, others = "", [first, *others]
            then = ", ".join(f"{name} {value:.0%}" for name, value in others)
            table.add_row(str(prediction.video), prediction.decision, probability, then)
        notes = [f"overlay written: {out}" for out in self.overlays.values()]
        thresholds = {p.threshold for p in self.predictions if not p.is_sure}
        notes += [f"unsure: no class has a probability of {value:.0%}" for value in thresholds]
        return Group(*([table] if self.predictions else []), *notes)


@dataclass(frozen=True)
class CsvPredictions:
    """Summary of predictions that were written to a CSV file.

    Attributes:
        csv: the file.
        videos: number of videos.
        new: number of videos that were read this time.
        failures: reasons why videos could not be read, this time or earlier, by path in the file.
    """

    csv: Path
    videos: int
    new: int
    failures: Mapping[str, str]

    @property
    def ok(self) -> bool:
        """True if every video could be read."""
        return not self.failures

    @property
    def complaints(self) -> tuple[str, ...]:
        """One line for each video that could not be read."""
        return tuple(f"{video}: {error}" for video, error in self.failures.items())

    def to_json(self) -> dict[str, Any]:
        """Return all fields as JSON types."""
        return {**asdict(self), "csv": str(self.csv)}

    def __str__(self) -> str:
        readable = self.videos - len(self.failures)
        failed = f"; {len(self.failures)} could not be read, --retry tries them again"
        return (
            f"{self.csv}: {readable} of {self.videos} videos predicted, {self.new} read this time"
            f"{failed if self.failures else ''}"
        )


def predict(
    run: str | Path,
    /,
    *videos: str | Path,
    csv: str | Path | None = None,
    retry: bool = False,
    overlay: str | Path | None = None,
    segments: str | Path | None = None,
    segments_format: str | None = None,
    segment_options: SegmentArguments = None,
    device: str = "cpu",
) -> Predictions | CsvPredictions | SegmentPredictions:
    """Predict the action in videos, and draw where the model looked.

    A video that cannot be read is reported at the end and does not stop the others.

    Args:
        run: folder of a trained run.
        videos: video files, or folders that are searched for videos.
        csv: CSV file that gets a row for each video as soon as it is read. Run the same command
            again to continue after an interruption; rows of changed files are replaced. The rows
            of a single folder have paths relative to it, so use another file for another folder.
        retry: read the videos again that the CSV file lists as unreadable.
        overlay: MP4 file to write for one video; for several, a folder for such files. With
            `segments`, it has a timeline of them.
        segments: file to write with the start and end of every action of long videos, in place of
            one prediction a video: `.csv`, `.json` (ActivityNet), `.eaf`, `.vtt` or `.srt`. Run
            the same command again to continue after an interruption.
        segments_format: format of that file if not by its ending: `csv`, `activitynet`,
            `label-studio`, `via`, `elan`, `vtt`, `srt` or `audacity`.
        segment_options: options of the segments.
        device: "cpu" or "cuda".

    Raises:
        GlimpsesError: the run cannot be used, a file cannot be written, or the CSV file belongs
            to another run.
    """
    run, paths = Path(run), tuple(map(Path, videos))
    csv, overlay = (None if path is None else Path(path) for path in (csv, overlay))
    if not paths:
        raise GlimpsesError("no video given; use glimpses predict RUN VIDEO...")
    if retry and csv is None:
        raise GlimpsesError("--retry: works with --csv only; leave it out")
    if segments is None and (segments_format or segment_options):
        raise GlimpsesError("options of segments: work with --segments only; give it a file name")
    config = runs.read_config(run)
    if segments is not None:
        return _predict_segments(
            run, paths, Path(segments), segments_format, segment_options or SegmentOptions(),
            csv=csv, overlay=overlay, device=device,
        )  # fmt: skip
    inputs = _find_videos(paths, overlay)
    overlays = {} if overlay is None else _overlay_paths(inputs, overlay)
    # While the model is loaded, which takes longer.
    start_decoder()
    if csv is None:
        return _predict_in_memory(Recogniser.load(run, device=device), inputs, overlays)
    for path in paths:
        if not os.path.lexists(path):
            raise GlimpsesError(f"{path}: no such file or folder; check its name")
    with PredictionTable(csv, config.classes, _model_id(run, config)) as table:
        pending = _select_pending(inputs, table, overlays, retry=retry)
        done = len(inputs) - len(pending)
        if done:
            log.info("%s: has %d of %d videos already", csv, done, len(inputs))
        if pending:
            _predict_to_csv(Recogniser.load(run, device=device), table, pending, overlays)
        errors = ((video.name, table.rows[video.name].error) for video in inputs)
        failures = {name: error for name, error in errors if error}
        return CsvPredictions(csv, len(inputs), len(pending), failures)


def _predict_segments(
    run: Path,
    paths: Sequence[Path],
    table: Path,
    format: str | None,
    options: SegmentOptions,
    *,
    csv: Path | None,
    overlay: Path | None,
    device: str,
) -> SegmentPredictions:
    if csv is not None:
        raise GlimpsesError("--segments: cannot be combined with --csv; run it alone")
    format = segment_format(table, format)
    check_writable(table.parent)
    inputs = _find_videos(paths, overlay)
    videos = {video.name: video.path for video in inputs}
    require_one_video(table, format, list(videos.values()))
    overlays = {} if overlay is None else _overlay_paths(inputs, overlay)
    start_decoder()
    return predict_segments(
        run, videos, table, format=format, options=options, overlays=overlays, device=device
    )


def _predict_in_memory(
    recogniser: Recogniser, videos: Sequence[_InputVideo], overlays: Mapping[Path, Path]
) -> Predictions:
    predictions: dict[Path, Prediction] = {}
    written: dict[Path, Path] = {}
    failures: dict[Path, str] = {}
    with closing(_predict_each(recogniser, videos, overlays)) as results:
        for video, prediction in results:
            if isinstance(prediction, GlimpsesError):
                failures[video.path] = str(prediction)
                continue
            predictions[video.path] = prediction
            if video.path in overlays:
                written[video.path] = overlays[video.path]
    # Suspects come last, but the result is in the order of the command line.
    paths = [video.path for video in videos]
    return Predictions(
        tuple(predictions[path] for path in paths if path in predictions), written,
        tuple(failures[path] for path in paths if path in failures),
    )  # fmt: skip


def _select_pending(
    videos: Sequence[_InputVideo],
    table: PredictionTable,
    overlays: Mapping[Path, Path],
    *,
    retry: bool,
) -> list[_InputVideo]:
    """Return the videos that must be read, and remove their rows from the table."""

    def is_pending(video: _InputVideo) -> bool:
        row = table.rows.get(video.name)
        if row is None or row.version != video.version:
            return True
        if row.error:
            return retry
        return video.path in overlays and not overlays[video.path].exists()

    pending = [video for video in videos if is_pending(video)]
    table.remove({video.name for video in pending} & table.rows.keys())
    return pending


def _predict_to_csv(
    recogniser: Recogniser,
    table: PredictionTable,
    videos: Sequence[_InputVideo],
    overlays: Mapping[Path, Path],
) -> None:
    with closing(_predict_each(recogniser, videos, overlays)) as results:
        for video, prediction in results:
            if isinstance(prediction, GlimpsesError):
                error = " ".join(str(prediction).removeprefix(f"{video.path}: ").split())
                table.add(PredictionRow(video.name, video.version, error=error))
                continue
            table.add(
                PredictionRow(
                    video.name,
                    video.version,
                    probabilities=tuple(map(float, prediction.probabilities)),
                    decision=prediction.decision,
                    steps=len(prediction.times),
                    seconds=float(prediction.times[-1]),
                    problem=prediction.problem or "",
                )
            )


def _predict_each(
    recogniser: Recogniser, videos: Sequence[_InputVideo], overlays: Mapping[Path, Path]
) -> Generator[tuple[_InputVideo, Prediction | GlimpsesError]]:
    """Predict each video, draw its overlay, and decode the next videos meanwhile.

    Yields:
        Each video with its prediction, or the reason why there is none or no overlay.
    """
    config, failed = recogniser.config, 0
    videos = suspects_last(videos, lambda video: video.path)
    paths = [video.path for video in videos]
    with (
        progress.bar("predicting", len(videos), transient=True) as bar,
        Prefetcher(paths, fps=config.data.fps, size=config.frame_size) as prefetcher,
    ):
        for index, frames in prefetcher:
            prediction: Prediction | GlimpsesError
            try:
                (prediction,) = predict_together(
                    [recogniser], paths[index], open_video=lambda *_, frames=frames, **__: frames
                )
                if paths[index] in overlays:
                    prediction.draw_overlay(overlays[paths[index]])
            except GlimpsesError as error:
                prediction = error
                failed += 1
                bar.note(f"{failed} could not be read")
            yield videos[index], prediction
            bar.advance()


def _find_videos(paths: Sequence[Path], overlay: Path | None) -> list[_InputVideo]:
    """Return the given videos and those in the given folders, without duplicates."""
    videos: dict[str, _InputVideo] = {}

    def add(name: str, path: Path, relative: Path) -> None:
        name = escape_path(name)
        videos.setdefault(name, _InputVideo(name, path, relative, _file_version(path)))

    for path in paths:
        if not path.is_dir() or is_picture_folder(path):
            add(str(path), path, Path(path.name))
            continue
        files = _walk(path, overlay)
        if not files and len(paths) > 1:
            add(str(path), path, Path(path.name))
        elif not files:
            suffixes = " ".join(sorted(SUFFIXES))
            raise GlimpsesError(f"{path}: contains no video ({suffixes}); check the folder")
        for file in files:
            relative = file.relative_to(path)
            add(str(relative if len(paths) == 1 else file), file, relative)
    return list(videos.values())


def _walk(folder: Path, overlay: Path | None) -> list[Path]:
    """Return every video below a folder, sorted, without hidden files and our own overlays."""
    excluded = None if overlay is None else overlay.resolve()
    files = list(walk(folder, warn_unreadable))
    pictures = filter(is_picture_folder, {file.parent for file in files})
    return sorted(
        file
        for file in (*filter(is_clip, files), *pictures)
        if not is_hidden(file, folder)
        and (excluded is None or excluded not in file.resolve().parents)
    )


def _overlay_paths(videos: Sequence[_InputVideo], overlay: Path) -> dict[Path, Path]:
    """Return a distinct overlay path for each video, never that of an input video."""
    if len(videos) == 1 and overlay.suffix:
        overlays = {videos[0].path: overlay}
    else:
        stems = Counter(video.relative.with_suffix("") for video in videos)
        names = Counter(video.relative for video in videos)
        overlays = {}
        for number, video in enumerate(videos, start=1):
            path = video.relative
            # Keep the suffix where only it differs; number files of the same name.
            if stems[path.with_suffix("")] == 1:
                out = path.with_suffix(".mp4")
            elif names[path] == 1:
                out = path.with_name(f"{path.name}.mp4")
            else:
                out = path.with_name(f"{number}-{path.stem}.mp4")
            overlays[video.path] = overlay / out
    inputs = {video.path.resolve() for video in videos}
    for out in overlays.values():
        if out.suffix.lower() != ".mp4":
            raise GlimpsesError(
                f"{out}: overlays are MP4 files; give --overlay a name ending in .mp4"
            )
        if out.resolve() in inputs:
            raise GlimpsesError(f"{out}: is the input video; give --overlay another name")
    return overlays


def _file_version(path: Path) -> tuple[int, int]:
    """Return size and modification time of a file; zeros if it cannot be accessed."""
    try:
        status = path.stat()
    except OSError:
        return 0, 0
    return status.st_size, status.st_mtime_ns


def _model_id(run: Path, config: RunConfig) -> str:
    """Return a digest of everything that determines the predictions of a run."""
    data = replace(config.data, feature_dir=None)
    settings = [
        config.classes, data, config.backbone_weights, config.frame_size,
        config.temperature, config.threshold,
    ]  # fmt: skip
    weights = sha256(runs.weights_file(run))
    return hashlib.sha256(f"{settings} {weights}".encode("utf-8", "replace")).hexdigest()[:12]
