"""The text of a segment file, its errors, and the frame rates of the videos that it names."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from glimpses import video
from glimpses.segments.segment import Segment
from glimpses.utils.errors import GlimpsesError, describe_error
from glimpses.utils.files import format_size

#: Largest segment file in bytes; an hour of segments takes some kilobytes.
MAX_BYTES = 64 * 2**20
#: Largest number of segments in a file.
MAX_SEGMENTS = 1_000_000

#: Frame rate of all videos, or of each, or a function that returns it; None to read the videos.
FrameRates = float | Mapping[str, float] | Callable[[str], float] | None


@dataclass
class Source:
    """A segment file that is read or written.

    Attributes:
        path: the file.
        fps: frame rates as the caller gave them.
        video: name of the video, for formats that do not name it.
    """

    path: Path
    fps: FrameRates = None
    video: str | None = None
    _rates: dict[str, float] = field(default_factory=dict)

    def error(self, problem: str, line: int | None = None) -> GlimpsesError:
        """Return an error that names the file and the line."""
        return GlimpsesError(f"{self.path}{f':{line}' if line else ''}: {problem}")

    def segment(self, place: int | str | None = None, **values: Any) -> Segment:
        """Return a segment.

        Args:
            place: its line, or a description of its place in the file.
            values: of the segment.

        Raises:
            GlimpsesError: a value is impossible.
        """
        problem = next(
            (
                f"the {name} is missing or of a wrong type"
                for name, kind in (("label", str), ("start", float), ("end", float))
                if not isinstance(values.get(name), kind)
            ),
            None,
        )
        try:
            if problem is None:
                return Segment(**values)
        except ValueError as error:
            problem = describe_error(error)
        line = place if isinstance(place, int) else None
        raise self.error(f"{place}: {problem}" if isinstance(place, str) else str(problem), line)

    def text(self) -> str:
        """Return the contents, UTF-8 or UTF-16 with a byte order mark.

        Raises:
            GlimpsesError: the file cannot be read, is too large or is not text.
        """
        try:
            with self.path.open("rb") as file:
                data = file.read(MAX_BYTES + 1)
        except OSError as error:
            reason = error.strerror or describe_error(error)
            raise self.error(f"cannot be read ({reason})") from error
        if len(data) > MAX_BYTES:
            raise self.error(f"is larger than {format_size(MAX_BYTES)}; divide it")
        wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        try:
            text = data.decode("utf-16" if wide else "utf-8-sig")
        except UnicodeDecodeError as error:
            line = data[: error.start].count(b"\n") + 1
            raise self.error("is not UTF-8 text; save it as UTF-8", line) from error
        if "\0" in text:
            raise self.error("contains a null character; it is not a text file")
        return text

    def rate(self, name: str) -> float:
        """Return the frame rate of a video.

        Raises:
            GlimpsesError: it is not known.
        """
        if name not in self._rates:
            self._rates[name] = self._find_rate(name)
        return self._rates[name]

    def only_video(self, names: set[str], form: str) -> str:
        """Return the one video of the segments, for formats that describe only one.

        Raises:
            GlimpsesError: there are several.
        """
        if len(names) > 1:
            raise self.error(
                f"{form} describes one video, and the segments are of {len(names)}; write one file "
                "for each, or a CSV"
            )
        return next(iter(names), self.video or self.path.stem)

    def _find_rate(self, name: str) -> float:
        if isinstance(self.fps, Mapping):
            rate = self.fps.get(name)
            if rate is None:
                raise self.error(f"the frame rate of {name} is missing; give it as fps")
        elif callable(self.fps):
            rate = self.fps(name)
        elif self.fps is not None:
            rate = self.fps
        else:
            file = next(
                (file for file in (self.path.parent / name, Path(name)) if file.is_file()), None
            )
            if file is None:
                raise self.error(
                    f"needs the frame rate of {name}, which is not there; give it as fps"
                )
            rate = video.probe(file).fps
        if not 0 < rate < 100_000:
            raise self.error(f"the frame rate of {name} must be above 0, not {rate:g}")
        return float(rate)
