"""Options of the segments of long videos: those of the decoding, and those a user gives."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

import numpy as np
from cyclopts import Parameter

from glimpses.utils.options import (
    InvalidOptionError,
    OptionGroup,
    require_int,
    require_number,
)


@dataclass(frozen=True)
class DecodeOptions:
    """Options of the step from probabilities to segments.

    Attributes:
        threshold: lowest probability of an active class: one, or one for each class.
        release: a segment that began at the threshold lasts until the probability is below this
            fraction of it (hysteresis); 1 for a plain threshold.
        smoothing: length in steps of the moving mean; 1 for none.
        centred: the moving mean is over the steps around each one, so that segments come
            `smoothing // 2` steps later; otherwise over the step and those before it.
        min_length: shortest segment in seconds.
        join_gap: segments of one class at most this many seconds apart are joined.
        background: indices of the background classes, which never give segments.
        exclusive: only the most probable class of a step is active, and segments never overlap: a
            gap is not joined over another segment that is long enough, and one that is not is left
            out.
    """

    threshold: float | tuple[float, ...] = 0.5
    release: float = 1.0
    smoothing: int = 1
    centred: bool = False
    min_length: float = 0.0
    join_gap: float = 0.0
    background: int | tuple[int, ...] | None = None
    exclusive: bool = False

    def __post_init__(self) -> None:
        thresholds = np.atleast_1d(self.threshold)
        if not ((thresholds > 0) & (thresholds <= 1)).all():
            raise ValueError(f"threshold must be above 0 and at most 1, not {self.threshold}")
        if not 0 < self.release <= 1:
            raise ValueError(f"release must be above 0 and at most 1, not {self.release}")
        if self.smoothing < 1 or (self.centred and self.smoothing % 2 == 0):
            odd = " and odd, since it is centred" if self.centred else ""
            raise ValueError(f"smoothing must be at least 1{odd}, not {self.smoothing}")
        if not (0 <= self.min_length < np.inf and 0 <= self.join_gap < np.inf):
            raise ValueError("min_length and join_gap must not be negative")


@dataclass(frozen=True)
class SegmentOptions(OptionGroup):
    """Options of the segments of a long video.

    Options that are not given are those that the run has learned, or else the defaults below.

    Attributes:
        threshold: probability from which a class is active; `auto` for the learned one, or 0.5.
        smoothing: length in seconds of the moving mean of the probabilities; 0 for none.
        min_length: shortest segment, in seconds.
        join_gap: segments of one class that are at most this many seconds apart are joined.
        stride: frames between the starts of blocks, 1 to T; default: T / 2.
        causal: use no frames after a step for its probabilities, as a stream does.

    Raises:
        InvalidOptionError: an option is out of range.
    """

    threshold: float | Literal["auto"] = "auto"
    smoothing: float = 1.0
    min_length: float = 0.5
    join_gap: float = 0.5
    stride: int | None = None
    causal: Annotated[bool, Parameter(negative="", show_default=False)] = False

    def __post_init__(self) -> None:
        if self.threshold != "auto":
            require_number("threshold", self.threshold, 0, 1)
            if self.threshold == 0:
                raise InvalidOptionError("--threshold 0: must be above 0; give 0.01, for example")
        for name in ("smoothing", "min_length", "join_gap"):
            require_number(name, getattr(self, name), 0)
        if self.stride is not None:
            require_int("stride", self.stride)
        if not isinstance(self.causal, bool):
            raise InvalidOptionError(f"--causal {self.causal}: must be true or false")

    def decoding(
        self, learned: DecodeOptions | None, *, step: float, background: tuple[int, ...],
        exclusive: bool, causal: bool,
    ) -> DecodeOptions:  # fmt: skip
        """Return the options of a `Decoder`.

        Args:
            learned: the options that the run has learned.
            step: seconds from one step to the next.
            background: indices of the background classes.
            exclusive: whether only one class is active at a time.
            causal: whether later steps may not be used.
        """
        values: dict[str, Any] = {
            name: getattr(self, name)
            for name in ("min_length", "join_gap")
            if learned is None or name in self.given_names
        }
        if self.threshold != "auto":
            values["threshold"] = self.threshold
        if learned is None or "smoothing" in self.given_names:
            values["smoothing"] = max(1, round(self.smoothing / step))
        base = replace(
            learned or DecodeOptions(), centred=False, background=background or None,
            exclusive=exclusive, **values,
        )  # fmt: skip
        if causal:
            return base
        # A mean around a step has as many steps before it as after it.
        return replace(base, smoothing=base.smoothing // 2 * 2 + 1, centred=True)
