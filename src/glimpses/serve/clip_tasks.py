"""What a worker does with a clip: look at it, say what was seen, draw it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from glimpses import video, viz
from glimpses.inference import Prediction, Recogniser, predict_together
from glimpses.serve.worker import COPY, PREDICTION, Task, overlay_name, picture_name
from glimpses.utils.errors import GlimpsesError
from glimpses.utils.files import atomic_write

# The copy that the page plays: its longer side in pixels, and frames per second at most.
_SIDE, _FPS = 720, 30.0
# Frames of 8K have 33 million pixels.
_MOST_PIXELS = 34_000_000
# A header may round a duration.
_SLACK = 0.5
# What recognising is of the work; the rest is copying and drawing.
_RECOGNISING = 0.7

Progress = Callable[[float, str], None]


def recognise(recognisers: Sequence[Recogniser], order: Task, progress: Progress) -> None:
    """Recognise a clip with some models; writes `PREDICTION`, `COPY` and pictures to its folder.

    Raises:
        GlimpsesError: the clip cannot be read, is too long or too large.
    """
    path, folder = Path(order.video), Path(order.folder)
    chosen = [recognisers[number] for number in order.models]
    info = video.probe(path)
    if info.width * info.height > _MOST_PIXELS:
        raise GlimpsesError(
            f"{order.name}: has {info.width}x{info.height} pixels; give one of 8K or less"
        )
    _require_short(info.seconds, order)
    rounds = len({recogniser.feature_key for recogniser in chosen})
    done, before = 0, 0.0

    def seen(time: float) -> None:
        nonlocal done, before
        _require_short(time, order)
        # The time falls where the next CNN begins anew.
        done, before = done + (time < before), time
        share = min(1.0, time / info.seconds) if info.seconds else 0.0
        progress(_RECOGNISING * (done + share) / rounds, "looking")

    predictions = predict_together(chosen, path, on_progress=seen)
    size = _copy(path, folder / COPY, info, progress)
    shown = []
    for number, prediction in zip(order.models, predictions, strict=True):
        steps = prediction.decisive_steps()
        strip = replace(prediction, video=folder / COPY).strip(steps=steps)
        for place, glimpse in enumerate(strip.glimpses):
            (folder / picture_name(number, place)).write_bytes(glimpse.jpeg())
        shown.append({"model": number, "decisive_steps": steps, **_in_short(prediction)})
    with atomic_write(folder / PREDICTION) as part:
        part.write_text(
            json.dumps(
                {
                    "clip": order.name,
                    "truth": list(order.truth),
                    "seconds": round(_seconds(predictions, info), 3),
                    "width": size[0],
                    "height": size[1],
                    "problem": predictions[0].problem,
                    "models": shown,
                }
            )
        )


def draw(_: Sequence[Recogniser], order: Task, progress: Progress) -> None:
    """Draw the overlay video of a clip that was recognised, from the copy that the page plays."""
    folder = Path(order.folder)
    told = json.loads((folder / PREDICTION).read_text())
    said = next(each for each in told["models"] if each["model"] == order.models[0])
    progress(0.0, "drawing")
    viz.draw_overlay(
        folder / COPY,
        folder / overlay_name(order.models[0]),
        times=np.array(said["times"]),
        attention=None if said["attention"] is None else np.array(said["attention"]),
        step_probabilities=np.array(said["step_probabilities"]),
        probabilities=np.array(list(said["probabilities"].values())),
        classes=tuple(said["probabilities"]),
        truth=told["truth"],
    )


def _require_short(seconds: float, order: Task) -> None:
    if seconds > order.most_seconds + _SLACK:
        raise GlimpsesError(
            f"{order.name}: is longer than {order.most_seconds:g} seconds, the most that is "
            "looked at here; cut it shorter"
        )


def _in_short(prediction: Prediction) -> dict[str, Any]:
    """A prediction as it is told to the page, without its file; `light` is `heatmap_scale`."""
    told = prediction.to_json()
    del told["video"], told["problem"]
    maps = prediction.attention
    if maps is not None:
        # Thousandths of what is shown at full light are beyond what an eye can see.
        told["attention"] = maps.round(5).tolist()
    return {**told, "light": None if maps is None else viz.heatmap_scale(maps)}


def _seconds(predictions: Sequence[Prediction], info: video.VideoInfo) -> float:
    """Length of the time line: what the file says, or what was read where it says nothing."""
    last = max(float(prediction.times[-1]) for prediction in predictions)
    broken = any(prediction.problem for prediction in predictions)
    return last + 0.1 if broken or info.seconds <= last else info.seconds


def _copy(path: Path, out: Path, info: video.VideoInfo, progress: Progress) -> tuple[int, int]:
    """Write a clip as any browser plays it; gives its size."""
    scale = min(1.0, _SIDE / max(info.width, info.height))
    # H.264 wants even sides.
    width, height = (max(2, 2 * round(side * scale / 2)) for side in (info.width, info.height))
    fps = min(max(info.fps, 1.0), _FPS) if info.fps > 0 else _FPS

    def frames() -> Iterator[Any]:
        for frame in video.FrameReader(path, fps=fps, size=(width, height)):
            share = min(1.0, frame.time / info.seconds) if info.seconds else 0.0
            progress(_RECOGNISING + (1 - _RECOGNISING) * share, "drawing")
            yield frame.pixels

    video.write(out, frames(), fps=fps)
    return width, height
