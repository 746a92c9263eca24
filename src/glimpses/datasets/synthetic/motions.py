"""Parametric actions: curves of joints over time, with random variation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

#: Joints of a figure, in the order of the arrays.
JOINTS = (
    "pelvis", "neck", "head",
    "shoulder_l", "elbow_l", "wrist_l", "shoulder_r", "elbow_r", "wrist_r",
    "hip_l", "knee_l", "ankle_l", "toe_l", "hip_r", "knee_r", "ankle_r", "toe_r",
)  # fmt: skip

#: Joints of a body over time: x to its left, y up from the ground, z ahead, in body heights.
Motion = Float[np.ndarray, "T 17 3"]

Curve = Float[np.ndarray, "T 3"]

_Number = float | Float[np.ndarray, " T"]


def rotation_about(
    axis: int, angle: float | Float[np.ndarray, " N"]
) -> Float[np.ndarray, "*N 3 3"]:
    """Return rotation matrices about the x, y or z axis (0, 1 or 2); angles in radians."""
    rotation = np.zeros((*np.shape(angle), 3, 3))
    one, two = (axis + 1) % 3, (axis + 2) % 3
    rotation[..., axis, axis] = 1
    rotation[..., one, one] = rotation[..., two, two] = np.cos(angle)
    rotation[..., two, one], rotation[..., one, two] = np.sin(angle), -np.sin(angle)
    return rotation


@dataclass(frozen=True)
class Body:
    """Proportions of a body in body heights."""

    upper_arm: float = 0.175
    lower_arm: float = 0.165
    upper_leg: float = 0.245
    lower_leg: float = 0.245
    foot: float = 0.09
    torso: float = 0.29
    head: float = 0.115
    shoulder: float = 0.115
    hip: float = 0.06
    ankle: float = 0.045

    @classmethod
    def sample(cls, random: np.random.Generator) -> Body:
        """Sample proportions around the average."""
        limbs, torso = random.uniform(0.93, 1.07, 2)
        return cls(
            upper_arm=0.175 * limbs,
            lower_arm=0.165 * limbs,
            upper_leg=0.245 * limbs,
            lower_leg=0.245 * limbs,
            torso=0.29 * torso,
            shoulder=0.115 * random.uniform(0.9, 1.15),
        )

    @property
    def hip_height(self) -> float:
        """Height of the pelvis when standing with slightly bent knees."""
        return self.ankle + 0.985 * (self.upper_leg + self.lower_leg)


@dataclass(frozen=True)
class Variation:
    """Random variation of a performance.

    Attributes:
        phase: start in its cycle, 0 to 1.
        tempo: cycles a second.
        reach: relative size of the movement, usually 1.
        mirrored: whether left and right are swapped.
        sway: phases of the small involuntary movements, radians.
    """

    phase: float
    tempo: float
    reach: float
    mirrored: bool
    sway: Float[np.ndarray, " 4"]

    @classmethod
    def sample(cls, random: np.random.Generator) -> Variation:
        """Sample a performance."""
        return cls(
            phase=random.uniform(),
            tempo=random.uniform(0.75, 1.25),
            reach=random.uniform(0.88, 1.1),
            mirrored=bool(random.integers(2)),
            sway=random.uniform(0, 2 * np.pi, 4),
        )


def perform(
    action: str, times: Float[np.ndarray, " T"], body: Body, variation: Variation
) -> Float[np.ndarray, "T 17 3"]:
    """Return the joints of a body that performs an action, facing the z axis.

    Args:
        action: a name in `ACTIONS`, or `idle`, or `stroll`.
        times: of the frames, in seconds.
        body: proportions; bones keep their lengths.
        variation: of the performance.
    """
    act = _Performance(times, body, variation)
    (ACTIONS | _BYSTANDERS)[action](act)
    joints = act.joints()
    return joints[:, _MIRROR] * np.array([-1, 1, 1]) if variation.mirrored else joints


class _Performance:
    """Targets of hands, feet and torso over time, from which limbs follow."""

    def __init__(self, times: Float[np.ndarray, " T"], body: Body, variation: Variation) -> None:
        self.body, self.reach = body, variation.reach
        self.cycle = 2 * np.pi * (variation.phase + variation.tempo * times)
        slow = times * 2 * np.pi
        one, two, three, four = variation.sway
        self.times = times
        # Position of the pelvis; lean of the torso ahead and to the left, in radians.
        self.pelvis = self.at(
            0.008 * np.sin(0.31 * slow + one), body.hip_height, 0.006 * np.sin(0.23 * slow + two)
        )
        self.lean = 0.02 * np.sin(0.27 * slow + three)
        self.tilt = 0.02 * np.sin(0.19 * slow + four)
        # Hands relative to their shoulders; feet under the hips.
        hang = 0.985 * (body.upper_arm + body.lower_arm)
        drift = 0.012 * np.sin(0.37 * slow + two)
        self.hand = {s: self.at(s * 0.035, -hang, 0.03 + drift) for s in (1, -1)}
        self.elbow = {s: self.at(0.25 * s, -0.1, -1.0) for s in (1, -1)}
        self.foot = {s: self.at(s * 0.075, body.ankle, 0.0) for s in (1, -1)}
        self.knee = {s: self.at(0.25 * s, 0.0, 1.0) for s in (1, -1)}
        self.toe = {s: self.at(0.25 * s, -0.1, 1.0) for s in (1, -1)}

    def at(self, x: _Number, y: _Number, z: _Number) -> Curve:
        """Return a curve from numbers or curves of its coordinates."""
        return np.stack([np.broadcast_to(value, self.times.shape) for value in (x, y, z)], -1)

    def joints(self) -> Motion:
        body = self.body
        up = self.at(np.sin(self.tilt), np.cos(self.tilt) * np.cos(self.lean), np.sin(self.lean))
        up /= np.linalg.norm(up, axis=-1, keepdims=True)
        left = self.at(np.cos(self.tilt), -np.sin(self.tilt), 0)
        neck = self.pelvis + body.torso * up
        joints = {"pelvis": self.pelvis, "neck": neck, "head": neck + body.head * up}
        for side, name in ((1, "l"), (-1, "r")):
            shoulder = neck - 0.02 * up + side * body.shoulder * left
            hip = self.pelvis - 0.01 * up + side * body.hip * left
            joints[f"shoulder_{name}"], joints[f"hip_{name}"] = shoulder, hip
            joints[f"elbow_{name}"], joints[f"wrist_{name}"] = reach(
                shoulder, shoulder + self.hand[side], body.upper_arm, body.lower_arm,
                self.elbow[side],
            )  # fmt: skip
            joints[f"knee_{name}"], ankle = reach(
                hip, self.foot[side], body.upper_leg, body.lower_leg, self.knee[side]
            )
            toe = self.toe[side] / np.linalg.norm(self.toe[side], axis=-1, keepdims=True)
            joints[f"ankle_{name}"], joints[f"toe_{name}"] = ankle, ankle + body.foot * toe
        return np.stack([joints[name] for name in JOINTS], axis=1)


def reach(
    start: Curve, target: Curve, upper: float, lower: float, bend: Curve
) -> tuple[Curve, Curve]:
    """Return the middle joint and the end of two bones that reach for a target.

    Args:
        start: shoulder or hip.
        target: desired end; a limb that is too short points there.
        upper: length of the first bone.
        lower: length of the second.
        bend: direction in which the middle joint bends.
    """
    way = target - start
    distance = np.linalg.norm(way, axis=-1, keepdims=True)
    ahead = way / np.maximum(distance, 1e-9)
    distance = distance.clip(abs(upper - lower) + 1e-3, upper + lower - 1e-4)
    along = (distance**2 + upper**2 - lower**2) / (2 * distance)
    aside = np.sqrt(np.maximum(upper**2 - along**2, 0))
    sideways = bend - (bend * ahead).sum(-1, keepdims=True) * ahead
    sideways /= np.maximum(np.linalg.norm(sideways, axis=-1, keepdims=True), 1e-9)
    return start + along * ahead + aside * sideways, start + distance * ahead


def _wave(act: _Performance) -> None:
    swing = np.sin(2 * act.cycle)
    act.hand[1] = act.at(0.10 + 0.13 * act.reach * swing, 0.25, 0.05)
    act.elbow[1] = act.at(1.0, -0.4, 0.0)
    act.tilt = act.tilt + 0.03 * swing


def _clap(act: _Performance) -> None:
    apart = 0.5 - 0.5 * np.cos(2 * act.cycle)
    for side in (1, -1):
        width = 0.02 + 0.2 * act.reach * apart
        act.hand[side] = act.at(side * (width - act.body.shoulder), -0.04, 0.2)
        act.elbow[side] = act.at(side * 1.0, -0.7, 0.0)


def _jumping_jack(act: _Performance) -> None:
    out = 0.5 - 0.5 * np.cos(act.cycle)
    hop = 0.07 * np.abs(np.sin(act.cycle))
    length = 0.97 * (act.body.upper_arm + act.body.lower_arm)
    angle = 0.2 + (2.65 * act.reach - 0.2) * out
    act.pelvis = act.pelvis + act.at(0, hop - 0.03 * out, 0)
    for side in (1, -1):
        act.hand[side] = length * act.at(side * np.sin(angle), -np.cos(angle), 0.08)
        act.elbow[side] = act.at(1.0 * side, 0.2, -0.6)
        act.foot[side] = act.foot[side] + act.at(side * 0.15 * act.reach * out, hop, 0)


def _squat(act: _Performance) -> None:
    down = (0.5 - 0.5 * np.cos(act.cycle)) * min(act.reach, 1.05)
    act.pelvis = act.pelvis + act.at(0, -0.24 * down, -0.10 * down)
    act.lean = act.lean + 0.65 * down
    for side in (1, -1):
        act.foot[side] = act.foot[side] + act.at(side * 0.03, 0, 0)
        ahead = act.at(-side * 0.03, 0.02, 0.32)
        act.hand[side] = act.hand[side] * (1 - down[:, None]) + down[:, None] * ahead
        act.knee[side] = act.at(side * 0.5, 0, 1)


def _kick(act: _Performance) -> None:
    swing = np.sin(act.cycle)
    ahead = np.maximum(swing, 0) ** 1.5 * act.reach
    back = np.maximum(-swing, 0)
    act.foot[1] = act.foot[1] + act.at(0, 0.42 * ahead + 0.10 * back, 0.46 * ahead - 0.22 * back)
    act.lean = act.lean - 0.25 * ahead + 0.1 * back
    act.toe[1] = act.at(0.1, 0.9 * ahead - 0.4 * back - 0.1, 1)
    for side in (1, -1):
        act.hand[side] = act.at(side * 0.16, -0.25, 0.08 + side * 0.12 * swing)


def _punch(act: _Performance) -> None:
    for side in (1, -1):
        out = np.clip(side * np.sin(act.cycle), 0, 1) ** 0.7 * act.reach
        x = -side * 0.07 - side * 0.03 * out
        act.hand[side] = act.at(x, -0.03 + 0.03 * out, 0.13 + 0.2 * out)
        act.elbow[side] = act.at(side * 0.7, -1.0, -0.2)
        act.foot[side] = act.foot[side] + act.at(side * 0.02, 0, side * 0.09)
    act.pelvis = act.pelvis + act.at(0, -0.03, 0.02 * np.sin(act.cycle))
    act.tilt = act.tilt + 0.04 * np.sin(act.cycle)


def _idle(act: _Performance) -> None:
    """Stand and breathe."""


def _stroll(act: _Performance) -> None:
    """Walk on the spot."""
    for side in (1, -1):
        step = side * np.sin(act.cycle)
        act.foot[side] = act.foot[side] + act.at(0, 0.07 * np.maximum(step, 0), 0.13 * step)
        act.hand[side] = act.hand[side] + act.at(0, 0.03, -0.16 * step)
    act.pelvis = act.pelvis + act.at(0.012 * np.sin(act.cycle), -0.015, 0)


ACTIONS: dict[str, Callable[[_Performance], None]] = {
    "clap": _clap, "jumping_jack": _jumping_jack, "kick": _kick, "punch": _punch, "squat": _squat,
    "wave": _wave,
}  # fmt: skip

_BYSTANDERS: dict[str, Callable[[_Performance], None]] = {"idle": _idle, "stroll": _stroll}

_MIRROR = [
    JOINTS.index(name[:-1] + {"l": "r", "r": "l"}[name[-1]] if name[-2] == "_" else name)
    for name in JOINTS
]
