"""Tests of motion capture: reading, assignment to subsets by style, and errors."""

from __future__ import annotations

import logging
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.spatial.transform import Rotation

from glimpses.datasets import synthetic
from glimpses.datasets.annotations import load_masks
from glimpses.datasets.synthetic import background, bvh
from glimpses.datasets.synthetic.mocap import assign_takes
from glimpses.utils.errors import GlimpsesError

TIMES = np.arange(30) / 10

# The least skeleton that a figure can be made of: joint, parent, offset in centimetres.
SKELETON = (
    ("Hips", None, (0, 90, 0)), ("Neck", "Hips", (0, 50, 0)), ("Head", "Neck", (0, 20, 0)),
    ("LeftArm", "Neck", (18, 0, 0)), ("LeftForeArm", "LeftArm", (30, 0, 0)),
    ("LeftHand", "LeftForeArm", (25, 0, 0)), ("RightArm", "Neck", (-18, 0, 0)),
    ("RightForeArm", "RightArm", (-30, 0, 0)), ("RightHand", "RightForeArm", (-25, 0, 0)),
    ("LeftUpLeg", "Hips", (10, 0, 0)), ("LeftLeg", "LeftUpLeg", (0, -45, 0)),
    ("LeftFoot", "LeftLeg", (0, -40, 0)), ("LeftToe", "LeftFoot", (0, -5, 12)),
    ("RightUpLeg", "Hips", (-10, 0, 0)), ("RightLeg", "RightUpLeg", (0, -45, 0)),
    ("RightFoot", "RightLeg", (0, -40, 0)), ("RightToe", "RightFoot", (0, -5, 12)),
)  # fmt: skip
ORDERS = ("ZXY", "XYZ", "YZX", "ZYX", "XZY", "YXZ")


def order_of(index: int) -> str:
    return ORDERS[index % len(ORDERS)]


def write(path: Path, angles: np.ndarray, *, step: str = "0.1") -> Path:
    """A file of the skeleton whose joints turn by `angles` (frame, joint, turn) in degrees."""

    def block(index: int) -> str:
        name, parent, offset = SKELETON[index]
        turns = " ".join(f"{axis}rotation" for axis in order_of(index))
        inner = [block(i) for i, joint in enumerate(SKELETON) if joint[1] == name]
        return (
            f"{'JOINT' if parent else 'ROOT'} {name}\n{{\nOFFSET {offset[0]} {offset[1]} "
            f"{offset[2]}\nCHANNELS 3 {turns}\n"
            + ("".join(inner) or "End Site\n{\nOFFSET 0 1 0\n}\n")
            + "}\n"
        )

    rows = "\n".join(" ".join(f"{value:.6f}" for value in frame.ravel()) for frame in angles)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        f"HIERARCHY\n{block(0)}MOTION\nFrames: {len(angles)}\nFrame Time: {step}\n{rows}\n"
    )
    return path


def test_positions_agree_with_another_library(tmp_path: Path) -> None:
    """Chained `scipy` rotations, every joint with another order of its axes."""
    angles = np.random.default_rng(0).uniform(-180, 180, (5, len(SKELETON), 3))
    joints, channels, step = bvh.read_bvh(write(tmp_path / "a.bvh", angles))
    assert step == 0.1
    assert [joint.name for joint in joints] == [joint[0] for joint in SKELETON]
    found = bvh.joint_positions(joints, channels)
    for frame in range(5):
        places: dict[str | None, np.ndarray] = {None: np.zeros(3)}
        turns = {None: Rotation.identity()}
        for index, (name, parent, offset) in enumerate(SKELETON):
            own = Rotation.from_euler(order_of(index), angles[frame, index], degrees=True)
            places[name] = places[parent] + turns[parent].apply(offset)
            turns[name] = turns[parent] * own
            np.testing.assert_allclose(found[frame, index], places[name], atol=1e-3)


def test_a_short_take_is_played_there_and_back(tmp_path: Path) -> None:
    angles = np.zeros((4, len(SKELETON), 3))
    angles[:, 3] = np.linspace(0, 60, 4)[:, None]
    joints = bvh.load_motion(write(tmp_path / "a.bvh", angles), TIMES, np.random.default_rng(0))
    assert joints.shape == (30, 17, 3)
    assert np.isfinite(joints).all()
    steps = np.linalg.norm(np.diff(joints, axis=0), axis=-1).max(-1)
    assert steps.min() > 0
    assert steps.max() < 2 * steps.min()  # it turns round and never jumps back to the start


def test_damaged_takes_are_one_line(tmp_path: Path) -> None:
    whole = write(tmp_path / "a.bvh", np.zeros((4, len(SKELETON), 3)))
    text = whole.read_text()
    damaged = {
        "no frames": text.replace("Frames: 4", "Frames: 0"),
        "breaks off": text[:-100],
        "no time": text.replace("Time: 0.1", "Time: 0"),
        "time unknown": text.replace("Time: 0.1", "Time: nan"),
        "no number": text.replace("0.000000", "nan", 1),
        "no channel": text.replace("Zrotation", "Zturn", 1),
        "no head": text.replace("Head", "Kopf"),
        "upside down": text.replace("OFFSET 0 50 0", "OFFSET 0 -500 0"),
    }
    bvh.load_motion(whole, TIMES, np.random.default_rng(0))
    for name, content in damaged.items():
        file = tmp_path / f"{name}.bvh"
        file.write_text(content)
        with pytest.raises(GlimpsesError, match=rf"{name}\.bvh: .*remove it") as caught:
            bvh.load_motion(file, TIMES, np.random.default_rng(0))
        assert "\n" not in str(caught.value)


def test_no_style_is_in_two_subsets(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Not even through two actions that have other styles beside it."""
    styles = {
        "bow": ["angry", "childish", "happy", "old", "proud", "sad", "tired"],
        "walk": ["active", "old", "proud", "sad"],
        "run": [],
        "kick": ["old"],
    }
    for action, own in styles.items():
        for style in own or ["001", "002", "003", "004"]:
            for take in range(1 if action == "kick" else 2):
                name = f"set-1_{action}_{style}_{take:03}.bvh"
                (tmp_path / action).mkdir(exist_ok=True)
                (tmp_path / action / name).touch()
    with caplog.at_level(logging.WARNING):
        takes = assign_takes(tmp_path)
    assert set(takes) == {"bow", "walk", "run"}
    assert "kick: skipped" in caplog.text
    assert sum(map(len, takes["run"].values())) == 8
    for action in ("bow", "walk"):
        files = [file for own in takes[action].values() for file in own]
        assert sorted(files) == sorted((tmp_path / action).iterdir())
    seen = {
        side: {file.stem.split("_")[2] for a in ("bow", "walk") for file in takes[a][side]}
        for side in ("train", "validation", "test")
    }
    assert all(seen.values())
    assert not any(seen[one] & seen[other] for one, other in combinations(seen, 2))
    assert len(seen["train"]) > len(seen["test"])


def test_the_deal_does_not_depend_on_how_the_folder_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for action in ("walk", "run"):
        (tmp_path / action).mkdir()
        for take in ("001", "002", "003", "004", "005"):
            (tmp_path / action / f"{action}_{take}.bvh").touch()
    monkeypatch.chdir(tmp_path)
    here = assign_takes(Path())
    assert {
        action: {side: [tmp_path / file for file in files] for side, files in own.items()}
        for action, own in here.items()
    } == {
        action: {side: list(files) for side, files in own.items()}
        for action, own in assign_takes(tmp_path).items()
    }


def test_generates_clips_from_takes_and_pictures(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for action in ("wriggle", "shake"):
        for take in range(3):
            angles = random.uniform(-20, 20, (6, len(SKELETON), 3))
            write(tmp_path / "takes" / action / f"{action}_{take}.bvh", angles)
    (tmp_path / "pictures").mkdir()
    for number in range(6):
        pixels = random.integers(0, 255, (40, 50, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "pictures" / f"{number}.png")
    out = tmp_path / "set"
    made = synthetic.generate(
        out, groups=3, workers=1, preset="cue",
        motions=tmp_path / "takes", photos=tmp_path / "pictures",
    )  # fmt: skip
    assert made.classes == ("shake", "wriggle")
    known = load_masks(next((out / "annotations").rglob("*.npz")))
    assert known.masks.any((1, 2)).all()


def test_pictures_that_are_none_are_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = np.random.default_rng(0)
    good = tmp_path / "good.png"
    Image.fromarray(random.integers(0, 255, (90, 60, 3), dtype=np.uint8)).save(good)
    assert background.crop_photo(good, random).size == (320, 320)
    (tmp_path / "text.jpg").write_text("no picture")
    (tmp_path / "half.png").write_bytes(good.read_bytes()[:3000])
    for name in ("text.jpg", "half.png"):
        with pytest.raises(GlimpsesError, match=rf"{name}: cannot be read as a picture"):
            background.crop_photo(tmp_path / name, random)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(GlimpsesError, match=r"good\.png: cannot be read as a picture"):
        background.crop_photo(good, random)
