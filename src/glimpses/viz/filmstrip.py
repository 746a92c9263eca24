"""Film strips: frames of a clip with attention and the prediction of each (Figures 2 and 3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

from glimpses import video as videos
from glimpses.viz.heatmap import draw_heatmap, heatmap_scale
from glimpses.viz.style import encode_jpeg

# Large enough for a column of a report, small enough that a page can hold twenty strips.
_HEIGHT, _MAX_WIDTH = 200, 360


@dataclass(frozen=True)
class FilmstripFrame:
    """One step of a film strip.

    Attributes:
        image: the frame, RGB, with attention if the model has it.
        time: seconds since the clip's first frame.
        label: the leading class at this step.
        correct: whether `label` is one of the clip's labels; None if those are unknown.
    """

    image: UInt8[np.ndarray, "H W 3"]
    time: float
    label: str
    correct: bool | None

    def to_jpeg(self) -> bytes:
        """Encode the image as JPEG."""
        return encode_jpeg(self.image)


@dataclass(frozen=True)
class Filmstrip:
    """Some steps of one clip and the prediction for it.

    Attributes:
        name: name of the clip.
        labels: the classes it shows; empty if unknown.
        predicted: its leading class.
        probability: probability of that class.
        frames: the steps, in order of time.
        decision: text to show in place of the leading class, such as "unsure"; None for none.
    """

    name: str
    labels: tuple[str, ...]
    predicted: str
    probability: float
    frames: tuple[FilmstripFrame, ...]
    decision: str | None = None

    @property
    def correct(self) -> bool | None:
        """True if the prediction is correct; None if the labels are unknown."""
        return self.predicted in self.labels if self.labels else None


def draw_filmstrip(
    video: Path,
    *,
    times: Float[np.ndarray, " T"],
    attention: Float[np.ndarray, "T K K"] | None,
    step_probabilities: Float[np.ndarray, "T C"],
    probabilities: Float[np.ndarray, " C"],
    classes: Sequence[str],
    labels: str | Sequence[str] | None = None,
    decision: str | None = None,
    count: int = 6,
    steps: Sequence[int] | None = None,
) -> Filmstrip:
    """Draw attention on some steps of a clip.

    Args:
        video: the clip.
        times: time of each step, in seconds since the first frame, ascending.
        attention: location softmax l of every step on its grid; None for a model without.
        step_probabilities: class probabilities of every step.
        probabilities: class probabilities of the clip.
        classes: names of the actions.
        labels: the classes that the clip shows, if known.
        decision: text to show in place of the most probable class, such as "unsure".
        count: number of equally spaced steps; fewer if the clip has fewer.
        steps: steps to draw instead, ascending.

    Raises:
        GlimpsesError: the clip cannot be read.
    """
    true_labels = (labels,) if isinstance(labels, str) else tuple(labels or ())
    spaced = np.linspace(0, len(times) - 1, count).round().astype(int)
    chosen = np.unique(spaced if steps is None else np.asarray(steps, int))
    images = _frames_at(video, times[chosen])
    if attention is not None:
        scale = heatmap_scale(attention)
        images = [
            draw_heatmap(image, attention[step], scale)
            for image, step in zip(images, chosen, strict=True)
        ]
    leading = [classes[int(step_probabilities[step].argmax())] for step in chosen]
    best = int(probabilities.argmax())
    return Filmstrip(
        name=video.name,
        labels=true_labels,
        predicted=classes[best],
        probability=float(probabilities[best]),
        frames=tuple(
            FilmstripFrame(
                image, float(times[step]), label, label in true_labels if true_labels else None
            )
            for image, step, label in zip(images, chosen, leading, strict=True)
        ),
        decision=decision,
    )


def _frames_at(video: Path, times: Float[np.ndarray, " n"]) -> list[UInt8[np.ndarray, "H W 3"]]:
    """Return the frames on display at ascending times, decoding only as far as necessary."""
    info = videos.probe(video)
    scale = min(_HEIGHT / info.height, _MAX_WIDTH / info.width)
    size = max(2, round(info.width * scale)), max(2, round(info.height * scale))
    chosen: list[UInt8[np.ndarray, "H W 3"]] = []
    on_display: videos.Frame | None = None
    for frame in videos.FrameReader(video, fps="native", size=size):
        while (
            on_display
            and len(chosen) < len(times)
            and frame.time > times[len(chosen)] + videos.DISPLAY_TOLERANCE
        ):
            chosen.append(on_display.pixels)
        if len(chosen) == len(times):
            return chosen
        on_display = frame
    assert on_display is not None, "a reader yields a frame or raises"
    return chosen + [on_display.pixels] * (len(times) - len(chosen))
