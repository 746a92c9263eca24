"""Looks at one picture after the other: a step of the model, a drawing, a word on the delay."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import av
import numpy as np
from jaxtyping import UInt8

from glimpses.inference.recogniser import Recogniser
from glimpses.inference.stream import StreamStep
from glimpses.live.capture import Clock
from glimpses.live.sampler import SampledFrame
from glimpses.utils.errors import GlimpsesError
from glimpses.video import RGBConverter
from glimpses.viz import LiveOverlay

# Delays are counted by hundredths of a second, up to a minute, so that they take no memory.
_DELAYS_PER_SECOND, _LONGEST_DELAY = 100, 60


@dataclass(frozen=True)
class LiveStats:
    """How it went.

    Attributes:
        source: what was watched.
        steps: frames that were looked at.
        dropped: frames that were due to be looked at and were not, for want of time.
        seconds: from the first frame to the last.
        behind: how long after its arrival a frame had been shown, in seconds: the median, and what
            95 % of the frames kept below; None where nothing was live.
        out: the film that was written.
    """

    source: str
    steps: int
    dropped: int
    seconds: float
    behind: tuple[float, float] | None
    out: Path | None

    def to_json(self) -> dict[str, Any]:
        """Everything, for programs."""
        names = ("median", "p95")
        return {
            "source": self.source,
            "steps": self.steps,
            "dropped": self.dropped,
            "seconds": round(self.seconds, 3),
            "behind": self.behind and dict(zip(names, self.behind, strict=True)),
            "out": None if self.out is None else str(self.out),
        }

    def __str__(self) -> str:
        said = f"{self.source}: {self.steps} frames in {self.seconds:.1f} s"
        if self.behind is not None:
            median, most = self.behind
            said += (
                f", {self.dropped} dropped; {median:.2f} s behind live, 95 % of them at most "
                f"{most:.2f} s"
            )
        return said if self.out is None else f"{said}\nwritten: {self.out}"


class Screen(Protocol):
    """What shows pictures to people."""

    def show(self, picture: UInt8[np.ndarray, "H W 3"]) -> None:
        """Show a picture in place of the one before."""


class LiveRecogniser:
    """Looks at what it is given to look at; what it holds does not grow.

    Args:
        recogniser: the model.
        name: of what is watched.
        clock: the time.
        screen: where pictures are shown, if anywhere.
        draws: whether pictures are drawn even without a screen.
        lines: whether to print a line of JSON for every step.
        say: takes a line that tells how it goes.
    """

    def __init__(
        self,
        recogniser: Recogniser,
        name: str,
        clock: Clock,
        *,
        screen: Screen | None = None,
        draws: bool = False,
        lines: bool = False,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._stream = recogniser.stream()
        self._classes = recogniser.classes
        self._side = recogniser.config.frame_size
        self._name, self._clock, self._screen, self._say = name, clock, screen, say
        self._draws, self._lines = draws or screen is not None, lines
        self._steps = self._dropped = 0
        self._seconds = 0.0
        self._delays = np.zeros(_LONGEST_DELAY * _DELAYS_PER_SECOND + 1, np.int64)
        self._drawing = 0.0
        self._problem: Exception | None = None

    def watch(self, looks: Iterator[SampledFrame]) -> Iterator[UInt8[np.ndarray, "V W 3"]]:
        """Look, and show what is seen.

        Yields:
            What was drawn, if anything is: for every look that was due, so that the last picture is
            repeated in place of what was dropped, and a film keeps its speed.

        Raises:
            GlimpsesError: there is nothing to be seen. What comes after the first picture is raised
                by `finish`.
        """
        small = large = overlay = picture = None
        try:
            for look in looks:
                aspect = look.picture.pixel_aspect
                small = small or RGBConverter((self._side, self._side), aspect)
                step = self._stream(self._converted(small, look))
                self._steps += 1
                self._dropped += look.missed
                self._seconds = look.time
                if picture is not None:
                    yield from [picture] * look.missed
                begun = self._clock.now()
                if self._draws:
                    overlay = overlay or LiveOverlay(look.picture.size, self._classes)
                    large = large or RGBConverter(overlay.size, aspect)
                    picture = overlay.draw(
                        self._converted(large, look),
                        time=look.time,
                        probabilities=step.probabilities,
                        attention=step.attention,
                        aside=self._aside(look, begun + self._drawing),
                    )
                    if self._screen is not None:
                        self._screen.show(picture)
                self._drawing = self._clock.now() - begun
                self._report(look, step)
                if picture is not None:
                    yield picture
        except (GlimpsesError, BrokenPipeError) as error:
            if not self._steps:
                raise
            self._problem = error

    def finish(self, out: Path | None) -> LiveStats | None:
        """Tell how it went.

        Args:
            out: the film that was written.

        Returns:
            What is to be told; None if it was printed as the last line.

        Raises:
            GlimpsesError: the source broke off.
        """
        if isinstance(self._problem, GlimpsesError) and out is not None:
            raise GlimpsesError(
                f"{self._problem}; {out} has the {self._steps} frames seen until then"
            ) from self._problem
        if self._problem is not None:
            raise self._problem
        behind = None
        if self._delays.any():
            shares = np.cumsum(self._delays) / self._delays.sum()
            median, most = (int(np.searchsorted(shares, share)) for share in (0.5, 0.95))
            behind = median / _DELAYS_PER_SECOND, most / _DELAYS_PER_SECOND
        watched = LiveStats(self._name, self._steps, self._dropped, self._seconds, behind, out)
        if not self._lines:
            return watched
        print(json.dumps({"watched": watched.to_json()}, ensure_ascii=False), flush=True)
        return None

    def _converted(self, to_rgb: RGBConverter, look: SampledFrame) -> UInt8[np.ndarray, "H W 3"]:
        try:
            return to_rgb(look.picture.frame)
        except av.FFmpegError as error:
            raise GlimpsesError(
                f"{self._name}: its frames cannot be converted ({error.strerror})"
            ) from error

    def _aside(self, look: SampledFrame, now: float) -> str:
        """What stands beside the label: how late the picture will be when it is seen."""
        if look.arrived is None:
            return f"{look.time:.1f} s"
        dropped = f", {self._dropped} dropped" if self._dropped else ""
        return f"{max(now - look.arrived, 0):.2f} s behind live{dropped}"

    def _report(self, look: SampledFrame, step: StreamStep) -> None:
        """Count, and say it to whoever listens."""
        behind = None
        if look.arrived is not None:
            behind = max(self._clock.now() - look.arrived, 0.0)
            place = min(round(behind * _DELAYS_PER_SECOND), len(self._delays) - 1)
            self._delays[place] += 1
        if self._lines:
            line = {
                **step.to_json(),
                "time": round(look.time, 3),
                "behind": None if behind is None else round(behind, 3),
                "dropped": self._dropped,
            }
            print(json.dumps(line, ensure_ascii=False), flush=True)
        else:
            now = look.time if look.arrived is None else self._clock.now()
            chance = step.probabilities.max()
            self._say(f"{step.label} {chance:.0%}  {self._aside(look, now)}, {self._steps} frames")
