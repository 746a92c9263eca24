"""Tests of synthetic clips: exact masks, balanced groups, reproducible bytes."""

from __future__ import annotations

import csv
import hashlib
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from glimpses import datasets, video
from glimpses.datasets import synthetic
from glimpses.datasets.annotations.masks import FigureMasks, load_masks
from glimpses.datasets.synthetic import body, bvh
from glimpses.datasets.synthetic.motions import ACTIONS, JOINTS, Body, Variation, perform
from glimpses.utils.errors import GlimpsesError

TIMES = np.arange(30) / 10


def digests(folder: Path) -> dict[str, str]:
    return {
        file.relative_to(folder).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a standard set with one group each for training, validation and test."""
    out = tmp_path_factory.mktemp("synthetic") / "set"
    synthetic.generate(out, groups=3, workers=1)
    return out


def load_clip(made: Path, action: str, group: int) -> tuple[np.ndarray, FigureMasks]:
    name = f"{action}/v_{action}_{group:03}/v_{action}_{group:03}_01"
    frames = video.read(made / f"{name}.avi", fps="native", size=None).frames
    return frames, load_masks(made / "annotations" / f"{name}.npz")


def test_has_the_layout_of_a_clip_folder(made: Path) -> None:
    dataset = datasets.load(made)
    assert dataset.classes == tuple(sorted(ACTIONS))
    assert len(dataset.clips) == 3 * len(ACTIONS)
    assert all(clip.annotation is not None for clip in dataset.clips)
    groups = {
        subset: {clip.group for clip in dataset.clips if clip.id in ids}
        for subset, ids in dataset.splits["listed"].items()
    }
    assert groups == {"train": {"000"}, "validation": {"001"}, "test": {"002"}}
    with (made / "groups.csv").open() as file:
        assert len(list(csv.DictReader(file))) == len(dataset.clips)


def test_same_seed_gives_same_bytes_with_any_number_of_workers(made: Path, tmp_path: Path) -> None:
    synthetic.generate(tmp_path / "again", groups=3, workers=2)
    assert digests(tmp_path / "again") == digests(made)
    synthetic.generate(tmp_path / "other", groups=3, workers=1, seed=1, preset="easy")
    mine, other = digests(made), digests(tmp_path / "other")
    assert all(mine[name] != other[name] for name in mine if name.endswith(".avi"))


def test_only_the_actor_differs_within_a_group(made: Path) -> None:
    """Outside the actors and their shadows, the clips of a group are equal."""
    for group in (0, 2):
        one, kick = load_clip(made, "kick", group)
        other, wave = load_clip(made, "wave", group)
        for frame in (0, 15, 29):
            free = ~(_grown(kick.masks[frame]) | _grown(wave.masks[frame]))
            difference = np.abs(one[frame].astype(int) - other[frame]).mean(-1)
            assert difference[free].mean() < 2.5  # what compression leaves
            assert difference[kick.masks[frame] ^ wave.masks[frame]].mean() > 8
        assert np.array_equal(kick.figures[1].any((1, 2)), wave.figures[1].any((1, 2)))


def _grown(mask: np.ndarray) -> np.ndarray:
    """Return the mask grown by 16 pixels, a compression block."""
    grown = mask.copy()
    for axis in (0, 1):
        grown = np.any([np.roll(grown, shift, axis) for shift in range(-16, 17, 4)], axis=0)
    return grown


def test_masks_are_the_pixels_of_the_figure() -> None:
    """A covered pixel is the same on black and on white; others show the background."""
    random = np.random.default_rng(0)
    joints = perform("kick", TIMES, Body.sample(random), Variation.sample(random))[4]
    looks = body.Appearance.sample(random)
    drawn = {}
    for ground in (0.0, 255.0):
        drawn[ground] = np.full((160, 160, 3), ground, np.float32)
        mask = body.draw_figure(
            drawn[ground], joints, looks, ground=(80.0, 150.0), height=120, facing=0.6,
            light=np.array([0, 0, 1.0]),
        )  # fmt: skip
    shows_ground = (drawn[255.0] - drawn[0.0]).mean(-1) / 255
    assert (
        np.array_equal(mask, shows_ground <= 0.5) or (mask == (shows_ground <= 0.5)).mean() > 0.998
    )
    assert 0.05 < mask.mean() < 0.3


def test_boxes_and_cells_belong_to_the_masks(made: Path) -> None:
    _, known = load_clip(made, "jumping_jack", 0)
    for mask, (left, top, right, bottom) in zip(known.masks, known.boxes.astype(int), strict=True):
        rows, columns = np.nonzero(mask)
        assert (left, top) == (columns.min(), rows.min())
        assert (right, bottom) == (columns.max() + 1, rows.max() + 1)
    for grid in (7, 14, 5):
        share = known.cell_occupancy(grid)
        assert share.shape == (30, grid, grid)
        assert share.min() >= 0
        assert share.max() <= 1 + 1e-6
        np.testing.assert_allclose(share.mean((1, 2)), known.masks.mean((1, 2)), rtol=1e-4)
    cells = known.masks.reshape(30, 7, 32, 7, 32).mean((2, 4))
    np.testing.assert_allclose(known.cell_occupancy(7), cells, atol=1e-6)


def test_figures_never_share_a_pixel(made: Path) -> None:
    _, known = load_clip(made, "wave", 0)
    assert known.figures.shape == (2, 30, 224, 224)
    assert known.figures.sum(0).max() == 1


@pytest.mark.parametrize("action", [*ACTIONS, "idle", "stroll"])
def test_bones_keep_their_length_and_feet_their_ground(action: str) -> None:
    legs, arms = ("hip", "knee", "ankle", "toe"), ("shoulder", "elbow", "wrist")
    bones = [*pairwise(legs), *pairwise(arms)]
    for seed in range(5):
        random = np.random.default_rng(seed)
        joints = perform(action, TIMES, Body.sample(random), Variation.sample(random))
        assert joints.shape == (30, len(JOINTS), 3)
        for one, other in bones:
            for side in "lr":
                a, b = (joints[:, JOINTS.index(f"{name}_{side}")] for name in (one, other))
                length = np.linalg.norm(a - b, axis=-1)
                assert np.ptp(length) < 1e-6
        assert joints[..., 1].min() > -0.02
        assert 0.9 < joints[:, JOINTS.index("head"), 1].max() + 0.1 < 1.15


def test_actions_move_and_bystanders_hardly() -> None:
    def motion(action: str) -> float:
        random = np.random.default_rng(0)
        joints = perform(action, TIMES, Body.sample(random), Variation.sample(random))
        return float(np.abs(np.diff(joints, axis=0)).sum(-1).mean())

    assert min(motion(action) for action in ACTIONS) > 4 * motion("idle")


def test_resumes_without_changing_existing_clips(made: Path, tmp_path: Path) -> None:
    out = tmp_path / "set"
    synthetic.generate(out, groups=3, workers=1)
    victims = [*sorted(out.rglob("*.npz"))[:2], *sorted(out.rglob("*.avi"))[5:7]]
    for victim in victims:
        victim.unlink()
    kept = sorted(out.rglob("*.avi"))[10]
    before = kept.stat().st_mtime_ns
    synthetic.generate(out, groups=3, workers=1)
    assert digests(out) == digests(made)
    assert kept.stat().st_mtime_ns == before


def test_other_folders_are_not_changed(made: Path, tmp_path: Path) -> None:
    with pytest.raises(GlimpsesError, match="other settings"):
        synthetic.generate(made, groups=3, seed=5)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").touch()
    with pytest.raises(GlimpsesError, match="not empty"):
        synthetic.generate(tmp_path / "mine")
    with pytest.raises(GlimpsesError, match="is a file"):
        synthetic.generate(tmp_path / "mine" / "letter.txt")
    assert [file.name for file in (tmp_path / "mine").iterdir()] == ["letter.txt"]
    for wrong in ({"groups": 2}, {"workers": 0}, {"photos": tmp_path}, {"motions": tmp_path}):
        with pytest.raises(GlimpsesError):
            synthetic.generate(tmp_path / "new", **wrong)  # type: ignore[arg-type]
    assert not (tmp_path / "new").exists()


def test_presets_determine_figures_and_cue(tmp_path: Path) -> None:
    from glimpses.datasets.synthetic.clips import PRESETS, GroupJob, Scene

    for preset in PRESETS:
        for group in range(8):
            job = GroupJob(tmp_path, group, 0, preset, dict.fromkeys(sorted(ACTIONS), ()), (), {})
            scene = Scene(job)
            least, most = PRESETS[preset].bystanders
            assert least <= len(scene.places) - 1 <= most
            low, high = PRESETS[preset].height
            assert all(low * 224 <= place.height <= high * 224 for place in scene.places)
            orange = [appearance.shirt == (255.0, 140.0, 0.0) for appearance in scene.appearances]
            assert orange == [preset == "cue"] + [False] * (len(orange) - 1)


def test_damaged_annotation_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    for content in (b"", b"no zip", b"PK\x03\x04" + bytes(50)):
        path.write_bytes(content)
        with pytest.raises(GlimpsesError, match=r"a\.npz: cannot be read as an annotation"):
            load_masks(path)


BVH = """HIERARCHY
ROOT Hips
{
  OFFSET 0 0 0
  CHANNELS 6 Xposition Yposition Zposition Zrotation Xrotation Yrotation
  JOINT Spine
  {
    OFFSET 0 2 0
    CHANNELS 3 Zrotation Xrotation Yrotation
    JOINT Head
    {
      OFFSET 0 3 0
      CHANNELS 3 Yrotation Xrotation Zrotation
      End Site
      {
        OFFSET 0 1 0
      }
    }
  }
}
MOTION
Frames: 2
Frame Time: 0.1
1 2 3 90 0 0 0 0 0 0 0 0
0 0 0 0 0 90 0 90 0 0 0 0
"""


def test_bvh_turns_joints_in_the_order_of_their_channels(tmp_path: Path) -> None:
    """By hand: a quarter turn about z lays the body to the left; y then x tips the head over."""
    path = tmp_path / "a.bvh"
    path.write_text(BVH)
    joints, channels, step = bvh.read_bvh(path)
    places = bvh.joint_positions(joints, channels)
    assert [joint.name for joint in joints] == ["Hips", "Spine", "Head"]
    assert step == 0.1
    np.testing.assert_allclose(places[0], [[1, 2, 3], [-1, 2, 3], [-4, 2, 3]], atol=1e-12)
    # Hips turn by 90 about y (x -> -z, z -> x), the spine by 90 about its own x (y -> z).
    np.testing.assert_allclose(places[1], [[0, 0, 0], [0, 2, 0], [3, 2, 0]], atol=1e-12)


def test_refuses_files_that_are_not_bvh(tmp_path: Path) -> None:
    path = tmp_path / "a.bvh"
    for text in ("", "HIERARCHY", BVH[:200], BVH.replace("0 2 0", "0 x 0"), "\x00\xff"):
        path.write_text(text)
        with pytest.raises(GlimpsesError, match=r"a\.bvh: cannot be read as BVH"):
            bvh.read_bvh(path)


def test_real_takes_become_upright_bodies(shared: Path) -> None:
    for action in ("walk", "wave-both-hands", "kick"):
        path = sorted((shared / "data" / "motions" / action).glob("*.bvh"))[0]
        joints = bvh.load_motion(path, TIMES, np.random.default_rng(0))
        height = joints[:, JOINTS.index("head"), 1]
        assert 0.6 < np.median(height) < 1.05
        left, right = (joints[:, JOINTS.index(f"hip_{side}"), 0] for side in "lr")
        assert (left - right).mean() > 0
        toes = joints[:, JOINTS.index("toe_l"), 2] - joints[:, JOINTS.index("ankle_l"), 2]
        assert toes.mean() > 0  # it faces the viewer
