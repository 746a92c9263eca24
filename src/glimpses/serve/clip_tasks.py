"""Tasks that a worker runs on a clip: recognition and overlay videos."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from glimpses import video, viz
from glimpses.inference import Prediction, Recogniser, predict_together, prediction_segments
from glimpses.segments import Segment
from glimpses.serve.worker import COPY, PREDICTION, Task, overlay_name, picture_name
from glimpses.utils.errors import GlimpsesError
from glimpses.utils.files import atomic_write

# The MP4 copy for the page: longer edge in pixels, and highest frame rate.
_COPY_SIZE, _COPY_FPS = 720, 30.0
# Largest frame: 8K has 33 million pixels.
_MAX_PIXELS = 34_000_000
# Tolerated excess over the longest clip, in seconds, because headers round durations.
_DURATION_TOLERANCE = 0.5
# Share of the progress bar for recognition; the rest is for the copy.
_RECOGNITION_SHARE = 0.7

ProgressCallback = Callable[[float, str], None]


def recognise(recognisers: Sequence[Recogniser], task: Task, on_progress: ProgressCallback) -> None:
    """Recognise a clip; write `PREDICTION`, `COPY` and step pictures to the task's folder.

    Raises:
        GlimpsesError: the clip cannot be read, is too long or too large.
    """
    path, folder = Path(task.video), Path(task.folder)
    chosen = [recognisers[index] for index in task.models]
    info = video.probe(path)
    if info.width * info.height > _MAX_PIXELS:
        raise GlimpsesError(f"{task.name}: has {info.width}x{info.height} pixels; the limit is 8K")
    _check_duration(info.seconds, task)
    passes = len({recogniser.feature_key for recogniser in chosen})
    passes_done, last_time = 0, 0.0

    def on_frame(time: float) -> None:
        nonlocal passes_done, last_time
        _check_duration(time, task)
        # The time goes back when the next backbone starts.
        passes_done, last_time = passes_done + (time < last_time), time
        share = min(1.0, time / info.seconds) if info.seconds else 0.0
        on_progress(_RECOGNITION_SHARE * (passes_done + share) / passes, "recognising")

    predictions = predict_together(chosen, path, on_progress=on_frame)
    width, height = _write_copy(path, folder / COPY, info, on_progress)
    seconds = round(_duration(predictions, info), 3)
    results = []
    for model, prediction in zip(task.models, predictions, strict=True):
        segments = prediction_segments(
            recognisers[model].config, prediction, end=seconds, source_fps=info.fps or None
        )
        steps = prediction.decisive_steps()
        strip = replace(prediction, video=folder / COPY).strip(steps=steps)
        for index, frame in enumerate(strip.frames):
            (folder / picture_name(model, index)).write_bytes(frame.to_jpeg())
        results.append({
            "model": model, "decisive_steps": steps,
            "segments": [_segment_to_json(segment) for segment in segments],
            **_to_json(prediction),
        })  # fmt: skip
    result = {
        "clip": task.name, "labels": list(task.labels),
        "seconds": seconds, "width": width, "height": height, "fps": info.fps,
        "warning": predictions[0].problem, "models": results,
    }  # fmt: skip
    with atomic_write(folder / PREDICTION) as part:
        part.write_text(json.dumps(result))


def draw_overlay(_: Sequence[Recogniser], task: Task, on_progress: ProgressCallback) -> None:
    """Write the overlay video of a recognised clip, drawn on its MP4 copy."""
    folder, (model,) = Path(task.folder), task.models
    clip = json.loads((folder / PREDICTION).read_text())
    result = next(result for result in clip["models"] if result["model"] == model)
    on_progress(0.0, "drawing")
    viz.draw_overlay(
        folder / COPY,
        folder / overlay_name(model),
        times=np.array(result["times"]),
        attention=None if result["attention"] is None else np.array(result["attention"]),
        step_probabilities=np.array(result["step_probabilities"]),
        probabilities=np.array(list(result["probabilities"].values())),
        classes=tuple(result["probabilities"]),
        labels=clip["labels"],
        decision=None if result["decision"] == result["label"] else result["decision"],
    )


def _check_duration(seconds: float, task: Task) -> None:
    if seconds > task.max_seconds + _DURATION_TOLERANCE:
        limit = f"{task.max_seconds:g} seconds, the limit of this server"
        raise GlimpsesError(f"{task.name}: is longer than {limit}; cut it")


def _to_json(prediction: Prediction) -> dict[str, Any]:
    """Return a prediction as JSON-compatible values, with the scale of its heat map."""
    result = prediction.to_json()
    del result["video"], result["problem"]
    attention = prediction.attention
    result["heatmap_scale"] = None if attention is None else viz.heatmap_scale(attention)
    if attention is not None:
        # Finer differences are invisible at this scale.
        result["attention"] = attention.round(5).tolist()
    return result


def _segment_to_json(segment: Segment) -> dict[str, Any]:
    """Return a segment as the API gives it; times to the millisecond."""
    values = {"score": segment.score, "box": segment.box}
    times = {name: getattr(segment, name) for name in ("start", "end", "peak")}
    rounded = {name: None if time is None else round(time, 3) for name, time in times.items()}
    return {"label": segment.label, **values, **rounded}


def _duration(predictions: Sequence[Prediction], info: video.VideoInfo) -> float:
    """Return the declared duration, or that of the frames read if the file is damaged."""
    last = max(float(prediction.times[-1]) for prediction in predictions)
    damaged = any(prediction.problem for prediction in predictions)
    return last + 0.1 if damaged or info.seconds <= last else info.seconds


def _write_copy(
    path: Path, out: Path, info: video.VideoInfo, on_progress: ProgressCallback
) -> tuple[int, int]:
    """Write an MP4 copy that browsers can play; return its width and height."""
    scale = min(1.0, _COPY_SIZE / max(info.width, info.height))
    # H.264 needs even dimensions.
    width, height = (max(2, 2 * round(edge * scale / 2)) for edge in (info.width, info.height))
    fps = min(max(info.fps, 1.0), _COPY_FPS) if info.fps > 0 else _COPY_FPS

    def frames() -> Iterator[Any]:
        for frame in video.FrameReader(path, fps=fps, size=(width, height)):
            share = min(1.0, frame.time / info.seconds) if info.seconds else 0.0
            on_progress(
                _RECOGNITION_SHARE + (1 - _RECOGNITION_SHARE) * share, "preparing the video"
            )
            yield frame.pixels

    video.write(out, frames(), fps=fps)
    return width, height
