"""Long recordings end to end: train on a table of segments, score the segments, measure delays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import glimpses
from glimpses import backbones, cli, runs, video
from glimpses.evaluation import evaluate_clips
from glimpses.evaluation.open_run import open_run
from glimpses.evaluation.score_recordings import windowed
from glimpses.features.recordings import SegmentFeatures
from glimpses.inference import predict_causally
from glimpses.segments import Segment, overlap, write_segments
from tests.configs import train
from tests.fakes import GreyBackbone

LENGTH = 220
OPTIONS: dict[str, Any] = {
    "recipe": "segments", "block_length": 12, "hidden_size": 16, "epochs": 12, "batch_size": 16,
    "learning_rate": 1e-2, "backbone": "grey:2", "motion": False, "motion_bias": False,
    "dropout": 0.0, "scene": False,
}  # fmt: skip


def make_recordings(root: Path, count: int) -> list[Segment]:
    """Write recordings that are bright or dim at times, and dark otherwise."""
    random = np.random.default_rng(0)
    segments = []
    for number in range(count):
        frames = random.integers(20, 50, (LENGTH, 32, 32, 3)).astype(np.uint8)
        end = 0
        for label in random.permutation(["bright", "dim", "bright", "dim"]).tolist():
            start = end + int(random.integers(15, 25))
            end = start + int(random.integers(20, 30))
            frames[start:end] += 190 if label == "bright" else 90
            segments.append(Segment.from_frames(f"{number}.avi", start, end, label, fps=10))
        video.write(root / f"{number}.avi", frames, fps=10)
    write_segments(root / "segments.csv", segments)
    return segments


@pytest.fixture(autouse=True)
def _grey(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backbones, "load", lambda *_, **__: GreyBackbone())


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, list[Segment]]:
    """Return recordings, a run, and the segments of all recordings."""
    root = tmp_path_factory.mktemp("long")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backbones, "load", lambda *_, **__: GreyBackbone())
        segments = make_recordings(root / "data", 9)
        trained = train(root / "data", out=root / "run", feature_dir=root / "store", **OPTIONS)
        assert "VIDEO --segments out.csv" in str(trained)
    return root / "data", root / "run", segments


def test_the_segments_of_unseen_recordings_are_found(
    trained: tuple[Path, Path, list[Segment]], capsys: pytest.CaptureFixture[str]
) -> None:
    _, run, segments = trained
    scores = evaluate_clips(run).scores
    assert scores.segments is not None
    tested = {clip.id.partition("#")[0] for clip in scores.clips}
    model = scores.segments.model
    assert model.recordings == len(tested)
    assert model.segments == sum(one.file in tested for one in segments)
    assert model.hours == pytest.approx(len(tested) * LENGTH / 36000)
    assert model.average_map.value > 0.9
    annotated = scores.segments.annotated
    assert set(annotated) == {one for one in segments if one.file in tested}
    assert scores.segments.durations.keys() == tested
    for one in annotated:
        assert max(
            overlap(one, other)
            for other in scores.segments.predicted
            if (other.file, other.label) == (one.file, one.label)
        ) > 0.7  # fmt: skip
    assert model.second_f1["macro"].value > 0.85
    assert {"sliding window", "linear probe"} == scores.segments.baselines.keys()
    for baseline in scores.segments.baselines.values():
        assert 0.5 < baseline.second_f1["macro"].value <= model.second_f1["macro"].value + 0.05
    assert cli.run(["evaluate", str(run)]) == 0
    out = capsys.readouterr().out
    assert "mAP at tIoU 0.5" in out
    assert "sliding window" in out
    record = runs.read_scores(run)[-1]
    assert record.measures["segment_mAP"].value == pytest.approx(model.average_map.value)


def test_the_segments_are_those_of_the_recogniser(
    trained: tuple[Path, Path, list[Segment]],
) -> None:
    data, run, segments = trained
    predicted = glimpses.Recogniser.load(run).segments(data / "0.avi")
    annotated = [one for one in segments if one.file == "0.avi"]
    assert [one.label for one in predicted] == [one.label for one in annotated]
    for one, other in zip(predicted, annotated, strict=True):
        assert (one.start, one.end) == pytest.approx((other.start, other.end), abs=0.5)


def test_a_stream_follows_within_a_second(trained: tuple[Path, Path, list[Segment]]) -> None:
    _, run, segments = trained
    opened = open_run(run)
    names = list(opened.config.classes)
    delays = []
    for name in {clip.recording for clip in opened.clips}:
        part = next(
            opened.features.clips[clip.id] for clip in opened.clips if clip.recording == name
        )
        assert isinstance(part, SegmentFeatures)
        result = next(predict_causally(opened.model, [part.recording], block_length=12))
        path = result.step_probabilities.argmax(1)
        for one in (one for one in segments if one.file == name):
            start, stop = one.frame_range(10)
            hits = np.flatnonzero(path[start:stop] == names.index(one.label))
            delays.append(hits[0] / 10 if len(hits) else np.inf)
    assert np.median(delays) <= 0.3
    assert np.quantile(delays, 0.9) <= 1


def test_whole_recordings_are_on_one_side(trained: tuple[Path, Path, list[Segment]]) -> None:
    _, run, _ = trained
    files = [{id.partition("#")[0] for id in ids} for ids in runs.read_config(run).clips.values()]
    assert sum(map(len, files)) == len(set().union(*files)) == 9


def test_windows_of_the_probe_are_centred() -> None:
    class Values:
        def __len__(self) -> int:
            return 7

        def block(self, start: int, length: int) -> Any:
            import torch

            return torch.arange(7.0)[start : start + length, None, None].expand(-1, 2, 1)

    rows = windowed(Values(), 3)  # type: ignore[arg-type]
    assert rows[:, 0] == pytest.approx([0.5, 1, 2, 3, 4, 5, 5.5])
    assert rows[3] == pytest.approx([3, np.std([2, 3, 4]), 1])
