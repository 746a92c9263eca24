"""Segments of long videos: by their definition, in a stream, after interruptions, in memory."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from glimpses import Recogniser, video
from glimpses.features import frame_dedup
from glimpses.inference import step_store, steps
from glimpses.inference.aggregate import predict_causally, predict_clips
from glimpses.inference.find_segments import find_segments, segment_decoder
from glimpses.segments import (
    DecodeOptions,
    Segment,
    SegmentOptions,
    centred_mean,
    decode,
    sort_segments,
)
from glimpses.utils.errors import GlimpsesError
from tests.fakes import GreyBackbone, make_lively, make_recogniser, scenes

OPTIONS = [
    SegmentOptions(),
    SegmentOptions(threshold=0.45, smoothing=0, min_length=0, join_gap=0),
    SegmentOptions(threshold=0.4, smoothing=0.5, min_length=0.3, join_gap=0.2, stride=3),
]


@dataclass
class Features:
    """Cubes of a whole recording, with the interface of the store."""

    cubes: torch.Tensor

    def __len__(self) -> int:
        return len(self.cubes)

    @property
    def shape(self) -> tuple[int, int]:
        return self.cubes.shape[1], self.cubes.shape[2]

    def block(self, start: int, length: int) -> torch.Tensor:
        return self.cubes[start : start + length]

    def read_into(self, start: int, out: np.ndarray) -> None:
        out[:] = self.cubes[start : start + len(out)].numpy()


def expected_segments(
    recogniser: Recogniser, frames: np.ndarray, options: SegmentOptions
) -> tuple[list[Segment], np.ndarray]:
    """Return segments by whole-array functions, for frames at the rate of the run."""
    config = recogniser.config
    clip = Features(GreyBackbone()(frames).half())
    length = config.data.block_length
    stride = options.stride or length // 2
    run = predict_causally if options.causal else predict_clips
    (result,) = run(
        recogniser.model,
        [clip],  # type: ignore[list-item]
        block_length=length,
        stride=stride,
        multi_label=config.multi_label,
    )
    rows, smoothing = result.step_probabilities, round(options.smoothing * 10)
    values = {
        "threshold": 0.5 if options.threshold == "auto" else options.threshold,
        "min_length": options.min_length,
        "join_gap": options.join_gap,
        "exclusive": not config.multi_label,
    }
    if not options.causal:
        rows, smoothing = centred_mean(rows, smoothing // 2 * 2 + 1), 1
    decoding = DecodeOptions(smoothing=max(smoothing, 1), **values)  # type: ignore[arg-type]
    assert result.attention is not None
    return decode(rows, config.classes, step=0.1, options=decoding), result.attention


def assert_equal(found: list[Segment], expected: list[Segment]) -> None:
    """Compare without the attention, which whole recordings do not have."""
    assert [one.label for one in found] == [one.label for one in expected]
    for name in ("start", "end", "score", "peak"):
        values = [getattr(one, name) for one in expected]
        assert [getattr(one, name) for one in found] == pytest.approx(values, abs=1e-4)


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("multi_label", [False, True])
def test_segments_equal_those_of_whole_recordings(
    options: SegmentOptions, causal: bool, multi_label: bool
) -> None:
    recogniser = make_lively(multi_label=multi_label)
    options = replace(options, causal=causal)
    for count in (1, 8, 9, 123):
        frames = scenes(count, count)
        found = recogniser.segments(frames, options, fps=10)
        expected, attention = expected_segments(recogniser, frames, options)
        assert_equal(found, expected)
        for one in found:
            assert one.frames == (round(one.start * 10), round(one.end * 10))
            assert one.attention is not None
            mean = attention[slice(*one.frames)].mean(0)
            np.testing.assert_allclose(one.attention.ravel(), mean, atol=1e-3)
            assert one.box is not None
            assert one.peak is not None
    assert len(found) > 3
    overlaps = any(one.end > other.start for one, other in pairwise(found))
    assert overlaps == multi_label


@pytest.mark.parametrize("options", OPTIONS)
def test_a_stream_gives_the_same_segments_as_they_end(options: SegmentOptions) -> None:
    recogniser = make_lively()
    frames = scenes(150, 3)
    whole = recogniser.segments(frames, replace(options, causal=True), fps=10)
    stream = recogniser.stream(segments=options)
    found = []
    for number, frame in enumerate(frames):
        for segment in stream(frame).segments:
            found.append(segment)
            # Not before its end, and as soon as it cannot be joined any more.
            assert segment.end <= number / 10 + 1e-6
            assert number / 10 <= segment.end + options.join_gap + 0.1 + 1e-6
    found += stream.finish()
    assert len(found) > 3
    found = sort_segments(found)
    assert_equal(found, whole)
    assert [one.frames for one in found] == [one.frames for one in whole]
    assert [one.box for one in found] == [one.box for one in whole]
    # A stream that finds no segments works as before; one that is reset begins again.
    assert recogniser.stream()(frames[0]).segments == ()
    stream.reset()
    again = [one for frame in frames for one in stream(frame).segments] + stream.finish()
    assert_equal(sort_segments(again), whole)


def test_times_of_a_stream_can_be_given() -> None:
    recogniser = make_lively()
    options = SegmentOptions(threshold=0.3, smoothing=0, min_length=0, join_gap=0)
    stream = recogniser.stream(segments=options)
    found = []
    for number, frame in enumerate(scenes(40)):
        found += stream(frame, time=number * 7.5).segments
    found += stream.finish(time=300)
    assert found[0].start == 0
    assert found[-1].end == 300
    assert {one.start % 7.5 for one in found} == {0}


def write_times(path: Path, stamps: list[int], frames: np.ndarray) -> Path:
    """Write frames that appear at some milliseconds, without loss."""
    with av.open(path, "w") as out:
        stream = out.add_stream("ffv1", rate=30)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "bgr0"
        stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        for stamp, pixels in zip(stamps, frames, strict=True):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format="bgr0")
            frame.pts, frame.time_base = stamp, Fraction(1, 1000)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("fps", [10.0, "native"])
def test_frames_are_those_of_the_file(tmp_path: Path, fps: video.FrameRate) -> None:
    """The frame rate varies, and the first frame does not appear at 0."""
    random = np.random.default_rng(2)
    stamps = [4000, *(4000 + np.cumsum(random.choice([20, 33, 40, 250], 119))).tolist()]
    path = write_times(tmp_path / "a.mkv", stamps, scenes(120))
    recogniser = make_lively(fps=fps)
    options = SegmentOptions(threshold=0.4, smoothing=0, min_length=0, join_gap=0)
    found = recogniser.segments(path, options)
    assert len(found) > 4
    appear = [(stamp - 4000) / 1000 for stamp in stamps]
    for one in found:
        assert one.file == str(path)
        assert one.frames is not None
        first, stop = one.frames
        # The frame on display when the segment begins, and when it has ended.
        assert appear[first] <= one.start + 1.1e-3
        assert first == 119 or one.start < appear[first + 1] - 0.9e-3
        if stop < 120:
            assert appear[stop] <= one.end + 1.1e-3
            assert stop == 119 or one.end < appear[stop + 1] - 0.9e-3
    if fps == "native":
        assert [one.start for one in found] == pytest.approx(
            [appear[one.frames[0]] for one in found if one.frames]
        )
    last = found[-1]
    assert last.frames is not None
    assert (last.frames[1] == 120) == (last.end > appear[-1])


def test_background_is_left_out() -> None:
    recogniser = make_lively()
    frames = scenes(200, 5)
    options = SegmentOptions(threshold=0.3)
    found = recogniser.segments(frames, options, fps=10)
    assert {one.label for one in found} == {"a", "b", "c"}
    recogniser.config = replace(recogniser.config, classes=("a", "None", "background"))
    without = recogniser.segments(frames, options, fps=10)
    assert_equal(without, [one for one in found if one.label == "a"])


def test_learned_options_are_the_default() -> None:
    recogniser = make_lively()
    frames = scenes(200, 5)
    given = SegmentOptions(threshold=0.45, smoothing=0.3, min_length=0.2, join_gap=1)
    expected = recogniser.segments(frames, given, fps=10)
    learned = DecodeOptions(threshold=0.45, smoothing=3, min_length=0.2, join_gap=1)
    recogniser.config = replace(recogniser.config, segment_decoding=learned)
    assert_equal(recogniser.segments(frames, fps=10), expected)
    other = recogniser.segments(frames, SegmentOptions(threshold=0.6), fps=10)
    assert len(other) != len(expected)
    with pytest.raises(ValueError, match="another number of classes"):
        replace(recogniser.config, segment_decoding=DecodeOptions(threshold=(0.5, 0.5)))


class Interrupted:
    """A source of frames that ends with an interruption."""

    def __init__(self, frames: video.FrameSource, after: int) -> None:
        self.frames, self.after = frames, after
        self.problem, self.seconds, self.frame_count = None, 0.0, 0

    def __iter__(self) -> Iterator[video.Frame]:
        for number, frame in enumerate(self.frames):
            if number == self.after:
                raise KeyboardInterrupt
            yield frame


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("skip_static", [0.0, 8.0])
def test_an_interrupted_video_is_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, causal: bool, skip_static: float
) -> None:
    for module in (step_store, steps):
        monkeypatch.setattr(module, "STEPS_PER_PART", 64)
    for module in (frame_dedup, steps):
        monkeypatch.setattr(module, "FRAMES_PER_PART", 32)
    path = write_times(tmp_path / "a.mkv", [100 * k for k in range(150)], scenes(150))
    backbone = GreyBackbone()
    recogniser = make_lively(backbone)
    data = replace(recogniser.config.data, skip_static=skip_static)
    recogniser.config = replace(recogniser.config, data=data)
    options = SegmentOptions(threshold=0.4, causal=causal)
    whole = recogniser.segments(path, options)
    frames = backbone.frames
    assert len(whole) > 5
    reader = video.FrameReader
    other = recogniser.segments(path, replace(options, threshold=0.5))
    for number, after in enumerate((40, 100, 149)):
        store = tmp_path / f"steps{number}"
        with monkeypatch.context() as patch:
            patch.setattr(
                video,
                "FrameReader",
                lambda *a, after=after, **o: Interrupted(reader(*a, **o), after),
            )
            with pytest.raises(KeyboardInterrupt):
                recogniser.segments(path, options, steps_dir=store)
        backbone.frames = 0
        found = recogniser.segments(path, options, steps_dir=store)
        assert_equal(found, whole)
        assert [(one.frames, one.box) for one in found] == [(one.frames, one.box) for one in whole]
        if after > 140:
            assert backbone.frames < frames * 0.65
        backbone.frames = 0
        again = recogniser.segments(path, replace(options, threshold=0.5), steps_dir=store)
        assert backbone.frames == 0
        assert_equal(again, other)


def test_damaged_steps_are_computed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (step_store, steps):
        monkeypatch.setattr(module, "STEPS_PER_PART", 64)
    path = write_times(tmp_path / "a.mkv", [100 * k for k in range(150)], scenes(150))
    recogniser = make_lively()
    whole = recogniser.segments(path, steps_dir=tmp_path / "steps")
    parts = sorted((tmp_path / "steps").glob("*/*.safetensors"))
    assert len(parts) == 3
    for part, content in ((parts[1], b"no tensors"), (parts[0], b""), (parts[2], None)):
        if content is None:
            part.unlink()
        else:
            part.write_bytes(content)
        assert_equal(recogniser.segments(path, steps_dir=tmp_path / "steps"), whole)
    # A changed file or model is another one.
    path = write_times(path, [100 * k for k in range(60)], scenes(60, 9))
    found = recogniser.segments(path, steps_dir=tmp_path / "steps")
    assert_equal(found, recogniser.segments(path))
    other = make_recogniser(steps=8)
    found = other.segments(path, steps_dir=tmp_path / "steps")
    assert_equal(found, other.segments(path))
    assert len(list((tmp_path / "steps").iterdir())) == 3


class Endless:
    """A source of many frames that holds one at a time."""

    problem: str | None = None

    def __init__(self, count: int) -> None:
        self.count = self.frame_count = count
        self.seconds = count / 10

    def __iter__(self) -> Iterator[video.Frame]:
        few = scenes(90)
        for number in range(self.count):
            yield video.Frame(number / 10, few[number % 90].copy(), number)


@pytest.mark.parametrize("causal", [False, True])
def test_memory_does_not_grow_with_the_length(causal: bool) -> None:
    recogniser = make_lively()
    # No segment is kept: these would be the result.
    options = SegmentOptions(min_length=1e6, causal=causal)

    def peak(count: int) -> int:
        decoder = segment_decoder(recogniser.config, options, causal=causal)
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        assert find_segments(recogniser, Endless(count), decoder, options) == ([], None)
        return tracemalloc.get_traced_memory()[1] - before

    tracemalloc.start()
    try:
        peak(100)
        short, long = peak(200), peak(1000)
    finally:
        tracemalloc.stop()
    # A frame has 3 kB, the numbers of a step about 100 bytes.
    assert long < short + 40_000


def test_what_cannot_be_done_is_refused(tmp_path: Path) -> None:
    frames = scenes(12)
    with pytest.raises(GlimpsesError, match="give fps="):
        make_recogniser().segments(frames)
    with pytest.raises(GlimpsesError, match="stride 9: must be from 1"):
        make_lively().segments(frames, SegmentOptions(stride=9), fps=10)
    with pytest.raises(GlimpsesError, match="not known at its first frame"):
        make_recogniser(motion_bias=True).segments(frames, SegmentOptions(causal=True), fps=10)
    with pytest.raises(GlimpsesError, match="no such file"):
        make_recogniser().segments(tmp_path / "a.mp4", steps_dir=tmp_path)
