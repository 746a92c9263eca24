"""The video with attention on it: bright where the model looks, its classes over time below."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from glimpses import video as videos
from glimpses.viz.heatmap import draw_heatmap, heatmap_scale
from glimpses.viz.panel_layout import PAPER, Panel

_MOST_FPS = 30.0
# Small clips are enlarged so that the names under them can be read.
_LEAST_HEIGHT, _MOST_HEIGHT, _MOST_WIDTH = 360, 720, 1280
#: Pixels across that the panel has at least.
LEAST_PANEL = 480


def draw_overlay(
    video: Path,
    out: Path,
    *,
    times: Float[np.ndarray, " T"],
    attention: Float[np.ndarray, "T K K"] | None,
    step_probabilities: Float[np.ndarray, "T C"],
    probabilities: Float[np.ndarray, " C"],
    classes: Sequence[str],
    truth: str | Sequence[str] | None = None,
) -> None:
    """Write a video that shows where the model looked and what it thought, as it plays.

    The clip keeps its own length and, up to 30 frames a second, its own frame rate; one that
    breaks off gives what can be read of it. Between two steps attention and probabilities are
    interpolated; before the first and after the last, the nearest step holds. Frames are drawn one
    by one, so memory does not grow with the clip.

    Args:
        video: the clip.
        out: the file to write; `.mp4` for one that browsers play.
        times: when each step was taken, in seconds since the first frame, ascending.
        attention: location softmax l of every step on its grid; None for a model without, then
            the picture is left as it is.
        step_probabilities: class probabilities of every step.
        probabilities: class probabilities of the clip.
        classes: names of the actions.
        truth: what the clip shows, where that is known; marked as right or wrong.

    Raises:
        GlimpsesError: the clip cannot be read or `out` cannot be written.
    """
    info = videos.probe(video)
    width, height = display_size(info.width, info.height)
    fps = min(info.fps, _MOST_FPS) if info.fps > 0 else _MOST_FPS
    panel = Panel(
        max(width, LEAST_PANEL),
        panel_scale(width, height),
        times=times,
        step_probabilities=step_probabilities,
        probabilities=probabilities,
        classes=classes,
        truth=(truth,) if isinstance(truth, str) else tuple(truth or ()),
        seconds=_seconds(times, info.seconds),
    )
    reader = videos.FrameReader(video, fps=fps, size=(width, height))
    full = None if attention is None else heatmap_scale(attention)

    def drawn() -> Iterator[UInt8[np.ndarray, "H W 3"]]:
        for time, pixels in reader:
            if attention is not None and full is not None:
                pixels = draw_heatmap(pixels, _at(time, times, attention), full)
            yield joined(pixels, panel.draw(time))

    videos.write(out, drawn(), fps=fps)


def display_size(width: int, height: int) -> tuple[int, int]:
    """Size to show a clip at: same shape, even sides, neither tiny nor huge."""
    scale = min(max(1.0, _LEAST_HEIGHT / height), _MOST_HEIGHT / height, _MOST_WIDTH / width)
    return max(2, round(width * scale / 2) * 2), max(2, round(height * scale / 2) * 2)


def panel_scale(width: int, height: int) -> float:
    """How large the panel under a picture of some size is written."""
    return max(1.0, min(width, height) / 420)


def _seconds(times: Float[np.ndarray, " T"], promised: float) -> float:
    """Length of the time line: a clip that breaks off ends long before its header says."""
    if len(times) == 1:
        return promised
    return min(promised, float(times[-1] + np.diff(times).max()))


def _at(
    time: float, times: Float[np.ndarray, " T"], values: Float[np.ndarray, "T K K"]
) -> Float[np.ndarray, "K K"]:
    """Interpolate between steps."""
    place = float(np.interp(time, times, np.arange(len(times))))
    before = int(place)
    after = min(before + 1, len(times) - 1)
    share = place - before
    blend: Float[np.ndarray, "K K"] = (1 - share) * values[before] + share * values[after]
    return blend


def joined(picture: UInt8[np.ndarray, "H W 3"], panel: Image.Image) -> UInt8[np.ndarray, "V W 3"]:
    """The picture with the panel under it."""
    height, width, _ = picture.shape
    canvas = Image.new("RGB", (panel.width, height + panel.height), PAPER)
    canvas.paste(Image.fromarray(picture), ((panel.width - width) // 2, 0))
    canvas.paste(panel, (0, height))
    return np.array(canvas)
