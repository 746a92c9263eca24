"""Overlay videos: the clip with its attention, and a panel of class probabilities below."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from glimpses import video as videos
from glimpses.segments import Segment
from glimpses.viz.heatmap import draw_heatmap, heatmap_scale
from glimpses.viz.panel_layout import BACKGROUND, ClipPanel
from glimpses.viz.segment_panel import SegmentPanel

_MAX_FPS = 30.0
# Small clips are enlarged so that the class names below them are readable.
_MIN_HEIGHT, _MAX_HEIGHT, _MAX_WIDTH = 360, 720, 1280
#: Minimum width of the panel in pixels.
MIN_PANEL_WIDTH = 480

# Seconds by which frames may be outside: times are rounded.
_TOLERANCE = 1e-3


def draw_overlay(
    video: Path,
    out: Path,
    *,
    times: Float[np.ndarray, " T"],
    attention: Float[np.ndarray, "T K K"] | None,
    step_probabilities: Float[np.ndarray, "T C"],
    probabilities: Float[np.ndarray, " C"],
    classes: Sequence[str],
    labels: str | Sequence[str] | None = None,
    decision: str | None = None,
) -> None:
    """Write a video that shows attention and class probabilities as the clip plays.

    The clip keeps its length and, up to 30 frames a second, its frame rate; of a truncated file,
    the readable part is drawn. Attention and probabilities are interpolated between steps and held
    before the first and after the last. Memory does not grow with the clip.

    Args:
        video: the clip.
        out: the file to write; use `.mp4` for browsers.
        times: time of each step, in seconds since the first frame, ascending.
        attention: location softmax l of every step on its grid; None for a model without, which
            leaves the frames unchanged.
        step_probabilities: class probabilities of every step.
        probabilities: class probabilities of the clip.
        classes: names of the actions.
        labels: the classes that the clip shows, if known; the prediction is marked as correct or
            not.
        decision: text to show in place of the most probable class, such as "unsure".

    Raises:
        GlimpsesError: the clip cannot be read or `out` cannot be written.
    """
    info = videos.probe(video)
    # A segment of a recording is shown as a clip of its own.
    start, times = float(times[0]), times - times[0]
    end = float(times[-1] + np.diff(times).max()) if len(times) > 1 else np.inf
    width, height = display_size(info.width, info.height)
    panel = ClipPanel(
        max(width, MIN_PANEL_WIDTH), panel_scale(width, height), times=times,
        step_probabilities=step_probabilities, probabilities=probabilities, classes=classes,
        labels=(labels,) if isinstance(labels, str) else tuple(labels or ()), decision=decision,
        duration=_timeline_seconds(times, info.seconds - start),
    )  # fmt: skip
    _write_frames(
        video, out, info, panel.draw, times=times, attention=attention, start=start, end=end
    )


def draw_segments(
    video: Path,
    out: Path,
    *,
    segments: Sequence[Segment],
    times: Float[np.ndarray, " T"],
    attention: Float[np.ndarray, "T K K"] | None,
) -> None:
    """Write a video that shows attention, and below it a timeline of the segments.

    Args:
        video: the recording.
        out: the file to write; use `.mp4` for browsers.
        segments: the segments of the recording.
        times: time of each step, in seconds since the first frame, ascending.
        attention: location softmax l of every step on its grid, or None.

    Raises:
        GlimpsesError: the recording cannot be read or `out` cannot be written.
    """
    info = videos.probe(video)
    width, height = display_size(info.width, info.height)
    panel = SegmentPanel(
        max(width, MIN_PANEL_WIDTH), panel_scale(width, height), segments=segments,
        duration=_timeline_seconds(times, info.seconds),
    )  # fmt: skip
    _write_frames(video, out, info, panel.draw, times=times, attention=attention)


def _write_frames(
    video: Path,
    out: Path,
    info: videos.VideoInfo,
    draw_panel: Callable[[float], Image.Image],
    *,
    times: Float[np.ndarray, " T"],
    attention: Float[np.ndarray, "T K K"] | None,
    start: float = 0.0,
    end: float = np.inf,
) -> None:
    """Write the frames from `start` to `end`, after it by times from `start`, with a panel."""
    fps = min(info.fps, _MAX_FPS) if info.fps > 0 else _MAX_FPS
    size = display_size(info.width, info.height)
    reader = videos.FrameReader(video, fps=fps, size=size)
    scale = None if attention is None else heatmap_scale(attention)

    def frames() -> Iterator[UInt8[np.ndarray, "H W 3"]]:
        for shown_at, pixels, _ in reader:
            time = shown_at - start
            if time < -_TOLERANCE:
                continue
            if time > end + _TOLERANCE:
                return
            if attention is not None and scale is not None:
                pixels = draw_heatmap(pixels, _interpolate(time, times, attention), scale)
            yield stack_panel(pixels, draw_panel(time))

    videos.write(out, frames(), fps=fps)


def display_size(width: int, height: int) -> tuple[int, int]:
    """Return the size to draw a clip at: same aspect ratio, even sides, neither tiny nor huge."""
    scale = min(max(1.0, _MIN_HEIGHT / height), _MAX_HEIGHT / height, _MAX_WIDTH / width)
    return max(2, round(width * scale / 2) * 2), max(2, round(height * scale / 2) * 2)


def panel_scale(width: int, height: int) -> float:
    """Return the scale of the panel below frames of a given size."""
    return max(1.0, min(width, height) / 420)


def _timeline_seconds(times: Float[np.ndarray, " T"], header_seconds: float) -> float:
    """Return the length of the timeline; a truncated file ends before the time in its header."""
    if len(times) == 1:
        return header_seconds
    return min(header_seconds, float(times[-1] + np.diff(times).max()))


def _interpolate(
    time: float, times: Float[np.ndarray, " T"], values: Float[np.ndarray, "T K K"]
) -> Float[np.ndarray, "K K"]:
    """Interpolate linearly between steps."""
    position = float(np.interp(time, times, np.arange(len(times))))
    before = int(position)
    after = min(before + 1, len(times) - 1)
    weight = position - before
    blend: Float[np.ndarray, "K K"] = (1 - weight) * values[before] + weight * values[after]
    return blend


def stack_panel(
    frame: UInt8[np.ndarray, "H W 3"], panel: Image.Image
) -> UInt8[np.ndarray, "V W 3"]:
    """Return the frame, centred, with the panel below."""
    height, width, _ = frame.shape
    canvas = Image.new("RGB", (panel.width, height + panel.height), BACKGROUND)
    canvas.paste(Image.fromarray(frame), ((panel.width - width) // 2, 0))
    canvas.paste(panel, (0, height))
    return np.array(canvas)
