"""Segments of files and folders of files: the command `glimpses predict --segments`."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Group
from rich.table import Table

from glimpses import video
from glimpses.inference.find_segments import find_segments, segment_decoder, step_store
from glimpses.inference.recogniser import Recogniser
from glimpses.inference.step_store import StepStore
from glimpses.segments import Segment, SegmentOptions, sort_segments, write_segments
from glimpses.utils import progress
from glimpses.utils.errors import GlimpsesError, WithFailures, pluralise
from glimpses.utils.files import cache_dir

log = logging.getLogger(__name__)

# Segments that the terminal shows; the file has all.
_SHOWN = 20


@dataclass(frozen=True)
class SegmentPredictions(WithFailures):
    """Segments of videos, which were written to a file.

    Attributes:
        table: the file.
        segments: all segments, by video and time.
        videos: number of videos.
        failures: one line for each video that could not be read.
        overlays: overlay videos that were written, by input video.
    """

    table: Path
    segments: tuple[Segment, ...]
    videos: int
    failures: tuple[str, ...]
    overlays: Mapping[Path, Path]

    def to_json(self) -> dict[str, Any]:
        """Return all fields as JSON types."""
        return {
            "table": str(self.table),
            "segments": [segment.to_json() for segment in self.segments],
            "videos": self.videos,
            "failures": list(self.failures),
            "overlays": {str(video): str(out) for video, out in self.overlays.items()},
        }

    def __rich__(self) -> Group:
        table = Table()
        for name in ("video", "start", "end", "action", "score"):
            table.add_column(name, justify="left" if name in ("video", "action") else "right")
        for one in self.segments[:_SHOWN]:
            score = "" if one.score is None else f"{one.score:.0%}"
            table.add_row(one.file, _clock(one.start), _clock(one.end), one.label, score)
        if len(self.segments) > _SHOWN:
            table.add_row(f"and {len(self.segments) - _SHOWN} more", "", "", "", "")
        count = pluralise(len(self.segments), "segment")
        videos = pluralise(self.videos, "video")
        if self.failures:
            videos = f"{self.videos - len(self.failures)} of {videos}"
        note = f"{self.table}: {count} in {videos}"
        written = [f"overlay written: {out}" for out in self.overlays.values()]
        return Group(*([table] if self.segments else []), note, *written)


def predict_segments(
    run: Path,
    videos: Mapping[str, Path],
    table: Path,
    *,
    format: str,
    options: SegmentOptions,
    overlays: Mapping[Path, Path],
    device: str,
) -> SegmentPredictions:
    """Find the segments of videos and write them to one file.

    Step probabilities are kept in the user's cache, so that an interrupted command resumes.

    Args:
        run: folder of a trained run.
        videos: the videos by their name in the file.
        table: the file to write.
        format: one of `segments.FORMATS`.
        options: of the segments.
        overlays: file to draw the segments of a video to, by video.
        device: "cpu" or "cuda".

    Raises:
        GlimpsesError: the run cannot be used, or a file cannot be written.
    """
    recogniser = Recogniser.load(run, device=device)
    recogniser.check_segments(options)
    segments: list[Segment] = []
    failures: list[str] = []
    drawn: dict[Path, Path] = {}
    rates: dict[str, float] = {}
    names, paths = list(videos), list(videos.values())
    config = recogniser.config
    headers = [_header(path) for path in paths]
    with (
        progress.bar("seconds of video", sum(one.seconds for one in headers)) as bar,
        video.Prefetcher(paths, fps=config.data.fps, size=config.frame_size) as prefetcher,
    ):
        for index, frames in prefetcher:
            name, path, done = names[index], paths[index], 0.0
            rates[name] = headers[index].fps

            def advance(seconds: float) -> None:
                nonlocal done
                bar.advance(seconds - done)
                done = seconds

            decoder = segment_decoder(
                config, options, causal=options.causal, file=name, source_fps=rates[name]
            )
            try:
                store = step_store(cache_dir() / "steps", recogniser, path, options)
                new, problem = find_segments(
                    recogniser, frames, decoder, options, store=store, on_progress=advance
                )
                segments += new
                if path in overlays:
                    _draw(path, overlays[path], new, store)
                    drawn[path] = overlays[path]
            except OSError as error:
                failures.append(f"{path}: cannot be read ({error.strerror}); check its name")
            except GlimpsesError as error:
                failures.append(str(error))
            else:
                if problem:
                    log.warning("%s: %s; the frames before that are used", path, problem)
            advance(headers[index].seconds)
    write_segments(table, segments, format=format, fps=rates)
    in_order = tuple(sort_segments(segments))
    return SegmentPredictions(table, in_order, len(paths), tuple(failures), drawn)


def require_one_video(table: Path, format: str, videos: Sequence[Path]) -> None:
    """Refuse a format of one video for several, before any work."""
    if len(videos) > 1 and format in ("elan", "vtt", "srt", "audacity"):
        raise GlimpsesError(
            f"{table}: this format describes one video, and {len(videos)} are given; write a .csv "
            "or .json, or give one video"
        )


def _draw(path: Path, out: Path, segments: list[Segment], store: StepStore) -> None:
    """Draw the segments of a video, with the attention of its stored steps."""
    # Imported here because it loads Matplotlib, which the segments do not need.
    from glimpses import viz

    parts = list(store.read())
    attention = None
    if parts[0].attention is not None:
        places = np.concatenate([part.attention for part in parts if part.attention is not None])
        grid = math.isqrt(places.shape[1])
        attention = places.astype(np.float32).reshape(-1, grid, grid)
    times = np.concatenate([part.times for part in parts])
    viz.draw_segments(path, out, segments=segments, times=times, attention=attention)


def _header(path: Path) -> video.VideoHeader:
    try:
        return video.read_header(path)
    except GlimpsesError:
        # Reading the frames reports it.
        return video.VideoHeader(0.0, 0.0)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds, 1), 60)
    hours, minutes = divmod(int(minutes), 60)
    return f"{hours}:{minutes:02}:{rest:04.1f}" if hours else f"{minutes}:{rest:04.1f}"
