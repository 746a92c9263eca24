"""Tests of extraction: every clip is computed once, stored completely, and resumed."""

from __future__ import annotations

import logging
import resource
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from glimpses import features, video
from glimpses.datasets import Clip
from glimpses.features import FeatureStore, extract_clips
from glimpses.utils.errors import GlimpsesError
from tests.fakes import GreyBackbone


def make_clips(folder: Path, lengths: list[int], fps: float = 10) -> list[Clip]:
    """Write clips whose frame n has grey level 5 n, with an offset so that all files differ."""
    clips = []
    for number, length in enumerate(lengths):
        path = folder / f"{number}.mp4"
        levels = (5 * (np.arange(length) + 3 * number)) % 250
        video.write(path, (np.full((32, 32, 3), level, np.uint8) for level in levels), fps=fps)
        clips.append(Clip(path.name, path, (0,), "g"))
    return clips


def greys(feature: features.ClipFeatures) -> list[float]:
    return feature.block(0, len(feature))[:, 0, 0].float().tolist()


def extract(clips: list[Clip], backbone: GreyBackbone, store: Path) -> features.Features:
    return extract_clips(clips, backbone, fps=10, feature_dir=store)  # type: ignore[arg-type]


def test_cubes_and_times_of_a_clip(tmp_path: Path) -> None:
    clips = make_clips(tmp_path, [20, 33])
    result = extract(clips, GreyBackbone(), tmp_path / "store")
    clip = result.clips["1.mp4"]
    assert len(clip) == 33
    assert clip.times == pytest.approx(np.arange(33) / 10)
    assert greys(clip) == pytest.approx([15 + 5 * n for n in range(33)], abs=4)
    assert clip.block(0, 1).dtype == torch.float16
    assert clip.block(30, 30).shape == (3, 4, 1)


def test_nothing_is_computed_twice(tmp_path: Path) -> None:
    clips = make_clips(tmp_path, [5, 6])
    extract(clips, GreyBackbone(), tmp_path / "store")
    # A copy under another name has the same content.
    copy = tmp_path / "copy.mp4"
    shutil.copy(clips[0].path, copy)
    again = GreyBackbone()
    result = extract([*clips, Clip("copy", copy, (1,), "h")], again, tmp_path / "store")
    assert again.calls == 0
    assert greys(result.clips["copy"]) == greys(result.clips["0.mp4"])


@pytest.mark.parametrize("change", ["name", "weights", "size", "fps"])
def test_other_settings_never_share_features(tmp_path: Path, change: str) -> None:
    one, other = GreyBackbone(), GreyBackbone()
    fps = 10.0
    if change == "fps":
        fps = 5.0
    else:
        setattr(other, change, 64 if change == "size" else "other")
    folders = {
        FeatureStore(tmp_path, backbone, rate).folder  # type: ignore[arg-type]
        for backbone, rate in ((one, 10.0), (other, fps))
    }
    assert len(folders) == 2


@pytest.mark.parametrize("fail_after", range(5))
def test_an_interrupted_extraction_resumes(
    tmp_path: Path, fail_after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(features.store, "FRAMES_PER_PART", 16)
    monkeypatch.setattr(features.fill, "FRAMES_PER_PART", 16)
    clips = make_clips(tmp_path, [40, 10, 35])
    whole = extract(clips, GreyBackbone(), tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        extract(clips, GreyBackbone(fail_after), tmp_path / "store")
    second = GreyBackbone()
    resumed = extract(clips, second, tmp_path / "store")
    for id, clip in whole.clips.items():
        assert greys(resumed.clips[id]) == greys(clip)
        assert resumed.clips[id].times.tolist() == clip.times.tolist()
    assert second.frames < 85 or fail_after < 2
    assert not list((tmp_path / "store").rglob(".part-*"))


def test_broken_clips_are_named_and_stop_nothing(tmp_path: Path) -> None:
    clips = make_clips(tmp_path, [12])
    for name, content in {"empty.mp4": b"", "text.avi": b"not a video" * 50}.items():
        (tmp_path / name).write_bytes(content)
        clips.append(Clip(name, tmp_path / name, (0,), "g"))
    clips.append(Clip("gone.mp4", tmp_path / "gone.mp4", (0,), "g"))
    result = extract(clips, GreyBackbone(), tmp_path / "store")
    assert list(result.clips) == ["0.mp4"]
    assert set(result.failures) == {"empty.mp4", "text.avi", "gone.mp4"}
    assert all(str(tmp_path / id) in reason for id, reason in result.failures.items())
    assert not result.ok


def test_every_copy_of_a_broken_clip_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clips = make_clips(tmp_path, [12])
    for name in ("a.mp4", "b.mp4"):
        (tmp_path / name).touch()
        clips.append(Clip(name, tmp_path / name, (0,), "g"))
    result = extract(clips, GreyBackbone(), tmp_path / "store")
    for name in ("a.mp4", "b.mp4"):
        assert result.failures[name].startswith(f"{tmp_path / name}: is empty")
        assert result.failures[name] in caplog.messages


def test_a_truncated_clip_is_reported_every_time(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "cut.avi"
    noise = np.random.default_rng(0).integers(0, 256, (60, 32, 32, 3), np.uint8)
    video.write(path, noise, fps=10)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    for _ in range(2):
        caplog.clear()
        extract([Clip("cut.avi", path, (0,), "g")], GreyBackbone(), tmp_path / "store")
        (message,) = (r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING)
        assert message.startswith(f"{path}: breaks off at ")


def test_only_broken_clips_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"")
    with pytest.raises(GlimpsesError, match=r"none of the 1 clips can be read: .*a\.mp4"):
        extract([Clip("a", tmp_path / "a.mp4", (0,), "g")], GreyBackbone(), tmp_path / "store")


def test_too_small_a_disk_is_foreseen_by_what_was_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clips = make_clips(tmp_path, [3] * 15)
    usage = shutil.disk_usage(tmp_path)
    # Cubes of 5 clips with 3 frames of 8 bytes are left after the first 10.
    for free, warned in ((121, False), (119, True)):
        monkeypatch.setattr(shutil, "disk_usage", lambda _, free=free: usage._replace(free=free))
        extract(clips, GreyBackbone(), tmp_path / f"{free}")
        assert ("may take about 120 B, but 119 B are free" in caplog.text) is warned


def test_complete_clips_survive_a_full_disk(tmp_path: Path) -> None:
    clips = make_clips(tmp_path, [20, 20, 300])
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    # The cubes of the long clip take 2400 bytes.
    resource.setrlimit(resource.RLIMIT_FSIZE, (1500, before[1]))
    try:
        with pytest.raises(GlimpsesError, match=r"cannot be written \(.*File too large"):
            extract(clips, GreyBackbone(), tmp_path / "store")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    again = GreyBackbone()
    result = extract(clips, again, tmp_path / "store")
    assert len(result.clips) == 3
    assert 300 <= again.frames < 340
    assert not list((tmp_path / "store").rglob(".part-*"))
