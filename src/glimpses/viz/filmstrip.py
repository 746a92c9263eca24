"""A clip as a row of frames with attention and what the model said of each (Figures 2 and 3)."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from glimpses import video as videos
from glimpses.viz.heatmap import draw_heatmap, heatmap_scale

# Large enough for a report's column, small enough that twenty strips fit in one page.
_HEIGHT, _MOST_WIDTH = 200, 360


@dataclass(frozen=True)
class FilmstripFrame:
    """One step of a strip.

    Attributes:
        picture: the frame, with attention where the model has it, RGB.
        time: in seconds since the clip's first frame.
        label: the leading class at this step.
        right: whether the clip shows that class; None if what it shows is not known.
    """

    picture: UInt8[np.ndarray, "H W 3"]
    time: float
    label: str
    right: bool | None

    def jpeg(self) -> bytes:
        """The picture as a small file."""
        buffer = io.BytesIO()
        Image.fromarray(self.picture).save(buffer, "JPEG", quality=85)
        return buffer.getvalue()


@dataclass(frozen=True)
class Filmstrip:
    """Some steps of one clip, equally spaced, and what became of it.

    Attributes:
        name: of the clip.
        truth: the classes it shows; empty if not known.
        predicted: its leading class.
        probability: of that class.
        glimpses: the steps, in order of time.
    """

    name: str
    truth: tuple[str, ...]
    predicted: str
    probability: float
    glimpses: tuple[FilmstripFrame, ...]

    @property
    def right(self) -> bool | None:
        """Whether the prediction is right; None if the truth is not known."""
        return self.predicted in self.truth if self.truth else None


def strip(
    video: Path,
    *,
    times: Float[np.ndarray, " T"],
    attention: Float[np.ndarray, "T K K"] | None,
    step_probabilities: Float[np.ndarray, "T C"],
    probabilities: Float[np.ndarray, " C"],
    classes: Sequence[str],
    truth: str | Sequence[str] | None = None,
    count: int = 6,
    steps: Sequence[int] | None = None,
) -> Filmstrip:
    """Draw attention on some steps of a clip.

    Args:
        video: the clip.
        times: when each step was taken, in seconds since the first frame, ascending.
        attention: location softmax l of every step on its grid; None for a model without.
        step_probabilities: class probabilities of every step.
        probabilities: class probabilities of the clip.
        classes: names of the actions.
        truth: what the clip shows, where that is known.
        count: how many equally spaced steps; fewer where the clip has fewer.
        steps: which steps instead, ascending.

    Raises:
        GlimpsesError: the clip cannot be read.
    """
    known = (truth,) if isinstance(truth, str) else tuple(truth or ())
    spaced = np.linspace(0, len(times) - 1, count).round().astype(int)
    shown = np.unique(spaced if steps is None else np.asarray(steps, int))
    pictures = _frames_at(video, times[shown])
    if attention is not None:
        full = heatmap_scale(attention)
        pictures = [
            draw_heatmap(picture, attention[step], full)
            for picture, step in zip(pictures, shown, strict=True)
        ]
    labels = [classes[int(step_probabilities[step].argmax())] for step in shown]
    best = int(probabilities.argmax())
    return Filmstrip(
        name=video.name,
        truth=known,
        predicted=classes[best],
        probability=float(probabilities[best]),
        glimpses=tuple(
            FilmstripFrame(picture, float(times[step]), label, label in known if known else None)
            for picture, step, label in zip(pictures, shown, labels, strict=True)
        ),
    )


def _frames_at(video: Path, times: Float[np.ndarray, " n"]) -> list[UInt8[np.ndarray, "H W 3"]]:
    """The frames on display at some ascending times, decoding no further than need be."""
    info = videos.probe(video)
    scale = min(_HEIGHT / info.height, _MOST_WIDTH / info.width)
    size = max(2, round(info.width * scale)), max(2, round(info.height * scale))
    chosen: list[UInt8[np.ndarray, "H W 3"]] = []
    shown: videos.Frame | None = None
    for frame in videos.FrameReader(video, fps="native", size=size):
        while (
            shown
            and len(chosen) < len(times)
            and frame.time > times[len(chosen)] + videos.DISPLAY_TOLERANCE
        ):
            chosen.append(shown.pixels)
        if len(chosen) == len(times):
            return chosen
        shown = frame
    assert shown is not None, "a reader yields a frame or raises"
    return chosen + [shown.pixels] * (len(times) - len(chosen))
