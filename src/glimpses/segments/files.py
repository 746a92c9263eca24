"""Reading and writing of segments in any format, by the ending of the file or by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from glimpses.segments.elan import read_elan, write_elan
from glimpses.segments.json_forms import (
    read_activitynet,
    read_json,
    read_label_studio,
    write_activitynet,
    write_label_studio,
)
from glimpses.segments.segment import Segment, sort_segments
from glimpses.segments.source import FrameRates, Source
from glimpses.segments.subtitles import (
    read_audacity,
    read_srt,
    read_vtt,
    write_audacity,
    write_srt,
    write_vtt,
)
from glimpses.segments.table import read_table, write_table
from glimpses.segments.via import is_via, read_via, write_via
from glimpses.utils.errors import GlimpsesError, describe_error, unknown_name
from glimpses.utils.files import atomic_write


@dataclass(frozen=True)
class _Format:
    read: Callable[[Source, str], list[Segment]]
    write: Callable[[Source, Sequence[Segment]], str]


_FORMATS = {
    "csv": _Format(read_table, write_table),
    "activitynet": _Format(read_activitynet, write_activitynet),
    "label-studio": _Format(read_label_studio, write_label_studio),
    "via": _Format(read_via, write_via),
    "elan": _Format(read_elan, write_elan),
    "vtt": _Format(read_vtt, write_vtt),
    "srt": _Format(read_srt, write_srt),
    "audacity": _Format(read_audacity, write_audacity),
}
#: Names of the formats.
FORMATS = tuple(_FORMATS)
_ENDINGS = {
    ".csv": "csv", ".tsv": "csv", ".json": "activitynet", ".eaf": "elan", ".vtt": "vtt",
    ".srt": "srt",
}  # fmt: skip


def read_segments(
    path: str | Path, /, *, format: str | None = None, fps: FrameRates = None,
    video: str | None = None,
) -> list[Segment]:  # fmt: skip
    """Read a table of segments, sorted by file and time.

    Args:
        path: the file, at most 64 MiB.
        format: one of `FORMATS`; by default by the ending: `.csv` and `.tsv` are our CSV or
            VIA's, `.json` ActivityNet's or Label Studio's form, `.eaf` ELAN, `.vtt`, `.srt`.
        fps: frame rate of the videos, for Label Studio's ranges of frames: one for all, one for
            each name, or a function of the name. By default, the videos are looked for beside the
            table, and read.
        video: name of the video, for formats that do not give it. By default the file's name
            without its ending.

    Raises:
        GlimpsesError: the file cannot be read, or a segment is impossible.
    """
    source = Source(Path(path), fps, video)
    name = _format(source, format)
    text = source.text()
    if format is None and name == "activitynet":
        return sort_segments(read_json(source, text))
    if format is None and name == "csv" and is_via(text):
        name = "via"
    return sort_segments(_FORMATS[name].read(source, text))


def write_segments(
    path: str | Path, segments: Iterable[Segment], /, *, format: str | None = None,
    fps: FrameRates = None,
) -> None:  # fmt: skip
    """Write a table of segments, sorted by file and time. The file is written atomically.

    Args:
        path: the file to write.
        segments: the segments.
        format: one of `FORMATS`; by default by the ending (see `read_segments`; `.json` is
            ActivityNet's form).
        fps: frame rates of the videos, as in `read_segments`.

    Raises:
        GlimpsesError: the format cannot hold the segments, or the file cannot be written.
    """
    source = Source(Path(path), fps)
    text = _FORMATS[_format(source, format)].write(source, sort_segments(segments))
    try:
        with atomic_write(source.path) as part:
            part.write_text(text, "utf-8", newline="")
    except OSError as error:
        reason = error.strerror or describe_error(error)
        raise source.error(f"cannot be written ({reason})") from error


def segment_format(path: str | Path, format: str | None = None) -> str:
    """Return the name of the format that a table of segments has by its ending.

    Args:
        path: the file, which need not exist.
        format: name of the format, if it is given.

    Raises:
        GlimpsesError: the format is unknown, or no format has this ending.
    """
    return _format(Source(Path(path)), format)


def _format(source: Source, format: str | None) -> str:
    if format is not None:
        if format not in _FORMATS:
            raise unknown_name(f"format {format} is unknown", format, FORMATS)
        return format
    name = _ENDINGS.get(source.path.suffix.lower())
    if name is None:
        raise GlimpsesError(
            f"{source.path}: no format of segments ends like this; name it .csv, .json, .eaf, .vtt "
            f"or .srt, or give the format: {', '.join(FORMATS)}"
        )
    return name
