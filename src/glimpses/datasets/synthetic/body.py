"""Drawing of a figure from shaded, tapered capsules, with its exact mask."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from glimpses.datasets.synthetic.motions import JOINTS, rotation_about

Colour = tuple[float, float, float]


@dataclass(frozen=True)
class Appearance:
    """Colours of a figure, RGB from 0 to 255, and its relative width, usually 1."""

    skin: Colour
    hair: Colour
    shirt: Colour
    trousers: Colour
    shoes: Colour
    long_sleeves: bool
    width: float

    @classmethod
    def sample(cls, random: np.random.Generator) -> Appearance:
        """Sample the appearance of another person."""
        return cls(
            skin=_pick(random, _SKIN),
            hair=_pick(random, _HAIR),
            shirt=_cloth(random),
            trousers=_cloth(random, maximum=150),
            shoes=_pick(random, _SHOES),
            long_sleeves=bool(random.integers(2)),
            width=random.uniform(0.9, 1.15),
        )


_SKIN = ((244, 208, 177), (225, 172, 132), (190, 130, 92), (141, 85, 54), (96, 57, 38))
_HAIR = ((28, 22, 20), (66, 42, 26), (120, 80, 42), (190, 150, 90), (150, 150, 150))
_SHOES = ((30, 30, 34), (235, 235, 235), (120, 40, 40), (70, 60, 50))


def _pick(random: np.random.Generator, colours: tuple[Colour, ...]) -> Colour:
    return colours[random.integers(len(colours))]


def _cloth(random: np.random.Generator, maximum: float = 235) -> Colour:
    grey = random.uniform(40, maximum)
    red, green, blue = np.clip(grey + random.normal(0, 45, 3), 15, 245)
    return float(red), float(green), float(blue)


# Capsules: from joint, to joint, radius at either end in body heights, and clothing. "chest" and
# "belly" are points of the torso; "hand_*", "nape", "top" and "crown" are beyond a joint.
_PARTS = (
    ("hip_l", "knee_l", 0.058, 0.044, "trousers"),
    ("hip_r", "knee_r", 0.058, 0.044, "trousers"),
    ("knee_l", "ankle_l", 0.043, 0.028, "trousers"),
    ("knee_r", "ankle_r", 0.043, 0.028, "trousers"),
    ("ankle_l", "toe_l", 0.030, 0.024, "shoes"),
    ("ankle_r", "toe_r", 0.030, 0.024, "shoes"),
    ("hip_l", "hip_r", 0.062, 0.062, "trousers"),
    ("belly", "chest", 0.078, 0.086, "shirt"),
    ("shoulder_l", "shoulder_r", 0.048, 0.048, "shirt"),
    ("chest_l", "hip_l", 0.062, 0.056, "shirt"),
    ("chest_r", "hip_r", 0.062, 0.056, "shirt"),
    ("neck", "head", 0.032, 0.032, "skin"),
    ("head", "crown", 0.054, 0.056, "skin"),
    ("shoulder_l", "elbow_l", 0.042, 0.034, "shirt"),
    ("shoulder_r", "elbow_r", 0.042, 0.034, "shirt"),
    ("elbow_l", "wrist_l", 0.032, 0.024, "sleeve"),
    ("elbow_r", "wrist_r", 0.032, 0.024, "sleeve"),
    ("wrist_l", "hand_l", 0.026, 0.022, "skin"),
    ("wrist_r", "hand_r", 0.026, 0.022, "skin"),
    ("nape", "top", 0.052, 0.060, "hair"),
)
_LIMBS = frozenset({"elbow_l", "elbow_r", "wrist_l", "wrist_r", "hand_l", "hand_r"})


def draw_figure(
    picture: Float[np.ndarray, "H W 3"],
    joints: Float[np.ndarray, "17 3"],
    appearance: Appearance,
    *,
    ground: tuple[float, float],
    height: float,
    facing: float,
    light: Float[np.ndarray, " 3"],
) -> Bool[np.ndarray, "H W"]:
    """Draw a figure into a picture, in place.

    Args:
        picture: RGB, 0 to 255.
        joints: of the body at one time, in body heights.
        appearance: its colours.
        ground: pixel (x, y) below its feet.
        height: of the body in pixels.
        facing: angle in radians about the vertical; at 0 it faces the viewer.
        light: direction to the light: right, down, towards the viewer; length 1.

    Returns:
        Mask of the pixels that it covers by at least half.
    """
    points = _points(joints, facing)
    pixels = {
        name: (ground[0] + height * x, ground[1] - height * y) for name, (x, y, _) in points.items()
    }
    covered = np.zeros(picture.shape[:2], bool)

    def depth(part: tuple[str, str, float, float, str]) -> float:
        # Draw arms over the torso, and the face over the hair.
        offset = 0.12 if part[1] in _LIMBS else 0.03 if part[4] == "skin" else 0.0
        return float(points[part[0]][2] + points[part[1]][2] + offset)

    for start, end, wide, narrow, clothing in sorted(_PARTS, key=depth):
        colour = _colour(appearance, clothing)
        thickness = height * (appearance.width if clothing in ("shirt", "trousers") else 1.0)
        _capsule(
            picture, covered, pixels[start], pixels[end],
            max(thickness * wide, 1.2), max(thickness * narrow, 1.0), colour, light,
            flat=clothing == "shirt" and end not in _LIMBS,
        )  # fmt: skip
    return covered


def draw_shadow(
    picture: Float[np.ndarray, "H W 3"], ground: tuple[float, float], height: float
) -> None:
    """Darken the ground under a figure, in place."""
    wide, flat = 0.24 * height, 0.05 * height
    x, y = ground
    window, rows, columns = _window(
        picture.shape, x - 2 * wide, y - 2 * flat, x + 2 * wide, y + 2 * flat
    )
    if rows.size and columns.size:
        distance = ((columns - x) / wide)[None] ** 2 + ((rows - y) / flat)[:, None] ** 2
        region = picture[window]
        region *= 1 - 0.45 * np.exp(-distance)[..., None]


def _points(joints: Float[np.ndarray, "17 3"], facing: float) -> dict[str, Float[np.ndarray, " 3"]]:
    """Return the end points of capsules by name; x to the right, z to the viewer."""
    turn = rotation_about(1, facing)
    points = dict(zip(JOINTS, joints @ turn.T, strict=True))
    pelvis, neck, head = points["pelvis"], points["neck"], points["head"]
    up = (head - neck) / max(float(np.linalg.norm(head - neck)), 1e-9)
    ahead = turn @ np.array([0.0, 0.0, 1.0])
    points["belly"] = pelvis + 0.25 * (neck - pelvis)
    points["chest"] = pelvis + 0.72 * (neck - pelvis)
    points["crown"] = head + 0.035 * up + 0.012 * ahead
    points["nape"] = head + 0.01 * up - 0.03 * ahead
    points["top"] = head + 0.062 * up - 0.010 * ahead
    for side in "lr":
        shoulder, elbow, wrist = (points[f"{j}_{side}"] for j in ("shoulder", "elbow", "wrist"))
        points[f"chest_{side}"] = points["chest"] + 0.55 * (shoulder - neck)
        fore = (wrist - elbow) / max(float(np.linalg.norm(wrist - elbow)), 1e-9)
        points[f"hand_{side}"] = wrist + 0.045 * fore
    return points


def _colour(appearance: Appearance, clothing: str) -> Float[np.ndarray, " 3"]:
    if clothing == "sleeve":
        clothing = "shirt" if appearance.long_sleeves else "skin"
    return np.array(getattr(appearance, clothing), np.float32)


def _window(
    shape: tuple[int, ...], left: float, top: float, right: float, bottom: float
) -> tuple[tuple[slice, slice], np.ndarray, np.ndarray]:
    """Return the part of a picture inside a box, and its row and column numbers, if any."""
    window = (
        slice(max(0, int(top)), min(shape[0], int(bottom) + 2)),
        slice(max(0, int(left)), min(shape[1], int(right) + 2)),
    )
    rows, columns = (np.arange(part.start, part.stop, dtype=np.float32) for part in window)
    return window, rows, columns


def _capsule(
    picture: Float[np.ndarray, "H W 3"],
    covered: Bool[np.ndarray, "H W"],
    start: tuple[float, float],
    end: tuple[float, float],
    wide: float,
    narrow: float,
    colour: Float[np.ndarray, " 3"],
    light: Float[np.ndarray, " 3"],
    *,
    flat: bool,
) -> None:
    """Draw a tapered, lit capsule with smooth edges. Adjacent flat ones look like one body."""
    (x0, y0), (x1, y1) = start, end
    reach = max(wide, narrow) + 1
    window, rows, columns = _window(
        picture.shape, min(x0, x1) - reach, min(y0, y1) - reach,
        max(x0, x1) + reach, max(y0, y1) + reach,
    )  # fmt: skip
    if not rows.size or not columns.size:
        return
    across, down = columns[None] - np.float32(x0), rows[:, None] - np.float32(y0)
    dx, dy = np.float32(x1 - x0), np.float32(y1 - y0)
    along = ((across * dx + down * dy) / (dx * dx + dy * dy + np.float32(1e-6))).clip(0, 1)
    radius = np.float32(wide) + along * np.float32(narrow - wide)
    nx, ny = (across - along * dx) / radius, (down - along * dy) / radius
    squared = nx * nx + ny * ny
    alpha = (radius * (1 - np.sqrt(squared)) + np.float32(0.5)).clip(0, 1)
    nz = np.sqrt((1 - squared).clip(0, 1))
    right, down, ahead = light.astype(np.float32)
    lit = (nx * right + ny * down + nz * ahead).clip(0, 1)
    shade = np.float32(0.68 if flat else 0.42) + np.float32(0.36 if flat else 0.68) * lit
    region = picture[window]
    region += alpha[..., None] * ((shade[..., None] * colour).clip(0, 255) - region)
    covered[window] |= alpha >= 0.5
