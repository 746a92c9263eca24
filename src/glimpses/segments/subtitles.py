"""Segments as text beside one video: WebVTT, SRT, and Audacity's labels."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Sequence

from glimpses.segments.segment import Segment
from glimpses.segments.source import MAX_SEGMENTS, Source

_TIME = r"(?:(\d{1,6}):)?([0-5]\d):([0-5]\d)[.,](\d{3})"
_TIMES = re.compile(rf"\s*{_TIME}\s+-->\s+{_TIME}(?:\s.*)?")
_TAG = re.compile(r"<[^<>]{0,200}>")


def read_vtt(source: Source, text: str) -> list[Segment]:
    """Return the cues of a WebVTT file.

    Raises:
        GlimpsesError: the file is not WebVTT, or a cue is impossible.
    """
    if not text.startswith("WEBVTT"):
        raise source.error("must begin with WEBVTT", 1)
    return [
        source.segment(line, file=_name(source), start=start, end=end, label=_plain(label))
        for line, start, end, label in _cues(
            source, text, skip=("WEBVTT", "NOTE", "STYLE", "REGION")
        )
    ]


def read_srt(source: Source, text: str) -> list[Segment]:
    """Return the subtitles of an SRT file.

    Raises:
        GlimpsesError: a subtitle is impossible.
    """
    return [
        source.segment(line, file=_name(source), start=start, end=end, label=label)
        for line, start, end, label in _cues(source, text)
    ]


def write_vtt(source: Source, segments: Sequence[Segment]) -> str:
    """Return a WebVTT file with a cue for each segment."""
    source.only_video({one.file for one in segments}, "WebVTT")
    cues = (
        f"\n{_stamp(one.start, '.')} --> {_stamp(one.end, '.')}\n"
        f"{html.escape(_lines(source, one), quote=False)}\n"
        for one in segments
    )
    return "WEBVTT\n" + "".join(cues)


def write_srt(source: Source, segments: Sequence[Segment]) -> str:
    """Return an SRT file with a subtitle for each segment."""
    source.only_video({one.file for one in segments}, "SRT")
    return "\n".join(
        f"{number}\n{_stamp(one.start, ',')} --> {_stamp(one.end, ',')}\n{_lines(source, one)}\n"
        for number, one in enumerate(segments, start=1)
    )


def read_audacity(source: Source, text: str) -> list[Segment]:
    """Return Audacity's labels: start, end and label, separated by tabs.

    Raises:
        GlimpsesError: a line is impossible.
    """
    segments = []
    for line, row in enumerate(text.splitlines(), start=1):
        # A line that begins with a backslash has the frequencies of the label above it.
        if not row.strip() or row.startswith("\\"):
            continue
        cells = row.split("\t", 2)
        try:
            start, end = float(cells[0]), float(cells[1])
            label = cells[2]
        except (ValueError, IndexError):
            raise source.error("must be start, end and label, separated by tabs", line) from None
        segments.append(source.segment(line, file=_name(source), start=start, end=end, label=label))
        if len(segments) > MAX_SEGMENTS:
            raise source.error(f"has more than {MAX_SEGMENTS} segments; divide it", line)
    return segments


def write_audacity(source: Source, segments: Sequence[Segment]) -> str:
    """Return Audacity's labels, one a line."""
    source.only_video({one.file for one in segments}, "Audacity's format")
    for one in segments:
        if len(one.label.splitlines()) > 1:
            raise source.error(f"Audacity's format has no line breaks in labels: {one.label!r}")
    return "".join(f"{one.start}\t{one.end}\t{one.label}\n" for one in segments)


def _cues(
    source: Source, text: str, skip: tuple[str, ...] = ()
) -> Iterator[tuple[int, float, float, str]]:
    """Yield line, start, end and text of the blocks between empty lines."""
    count = 0
    for first, block in _blocks(text):
        if skip and re.split(r"\s", block[0], maxsplit=1)[0] in skip:
            continue
        # A line above the times is the number or name of the cue.
        index = next((index for index in range(min(2, len(block))) if "-->" in block[index]), None)
        match = None if index is None else _TIMES.fullmatch(block[index])
        if index is None or match is None:
            raise source.error("must be times, as in 00:00:01.000 --> 00:00:02.500", first)
        values = [int(part or 0) for part in match.groups()]
        start, end = (
            (((hours * 60 + minutes) * 60 + seconds) * 1000 + milliseconds) / 1000
            for hours, minutes, seconds, milliseconds in (values[:4], values[4:])
        )
        count += 1
        if count > MAX_SEGMENTS:
            raise source.error(f"has more than {MAX_SEGMENTS} segments; divide it", first)
        yield first + index, start, end, "\n".join(block[index + 1 :])


def _blocks(text: str) -> Iterator[tuple[int, list[str]]]:
    block: list[str] = []
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    for number, line in enumerate([*lines, ""], start=1):
        if line.strip():
            block.append(line)
        elif block:
            yield number - len(block), block
            block = []


def _plain(label: str) -> str:
    return html.unescape(_TAG.sub("", label))


def _name(source: Source) -> str:
    return source.video or source.path.stem


def _stamp(seconds: float, point: str) -> str:
    milliseconds = round(seconds * 1000)
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02}:{minutes % 60:02}:{rest // 1000:02}{point}{rest % 1000:03}"


def _lines(source: Source, one: Segment) -> str:
    if "\r" in one.label or not all(line.strip() for line in one.label.split("\n")):
        raise source.error(f"subtitles cannot have empty lines, as in the label {one.label!r}")
    return one.label
