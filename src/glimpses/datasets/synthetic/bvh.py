"""Reading of BVH motion capture as joints of the figure."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
from jaxtyping import Float

from glimpses.datasets.synthetic.motions import JOINTS, Motion, rotation_about
from glimpses.utils.errors import GlimpsesError

# Patterns of common names for each joint; the first match counts.
_NAMES = {
    "pelvis": r"hips?|pelvis",
    "neck": r"neck\d?",
    "head": r"head",
    "shoulder": r"upper_?arm|arm|shoulder",
    "elbow": r"lower_?arm|fore_?arm|elbow",
    "wrist": r"hand|wrist",
    "hip": r"upper_?leg|up_?leg|thigh|hip",
    "knee": r"lower_?leg|leg|shin|knee",
    "ankle": r"foot|ankle",
    "toe": r"toes?_?(base)?",
}


@dataclass
class Joint:
    """Joint of a BVH hierarchy with its offset from its parent and its channels."""

    name: str
    parent: int | None
    offset: Float[np.ndarray, " 3"]
    channels: list[str] = field(default_factory=list)


def read_bvh(path: Path) -> tuple[list[Joint], Float[np.ndarray, "N C"], float]:
    """Read the joints, the channels of every frame, and the seconds between frames."""
    try:
        # Only joint names can contain anything but ASCII, and tools disagree on the encoding.
        words = path.read_text(encoding="utf-8-sig", errors="replace").split()
        joints, position = _hierarchy(words)
        # The words are MOTION, Frames:, number, Frame, Time:, seconds.
        count, step = int(words[position + 2]), float(words[position + 5])
        width = sum(len(joint.channels) for joint in joints)
        return joints, _frames(words[position + 6 :], count, width, step), step
    except (OSError, ValueError, IndexError) as error:
        raise GlimpsesError(
            f"{path}: cannot be read as BVH ({error}); remove it from the folder"
        ) from error


def joint_positions(
    joints: list[Joint], channels: Float[np.ndarray, "N C"]
) -> Float[np.ndarray, "N J 3"]:
    """Return the position of every joint in every frame by forward kinematics.

    A joint's channels rotate it in their order, each about the axes left by the ones before.
    """
    count = len(channels)
    rotations = np.empty((count, len(joints), 3, 3))
    places = np.empty((count, len(joints), 3))
    column = 0
    for index, joint in enumerate(joints):
        values = channels[:, column : column + len(joint.channels)]
        column += len(joint.channels)
        rotation = np.broadcast_to(np.eye(3), (count, 3, 3))
        shift = np.broadcast_to(joint.offset, (count, 3)).copy()
        moved = False
        for amounts, channel in zip(values.T, joint.channels, strict=True):
            axis = "xyz".index(channel[0].lower())
            if channel.lower().endswith("position"):
                # Positions replace the offset, as in files that have them for every joint.
                if not moved:
                    shift, moved = np.zeros((count, 3)), True
                shift[:, axis] = amounts
            else:
                rotation = rotation @ rotation_about(axis, np.radians(amounts))
        if joint.parent is None:
            places[:, index], rotations[:, index] = shift, rotation
        else:
            before = rotations[:, joint.parent]
            places[:, index] = places[:, joint.parent] + np.einsum("nij,nj->ni", before, shift)
            rotations[:, index] = before @ rotation
    return places


def load_motion(path: Path, times: Float[np.ndarray, " T"], random: np.random.Generator) -> Motion:
    """Return a part of a take, facing the viewer, on the ground, in body heights.

    Args:
        path: BVH file; takes that are too short are played forwards and backwards.
        times: of the frames in seconds.
        random: chooses the start.
    """
    motion, step = _normalised_motion(path)
    last = len(motion) - 1
    first = random.integers(0, max(1, last - int(times[-1] / step)) + 1)
    indices = np.round(first + times / step).astype(int)
    # Forwards and backwards: 0 1 2 3 2 1 0 1 ...
    folded = last - np.abs(last - indices % max(2 * last, 1))
    return np.asarray(motion[folded])


@lru_cache(maxsize=32)
def _normalised_motion(path: Path) -> tuple[Motion, float]:
    joints, channels, step = read_bvh(path)
    places = joint_positions(joints, channels)
    motion = places[:, [_find_joint(path, joints, name) for name in JOINTS]]
    ground = np.percentile(motion[:, :, 1].min(1), 5)
    height = np.percentile(motion[:, JOINTS.index("head"), 1], 90) - ground
    toe, head = motion[:, JOINTS.index("toe_l")], motion[:, JOINTS.index("head")]
    # If z is up, or the person never stands, this does not measure a body.
    if height <= 0.3 * np.linalg.norm(head - toe, axis=-1).max():
        raise GlimpsesError(
            f"{path}: the person never stands (y must be up); remove it from the folder"
        )
    motion = motion - np.array([0, ground, 0])
    # Stay in place: the pelvis moves in height only.
    middle = motion[:, :1] * np.array([1, 0, 1])
    motion = (motion - middle) / (height * 1.06)
    left = motion[:, JOINTS.index("hip_l")] - motion[:, JOINTS.index("hip_r")]
    facing = np.arctan2(-left[:, 2].mean(), left[:, 0].mean())
    return motion @ rotation_about(1, -facing).T, step


def _find_joint(path: Path, joints: list[Joint], name: str) -> int:
    base, _, side = name.partition("_")
    sides = {"l": r"(left|l)", "r": r"(right|r)"}.get(side)
    body = f"({_NAMES[base]})"
    patterns = [body] if sides is None else [rf"{sides}_?{body}", rf"{body}_?{sides}"]
    for index, joint in enumerate(joints):
        bare = re.sub(r"^.*:", "", joint.name)
        if any(re.fullmatch(pattern, bare, re.IGNORECASE) for pattern in patterns):
            return index
    raise GlimpsesError(f"{path}: has no joint for the {name}; remove it from the folder")


def _frames(words: list[str], count: int, width: int, step: float) -> Float[np.ndarray, "N C"]:
    if count < 1 or not 0 < step < np.inf:
        raise ValueError(f"{count} frames of {step} seconds")
    numbers = np.array(words[: count * width], float)
    if len(numbers) < count * width:
        raise ValueError(f"it ends in frame {len(numbers) // width + 1} of {count}")
    if not np.isfinite(numbers).all():
        raise ValueError("it contains a number that is not finite")
    return numbers.reshape(count, width)


def _hierarchy(words: list[str]) -> tuple[list[Joint], int]:
    """Return the joints, parents first, and the position of the word MOTION."""
    if words[0].upper() != "HIERARCHY":
        raise ValueError("it does not begin with HIERARCHY")
    joints: list[Joint] = []
    stack: list[int] = []
    position = 1
    while words[position].upper() != "MOTION":
        word = words[position].upper()
        if word in ("ROOT", "JOINT"):
            joints.append(Joint(words[position + 1], stack[-1] if stack else None, np.zeros(3)))
            position += 2
        elif word == "END":  # End Site { OFFSET x y z }
            position = words.index("}", position) + 1
        elif word == "{":
            stack.append(len(joints) - 1)
            position += 1
        elif word == "}":
            stack.pop()
            position += 1
        elif word == "OFFSET":
            joints[-1].offset = np.array(words[position + 1 : position + 4], float)
            position += 4
        elif word == "CHANNELS":
            count = int(words[position + 1])
            joints[-1].channels = words[position + 2 : position + 2 + count]
            for channel in joints[-1].channels:
                if not re.fullmatch(r"[xyz](position|rotation)", channel, re.IGNORECASE):
                    raise ValueError(f"'{channel}' is not a channel")
            position += 2 + count
        else:
            raise ValueError(f"'{words[position]}' is unexpected")
    return joints, position
