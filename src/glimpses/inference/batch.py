"""Videos named by the command line: one, several, or a folder of thousands; `glimpses predict`."""

from __future__ import annotations

import hashlib
import logging
import os
from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Group
from rich.table import Table as RichTable

from glimpses import runs
from glimpses.datasets.layouts.folder import is_clip
from glimpses.inference.csv_table import PredictionTable, Row, name_of
from glimpses.inference.prediction import Prediction
from glimpses.inference.recogniser import Recogniser, predict_together
from glimpses.runs import RunConfig
from glimpses.utils import progress
from glimpses.utils.errors import GlimpsesError
from glimpses.utils.files import sha256
from glimpses.video import SUFFIXES, Prefetcher

log = logging.getLogger(__name__)


class _Video(NamedTuple):
    """A file to be read: what a table calls it, where it is, and where below a folder it lies."""

    name: str
    path: Path
    place: Path
    version: tuple[int, int]


@dataclass(frozen=True)
class Predictions:
    """Predictions for some videos, and why others gave none.

    Attributes:
        predictions: in the order the videos were given.
        overlays: overlay videos written, by input video.
        failures: one line for each video that could not be read.
    """

    predictions: tuple[Prediction, ...]
    overlays: dict[Path, Path]
    failures: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether every video could be read."""
        return not self.failures

    @property
    def complaints(self) -> tuple[str, ...]:
        """One line for each video that could not be read."""
        return self.failures

    def to_json(self) -> dict[str, Any]:
        """Everything, for programs."""
        return {
            "predictions": [
                {
                    **prediction.to_json(),
                    "overlay": str(self.overlays[prediction.video])
                    if prediction.video in self.overlays
                    else None,
                }
                for prediction in self.predictions
            ],
            "failures": list(self.failures),
        }

    def __rich__(self) -> Group:
        table = RichTable()
        for name in ("video", "action", "probability", "then"):
            table.add_column(name, justify="right" if name == "probability" else "left")
        for prediction in self.predictions:
            (best, probability), *others = prediction.top(3)
            then = ", ".join(f"{name} {value:.0%}" for name, value in others)
            table.add_row(str(prediction.video), best, f"{probability:.0%}", then)
        written = [f"overlay written: {out}" for out in self.overlays.values()]
        return Group(*([table] if self.predictions else []), *written)


@dataclass(frozen=True)
class CsvPredictions:
    """Predictions that went into a CSV file.

    Attributes:
        csv: the file.
        videos: how many there are.
        new: how many of them were read this time.
        failures: why videos could not be read, this time or before, by their path in the table.
    """

    csv: Path
    videos: int
    new: int
    failures: Mapping[str, str]

    @property
    def ok(self) -> bool:
        """Whether every video could be read."""
        return not self.failures

    @property
    def complaints(self) -> tuple[str, ...]:
        """One line for each video that could not be read."""
        return tuple(f"{video}: {error}" for video, error in self.failures.items())

    def to_json(self) -> dict[str, Any]:
        """Everything that is not in the file, for programs."""
        return {**asdict(self), "csv": str(self.csv)}

    def __str__(self) -> str:
        read = self.videos - len(self.failures)
        failed = f"; {len(self.failures)} could not be read, --retry tries them again"
        return (
            f"{self.csv}: {read} of {self.videos} videos recognised, {self.new} read this time"
            f"{failed if self.failures else ''}"
        )


def predict(
    run: Path,
    /,
    *videos: Path,
    csv: Path | None = None,
    retry: bool = False,
    overlay: Path | None = None,
    device: str = "cpu",
) -> Predictions | CsvPredictions:
    """Name the action in videos, and draw where the model looked.

    Args:
        run: folder of a trained run.
        videos: video files, and folders of them with all that is inside; links to folders are not
            followed.
        csv: file to write a row for each video to, as soon as it is read; the same command goes on
            where it was. Rows of files that have changed are made anew. Videos of a single folder
            are known by their path below it, so give another folder another file.
        retry: whether videos that could not be read, by the CSV file, are tried again.
        overlay: MP4 file to write for one video; for several, a folder of such files.
        device: "cpu" or "cuda".

    Returns:
        The predictions, or what went into the CSV file; videos that cannot be read are listed in
        it, and do not stop the others.

    Raises:
        GlimpsesError: the run cannot be used, the overlay or the CSV file not be written, or the
            CSV file is of another run.
    """
    run, given = Path(run), tuple(map(Path, videos))
    csv, overlay = (None if place is None else Path(place) for place in (csv, overlay))
    if not given:
        raise GlimpsesError("no video given; use glimpses predict RUN VIDEO...")
    if retry and csv is None:
        raise GlimpsesError("--retry: is for --csv; leave it out")
    config = runs.read_config(run)
    listed = _listed(given, overlay)
    outs = {} if overlay is None else _overlays(listed, overlay)
    if csv is None:
        return _shown(Recogniser.load(run, device=device), listed, outs)
    for path in given:
        if not path.exists():
            raise GlimpsesError(f"{path}: no such file or folder; check its name")
    with PredictionTable(csv, config.classes, _identity(run, config)) as table:
        new = _left(listed, table, outs, retry=retry)
        if len(new) < len(listed):
            log.info("%s: has %d of %d videos already", csv, len(listed) - len(new), len(listed))
        if new:
            _tabulate(Recogniser.load(run, device=device), table, new, outs)
        errors = ((video.name, table.known[video.name].error) for video in listed)
        failures = {name: error for name, error in errors if error}
        return CsvPredictions(csv, len(listed), len(new), failures)


def _shown(
    recogniser: Recogniser, listed: Sequence[_Video], outs: Mapping[Path, Path]
) -> Predictions:
    """Predict and keep everything, to be shown."""
    predictions: list[Prediction] = []
    overlays: dict[Path, Path] = {}
    failures: list[str] = []
    with closing(_predicted(recogniser, listed)) as results:
        for video, prediction in results:
            if isinstance(prediction, GlimpsesError):
                failures.append(str(prediction))
                continue
            predictions.append(prediction)
            if video.path in outs:
                prediction.draw_overlay(outs[video.path])
                overlays[video.path] = outs[video.path]
    return Predictions(tuple(predictions), overlays, tuple(failures))


def _left(
    listed: Sequence[_Video], table: PredictionTable, outs: Mapping[Path, Path], *, retry: bool
) -> list[_Video]:
    """The videos that are still to be read; what a table has of them is taken out."""

    def is_left(video: _Video) -> bool:
        row = table.known.get(video.name)
        if row is None or row.version != video.version:
            return True
        if row.error:
            return retry
        return video.path in outs and not outs[video.path].exists()

    left = [video for video in listed if is_left(video)]
    table.drop({video.name for video in left} & table.known.keys())
    return left


def _tabulate(
    recogniser: Recogniser,
    table: PredictionTable,
    videos: Sequence[_Video],
    outs: Mapping[Path, Path],
) -> None:
    """Predict and keep nothing but rows of a file."""
    with closing(_predicted(recogniser, videos)) as results:
        for video, prediction in results:
            if isinstance(prediction, GlimpsesError):
                error = " ".join(str(prediction).removeprefix(f"{video.path}: ").split())
                table.add(Row(video.name, video.version, error=error))
                continue
            if video.path in outs:
                prediction.draw_overlay(outs[video.path])
            table.add(
                Row(
                    video.name,
                    video.version,
                    probabilities=tuple(map(float, prediction.probabilities)),
                    steps=len(prediction.times),
                    seconds=float(prediction.times[-1]),
                    problem=prediction.problem or "",
                )
            )


def _predicted(
    recogniser: Recogniser, videos: Sequence[_Video]
) -> Generator[tuple[_Video, Prediction | GlimpsesError]]:
    """What is said of each video, or why nothing is; the next ones are decoded meanwhile."""
    config, failed = recogniser.config, 0
    paths = [video.path for video in videos]
    with (
        progress.bar("predicting", len(videos), transient=True) as bar,
        Prefetcher(paths, fps=config.data.fps, size=config.frame_size) as ahead,
    ):
        for video in videos:
            prediction: Prediction | GlimpsesError
            try:
                (prediction,) = predict_together([recogniser], video.path, open_video=ahead.open)
            except GlimpsesError as error:
                prediction = error
                failed += 1
                bar.note(f"{failed} could not be read")
            yield video, prediction
            bar.advance()


def _listed(given: Sequence[Path], overlay: Path | None) -> list[_Video]:
    """The videos that paths stand for, each once."""
    listed: dict[str, _Video] = {}

    def add(name: str, path: Path, place: Path) -> None:
        name = name_of(name)
        listed.setdefault(name, _Video(name, path, place, _version(path)))

    for path in given:
        if not path.is_dir():
            add(str(path), path, Path(path.name))
            continue
        found = _in_folder(path, overlay)
        if not found:
            suffixes = " ".join(sorted(SUFFIXES))
            raise GlimpsesError(f"{path}: there is no video in it ({suffixes}); check the folder")
        for file in found:
            below = file.relative_to(path)
            add(str(below if len(given) == 1 else file), file, below)
    return list(listed.values())


def _in_folder(folder: Path, overlay: Path | None) -> list[Path]:
    """Every video below a folder, sorted; hidden ones and our own overlays are none."""
    ours = None if overlay is None else overlay.resolve()
    found = []
    for place, inside, names in os.walk(folder, onerror=_tell):
        inside[:] = sorted(
            name
            for name in inside
            if not name.startswith(".") and (ours is None or Path(place, name).resolve() != ours)
        )
        found += [file for name in sorted(names) if is_clip(file := Path(place, name))]
    return found


def _tell(error: OSError) -> None:
    log.warning("%s: cannot be looked into (%s)", error.filename, error.strerror)


def _overlays(listed: Sequence[_Video], overlay: Path) -> dict[Path, Path]:
    """Where the overlay of each video goes; never onto another's, nor onto a video itself."""
    if len(listed) == 1 and overlay.suffix:
        outs = {listed[0].path: overlay}
    else:
        stems = Counter(video.place.with_suffix("") for video in listed)
        names = Counter(video.place for video in listed)
        outs = {}
        for number, video in enumerate(listed, start=1):
            place = video.place
            # Of two that differ in their suffix alone, with it; of two of one name, with a number.
            if stems[place.with_suffix("")] == 1:
                out = place.with_suffix(".mp4")
            elif names[place] == 1:
                out = place.with_name(f"{place.name}.mp4")
            else:
                out = place.with_name(f"{number}-{place.stem}.mp4")
            outs[video.path] = overlay / out
    taken = {video.path.resolve() for video in listed}
    for out in outs.values():
        if out.suffix.lower() != ".mp4":
            raise GlimpsesError(
                f"{out}: overlays are MP4 files; give --overlay a name ending in .mp4"
            )
        if out.resolve() in taken:
            raise GlimpsesError(f"{out}: is the video itself; give --overlay another name")
    return outs


def _version(path: Path) -> tuple[int, int]:
    """Size and time of change of a file; of one that cannot be looked at, nothing."""
    try:
        status = path.stat()
    except OSError:
        return 0, 0
    return status.st_size, status.st_mtime_ns


def _identity(run: Path, config: RunConfig) -> str:
    """What tells a model and all that makes its predictions from any other."""
    data = replace(config.data, feature_dir=None)
    settings = [config.classes, data, config.backbone_weights, config.frame_size]
    weights = sha256(runs.weights_file(run))
    return hashlib.sha256(f"{settings} {weights}".encode("utf-8", "replace")).hexdigest()[:12]
