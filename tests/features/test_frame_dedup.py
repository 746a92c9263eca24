"""Tests of --skip-static: static frames share a cube, in extraction, prediction and streams."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from glimpses import Recogniser, backbones, features, runs, video
from glimpses.datasets import Clip
from glimpses.evaluation import evaluate_clips
from glimpses.features import FeatureStore, FrameEncoder, extract_clips
from glimpses.utils.errors import GlimpsesError
from tests.configs import train
from tests.fakes import GreyBackbone, make_moving_set, make_recogniser


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the parts of a store one chunk long."""
    for module in (features.store, features.fill, features.frame_dedup):
        monkeypatch.setattr(module, "FRAMES_PER_PART", 16)


def make_clip(folder: Path, levels: list[int]) -> Clip:
    """Write a clip of uniform frames with the given grey levels."""
    path = folder / f"{len(levels)}-{levels[0]}.mp4"
    video.write(path, (np.full((32, 32, 3), level, np.uint8) for level in levels), fps=10)
    return Clip(path.name, path, (0,), "g")


def extract(
    clip: Clip, backbone: GreyBackbone, store: Path, skip_static: float = 0.0
) -> tuple[np.ndarray, Path]:
    result = extract_clips(
        [clip],
        backbone,
        fps=10,
        skip_static=skip_static,
        feature_dir=store,  # type: ignore[arg-type]
    )
    cubes = result.clips[clip.id]
    return cubes.block(0, len(cubes)).numpy(), result.folder


def computed_frames(
    clip: Clip, skip_static: float, part: int = features.FRAMES_PER_PART
) -> list[int]:
    """Return for every frame the index of the frame whose cube it shares, by the definition."""
    pixels = [frame.pixels.astype(float) for frame in video.FrameReader(clip.path, fps=10, size=32)]
    sources: list[int] = []
    for index, frame in enumerate(pixels):
        changed = index % part == 0 or abs(frame - pixels[sources[-1]]).mean() >= skip_static
        sources.append(index if changed else sources[-1])
    return sources


def test_equal_frames_are_computed_once_and_have_one_cube(tmp_path: Path) -> None:
    clip, backbone = make_clip(tmp_path, [90] * 40), GreyBackbone()
    cubes, _ = extract(clip, backbone, tmp_path, skip_static=0.5)
    assert backbone.frames == 1
    assert cubes.shape == (40, 4, 1)
    assert (cubes == cubes[0]).all()
    again = GreyBackbone()
    extract(clip, again, tmp_path, skip_static=0.5)
    assert again.frames == 0


def test_by_default_equal_frames_are_all_computed(tmp_path: Path) -> None:
    backbone = GreyBackbone()
    extract(make_clip(tmp_path, [90] * 40), backbone, tmp_path)
    assert backbone.frames == 40


def test_frames_that_differ_more_are_all_computed(tmp_path: Path) -> None:
    clip, backbone = make_clip(tmp_path, [5 * n for n in range(40)]), GreyBackbone()
    cubes, folder = extract(clip, backbone, tmp_path, skip_static=2)
    usual, usual_folder = extract(clip, GreyBackbone(), tmp_path)
    assert backbone.frames == 40
    assert (cubes == usual).all()
    assert folder != usual_folder


def test_slow_changes_accumulate(tmp_path: Path) -> None:
    clip, backbone = make_clip(tmp_path, list(range(30, 90))), GreyBackbone()
    cubes, _ = extract(clip, backbone, tmp_path, skip_static=4)
    usual, _ = extract(clip, GreyBackbone(), tmp_path)
    sources = computed_frames(clip, 4)
    assert 10 <= len(set(sources)) <= 20
    assert backbone.frames == len(set(sources))
    assert (cubes == usual[sources]).all()
    assert np.abs(cubes - usual).max() < 4.5


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("fail_after", range(1, 4))
def test_an_interrupted_extraction_ends_with_the_same_cubes(
    tmp_path: Path, fail_after: int
) -> None:
    clip = make_clip(tmp_path, [90] * 10 + list(range(90, 130)) + [130] * 30)
    whole, _ = extract(clip, GreyBackbone(), tmp_path / "whole", skip_static=3)
    with pytest.raises(KeyboardInterrupt):
        extract(clip, GreyBackbone(fail_after), tmp_path / "store", skip_static=3)
    backbone = GreyBackbone()
    resumed, _ = extract(clip, backbone, tmp_path / "store", skip_static=3)
    assert (resumed == whole).all()
    sources = computed_frames(clip, 3, part=16)
    assert backbone.frames <= len(set(sources)) < 40


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("batch", [1, 5, 32])
def test_an_encoder_returns_the_cubes_of_the_store(tmp_path: Path, batch: int) -> None:
    clip = make_clip(tmp_path, [90] * 10 + list(range(90, 130)) + [130] * 30)
    stored, _ = extract(clip, GreyBackbone(), tmp_path, skip_static=3)
    frames = [frame.pixels for frame in video.FrameReader(clip.path, fps=10, size=32)]
    encoder = FrameEncoder(GreyBackbone(), 3)  # type: ignore[arg-type]
    encoded = [encoder(frames[start : start + batch]) for start in range(0, len(frames), batch)]
    assert (np.concatenate(encoded) == stored).all()


def test_a_stream_skips_static_frames() -> None:
    backbone = GreyBackbone()
    recogniser = make_recogniser(backbone)
    config = replace(recogniser.config, data=replace(recogniser.config.data, skip_static=2.0))
    stream = Recogniser(config, recogniser.model, recogniser.backbone).stream()
    for level in (90, 91, 90, 120):
        stream(np.full((32, 32, 3), level, np.uint8))
    assert backbone.frames == 2
    stream.reset()
    stream(np.full((32, 32, 3), 120, np.uint8))
    assert backbone.frames == 3


def test_a_run_records_the_option(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backbones, "load", lambda *_, **__: GreyBackbone())
    data, store = make_moving_set(tmp_path / "data"), tmp_path / "store"
    train(
        data, out=tmp_path / "run", feature_dir=store, skip_static=45, block_length=12,
        hidden_size=8, num_layers=1, epochs=1,
        folds=3,
    )  # fmt: skip
    assert runs.read_config(tmp_path / "run").data.skip_static == 45
    folder = FeatureStore(store, GreyBackbone(), 10.0, 45).folder  # type: ignore[arg-type]
    assert folder.is_dir()
    test = evaluate_clips(tmp_path / "run", feature_dir=store)
    assert [path for path in store.iterdir() if path.is_dir()] == [folder]
    recogniser = Recogniser.load(tmp_path / "run")
    for clip, expected in zip(test.clips, test.results, strict=True):
        prediction = recogniser.predict(clip.path)
        np.testing.assert_allclose(
            prediction.step_probabilities, expected.step_probabilities, atol=1e-6
        )
        assert len(set(computed_frames(clip, 45))) < len(prediction.times)


def test_a_negative_threshold_is_refused(tmp_path: Path) -> None:
    with pytest.raises(GlimpsesError, match=r"--skip-static -1: must be at least 0"):
        features.extract(make_moving_set(tmp_path / "data", groups=1), skip_static=-1)
