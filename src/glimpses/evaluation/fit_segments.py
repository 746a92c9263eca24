"""Options of segments, chosen on held-out recordings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import product

import numpy as np

from glimpses.evaluation.segment_metrics import score_segments
from glimpses.features import ClipFeatures
from glimpses.inference import predict_clips
from glimpses.inference.find_segments import segment_decoder
from glimpses.models import ActionModel
from glimpses.runs import RunConfig
from glimpses.segments import DecodeOptions, Segment, SegmentOptions

# With fewer recordings, the choice would be one of chance.
_MIN_RECORDINGS = 3
# Lowest probability of an active class; the first one takes the most probable class.
_THRESHOLDS = (1e-6, 0.3, 0.5, 0.7)
# Smoothing in seconds; in a stream, each delays the class by about its half.
_SMOOTHINGS = (0.3, 0.6, 1.0)


def fit_segments(
    config: RunConfig, model: ActionModel, recordings: Mapping[str, ClipFeatures],
    annotated: Iterable[Segment],
) -> DecodeOptions | None:  # fmt: skip
    """Return the threshold and smoothing with the best mAP and F1 on held-out recordings.

    Args:
        config: of the run.
        model: its model.
        recordings: features of whole recordings, by name.
        annotated: segments of the recordings.

    Returns:
        The options; None if there are too few recordings to choose by.
    """
    annotated = [one for one in annotated if one.file in recordings]
    if len(recordings) < _MIN_RECORDINGS or not annotated:
        return None
    length = config.data.block_length
    results = predict_clips(
        model, list(recordings.values()), block_length=length, stride=max(1, length // 2),
        multi_label=config.multi_label,
    )  # fmt: skip
    steps = [result.step_probabilities for result in results]
    choices = [
        SegmentOptions(threshold=threshold, smoothing=smoothing)
        for threshold, smoothing in product(
            _THRESHOLDS[1:] if config.multi_label else _THRESHOLDS, _SMOOTHINGS
        )
    ]
    durations = {name: seconds(clip) for name, clip in recordings.items()}

    def value(options: SegmentOptions) -> float:
        segments = find_in_steps(config, options, recordings, steps)
        scores = score_segments(segments, annotated, durations)
        return float(
            np.nan_to_num([scores.average_map.value, scores.second_f1["macro"].value]).sum()
        )

    best = max(choices, key=value)
    fps = 1 / step_of(next(iter(recordings.values())))
    return best.decoding(
        None, step=1 / fps, background=(), exclusive=not config.multi_label, causal=True
    )


def find_in_steps(
    config: RunConfig, options: SegmentOptions, recordings: Mapping[str, ClipFeatures],
    steps: Sequence[np.ndarray], *, causal: bool = False,
) -> list[Segment]:  # fmt: skip
    """Return the segments of recordings, given the class probabilities of their steps."""
    segments: list[Segment] = []
    for (name, clip), probabilities in zip(recordings.items(), steps, strict=True):
        decoder = segment_decoder(
            config, options, causal=causal, file=name, source_fps=1 / step_of(clip)
        )
        segments += decoder.add(probabilities, times=clip.times)
        segments += decoder.finish(end=seconds(clip))
    return segments


def step_of(clip: ClipFeatures) -> float:
    """Return the seconds from one sampled frame to the next."""
    return float(np.median(np.diff(clip.times))) if len(clip) > 1 else 1.0


def seconds(clip: ClipFeatures) -> float:
    """Return the duration of a recording."""
    return float(clip.times[-1]) + step_of(clip)
