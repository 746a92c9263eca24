"""Tests of clips with the same pictures, on altered copies of scenes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from jaxtyping import UInt8
from PIL import Image

from glimpses import video
from glimpses.check.near_duplicates import SAME_MOTION, Fingerprint, find_near_duplicates
from tests.check.scenes import moving_scene

Scene = UInt8[np.ndarray, "N H W 3"]


def frequencies(path: Path, frames: Scene, fps: float = 10) -> np.ndarray:
    """Write a video, and return the frequencies of its frames."""
    video.write(path, frames, fps=fps)
    fingerprint = Fingerprint()
    video.examine(path, fingerprint.add)
    return fingerprint.frequencies()


def resized(frames: Scene, width: int, height: int) -> Scene:
    return np.stack([np.asarray(Image.fromarray(f).resize((width, height))) for f in frames])


NOISE = np.random.default_rng(9)
ALTERED = {
    "noisy": lambda scene: (scene + np.random.default_rng(9).normal(0, 6, scene.shape)).clip(
        0, 255
    ),
    "scaled": lambda scene: resized(scene, 64, 64),
    "squeezed": lambda scene: resized(scene, 128, 64),
    "cropped": lambda scene: scene[:, 3:-3, 3:-3],
    "brighter": lambda scene: np.minimum(scene * 1.2 + 15, 255),
    "late": lambda scene: scene[7:],
}


@pytest.mark.parametrize("name", ALTERED)
def test_altered_copies_are_found(name: str, tmp_path: Path) -> None:
    clips = [frequencies(tmp_path / f"{seed}.mp4", moving_scene(seed)) for seed in range(3)]
    altered = np.ascontiguousarray(ALTERED[name](moving_scene(1)).astype(np.uint8))
    (pair,) = find_near_duplicates([*clips, frequencies(tmp_path / "copy.mp4", altered)])
    assert (pair.first, pair.second, pair.mirrored) == (1, 3, False)
    assert pair.motion > SAME_MOTION


def test_mirror_images_are_found(tmp_path: Path) -> None:
    scene = moving_scene(1)
    clips = [
        frequencies(tmp_path / f"{i}.mp4", s) for i, s in enumerate([scene, scene[:, :, ::-1]])
    ]
    (pair,) = find_near_duplicates(clips)
    assert pair.mirrored
    assert pair.motion > SAME_MOTION


def test_moments_of_a_scene_are_no_copies(tmp_path: Path) -> None:
    whole = moving_scene(1, frames=60, radius=4)
    clips = [frequencies(tmp_path / f"{i}.mp4", whole[i : i + 20]) for i in (0, 40)]
    (pair,) = find_near_duplicates(clips)
    assert pair.motion < SAME_MOTION


def test_frame_rates_need_not_agree(tmp_path: Path) -> None:
    scene = moving_scene(1)
    slow = frequencies(tmp_path / "a.mp4", scene)
    fast = frequencies(tmp_path / "b.mp4", np.repeat(scene, 3, axis=0), fps=30)
    assert slow.shape == fast.shape == (30, 63)
    (pair,) = find_near_duplicates([slow, fast])
    assert pair.motion > SAME_MOTION


def test_empty_pictures_match_nothing(tmp_path: Path) -> None:
    black = frequencies(tmp_path / "a.mp4", np.zeros((9, 32, 32, 3), np.uint8))
    assert black.shape == (0, 63)
    assert find_near_duplicates([black, black]) == []
    assert find_near_duplicates([]) == []


@pytest.mark.parametrize("name", ["jhmdb", "fight"])
def test_real_clips_of_different_recordings_are_told_apart(shared: Path, name: str) -> None:
    rows = (shared / "data" / name / "groups.csv").read_text().splitlines()[1:]
    group = dict(row.split(",")[::2] for row in rows if "unknown" not in row)
    one_of_each = {value: clip for clip, value in group.items()}
    clips = []
    for clip in list(one_of_each.values())[:24]:
        fingerprint = Fingerprint()
        video.examine(shared / "data" / name / clip, fingerprint.add)
        clips.append(fingerprint.frequencies())
    assert find_near_duplicates(clips) == []
    (pair,) = find_near_duplicates([*clips, clips[3][len(clips[3]) // 3 :]])
    assert (pair.first, pair.second) == (3, len(clips))
