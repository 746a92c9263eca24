"""Segments of a video by a recogniser: step probabilities and their decoding."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from glimpses import video
from glimpses.datasets import is_background
from glimpses.inference.prediction import Prediction
from glimpses.inference.step_store import StepStore
from glimpses.inference.steps import StepReader
from glimpses.runs import RunConfig
from glimpses.segments import Decoder, Segment, SegmentOptions, sort_segments
from glimpses.video import FrameRate

if TYPE_CHECKING:
    from glimpses.inference.recogniser import Recogniser

#: Frames per second of "native", where the rate of the source is not known.
DEFAULT_FPS = 25.0


def segment_decoder(
    config: RunConfig, options: SegmentOptions, *, causal: bool, file: str = "",
    source_fps: float | None = None,
) -> Decoder:  # fmt: skip
    """Return the decoder of a run's step probabilities.

    Args:
        config: of the run.
        options: of the segments.
        causal: whether later steps may not be used.
        file: name of the video.
        source_fps: frame rate of the video, which a run at the "native" rate reads at.
    """
    fps: FrameRate | None = config.data.fps
    if fps == "native":
        fps = source_fps or DEFAULT_FPS
    assert isinstance(fps, int | float)
    background = tuple(index for index, name in enumerate(config.classes) if is_background(name))
    decoding = options.decoding(
        config.segment_decoding, step=1 / fps, background=background,
        exclusive=not config.multi_label, causal=causal,
    )  # fmt: skip
    return Decoder(config.classes, step=1 / fps, file=file, options=decoding)


def step_store(
    root: str | Path, recogniser: Recogniser, path: Path, options: SegmentOptions
) -> StepStore:
    """Return the store of a video's step probabilities; another version has another store."""
    status = path.stat()
    version = str(path.resolve()), status.st_size, status.st_mtime_ns
    stride = options.stride
    return StepStore(Path(root), _model_digest(recogniser), version, stride, options.causal)


def find_segments(
    recogniser: Recogniser,
    frames: video.FrameSource,
    decoder: Decoder,
    options: SegmentOptions,
    *,
    store: StepStore | None = None,
    on_progress: Callable[[float], None] | None = None,
) -> tuple[list[Segment], str | None]:
    """Return the segments of a video, sorted, and its damage.

    Memory does not grow with the length of the video, except by its segments.

    Args:
        recogniser: the model.
        frames: frames of the video, as `Recogniser` samples them.
        decoder: a new one, of `segment_decoder`.
        options: of the segments.
        store: keeps the step probabilities, so that an interrupted work is resumed.
        on_progress: called after each batch of frames with the time of the last one in seconds.

    Raises:
        GlimpsesError: the video cannot be read, the model cannot stream, or the disk is full.
    """
    steps = StepReader(
        recogniser, frames, stride=options.stride, causal=options.causal, store=store,
        on_progress=on_progress,
    )  # fmt: skip
    segments: list[Segment] = []
    for part in steps:
        segments += decoder.add(
            part.probabilities, times=part.times, frames=part.frames, attention=part.attention
        )
    assert steps.ending is not None
    segments += decoder.finish(end=steps.ending.seconds, frames=steps.ending.frame_count)
    return sort_segments(segments), steps.ending.problem


def prediction_segments(
    config: RunConfig, prediction: Prediction, *, end: float, source_fps: float | None = None
) -> list[Segment]:
    """Return the segments of a video that has been predicted, sorted, without more computation.

    They are those of `Recogniser.segments` with the stride of the run's blocks.

    Args:
        config: of the run.
        prediction: of the video by the run.
        end: time of the end of the video.
        source_fps: frame rate of the video, which a run at the "native" rate reads at.
    """
    decoder = segment_decoder(
        config, SegmentOptions(), causal=False, file=prediction.name, source_fps=source_fps
    )
    attention = prediction.attention
    segments = decoder.add(
        prediction.step_probabilities, times=prediction.times,
        attention=None if attention is None else attention.reshape(len(attention), -1),
    )  # fmt: skip
    return sort_segments([*segments, *decoder.finish(end=end)])


def _model_digest(recogniser: Recogniser) -> str:
    """Return a digest of everything of a recogniser that determines its step probabilities."""
    config = recogniser.config
    data = replace(config.data, feature_dir=None)
    settings = (
        config.classes, config.multi_label, data, config.backbone_weights, config.frame_size,
        config.temperature, config.model,
    )  # fmt: skip
    digest = hashlib.sha256(repr(settings).encode("utf-8", "surrogateescape"))
    for name, tensor in sorted(recogniser.model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
