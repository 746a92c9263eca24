"""Backgrounds of synthetic clips, and the moving camera."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float
from PIL import Image, ImageDraw, ImageFilter

from glimpses.utils.errors import GlimpsesError

# Backgrounds are larger than a frame, so that the camera can move.
_SIDE = 320


@dataclass(frozen=True)
class Camera:
    """Camera path: offset in pixels and zoom of every frame."""

    offset: Float[np.ndarray, "T 2"]
    zoom: Float[np.ndarray, " T"]

    @classmethod
    def sample(cls, random: np.random.Generator, frames: int) -> Camera:
        """Sample a slow pan and zoom with the shake of a hand-held camera."""
        along = np.linspace(-0.5, 0.5, frames)[:, None]
        pan = random.uniform(-16, 16, 2) * along
        shake = random.normal(0, random.uniform(0, 0.9), (frames, 2)).cumsum(0)
        shake -= shake.mean(0)
        zoom = 1 + random.uniform(-0.05, 0.05) * along[:, 0]
        return cls(pan + shake.clip(-5, 5), zoom)

    def crop(self, background: Image.Image, frame: int, size: int) -> Float[np.ndarray, "S S 3"]:
        """Return the part of the background in a frame, RGB from 0 to 255."""
        scale = 1 / self.zoom[frame]
        corner = (_SIDE - size * scale) / 2 + self.offset[frame]
        matrix = (scale, 0, corner[0], 0, scale, corner[1])
        view = background.transform(
            (size, size), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR
        )
        return np.asarray(view, np.float32)

    def project(self, point: tuple[float, float], frame: int, size: int) -> tuple[float, float]:
        """Return the position in a frame of a point at (x, y) in the unmoved camera."""
        middle = size / 2
        x, y = (
            (value - middle - move) * self.zoom[frame] + middle
            for value, move in zip(point, self.offset[frame], strict=True)
        )
        return float(x), float(y)


def crop_photo(photo: Path, random: np.random.Generator) -> Image.Image:
    """Return a random square crop of a photograph."""
    try:
        with Image.open(photo) as opened:
            picture = opened.convert("RGB")
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise GlimpsesError(
            f"{photo}: cannot be read as a picture; remove it from the folder"
        ) from error
    side = int(min(picture.size) * random.uniform(0.7, 1.0))
    left, top = (int(random.integers(0, length - side + 1)) for length in picture.size)
    cut = picture.crop((left, top, left + side, top + side))
    return cut.resize((_SIDE, _SIDE), Image.Resampling.BILINEAR)


def generate_background(random: np.random.Generator) -> Image.Image:
    """Return a wall and a floor with random objects."""
    horizon = int(_SIDE * random.uniform(0.45, 0.7))
    wall, floor = (_colour(random) for _ in range(2))
    ground = np.empty((_SIDE, _SIDE, 3), np.float32)
    ground[:horizon], ground[horizon:] = wall, floor
    ground += 22 * _noise(random)[..., None] + 14 * _noise(random)[..., None] * random.normal(
        size=3
    )
    picture = Image.fromarray(ground.clip(0, 255).astype(np.uint8))
    pen = ImageDraw.Draw(picture)
    _draw_pattern(pen, random, horizon)
    for _ in range(int(random.integers(8, 18))):
        _draw_object(pen, random, horizon)
    return picture.filter(ImageFilter.GaussianBlur(random.uniform(0.4, 1.2)))


def _colour(random: np.random.Generator) -> Float[np.ndarray, " 3"]:
    return np.clip(random.uniform(60, 200) + random.normal(0, 25, 3), 20, 235).astype(np.float32)


def _fill(random: np.random.Generator) -> tuple[int, int, int]:
    red, green, blue = _colour(random).astype(int).tolist()
    return red, green, blue


def _noise(random: np.random.Generator) -> Float[np.ndarray, "S S"]:
    """Return smooth noise of several scales, about -1 to 1."""
    total = np.zeros((_SIDE, _SIDE), np.float32)
    for side, weight in ((4, 0.5), (12, 0.3), (40, 0.2), (160, 0.15)):
        noise = Image.fromarray(random.uniform(-1, 1, (side, side)).astype(np.float32))
        total += weight * np.asarray(noise.resize((_SIDE, _SIDE), Image.Resampling.BICUBIC))
    return total


def _draw_pattern(pen: ImageDraw.ImageDraw, random: np.random.Generator, horizon: int) -> None:
    """Draw stripes on wall and floor."""
    if random.uniform() < 0.6:
        step, colour = int(random.integers(14, 60)), _fill(random)
        for x in range(-_SIDE, 2 * _SIDE, step):
            if random.uniform() < 0.9:
                pen.line((x, horizon, x + (x - _SIDE // 2), _SIDE), fill=colour, width=1)
    if random.uniform() < 0.5:
        step, colour = int(random.integers(16, 70)), _fill(random)
        for x in range(int(random.integers(0, step)), _SIDE, step):
            pen.line((x, 0, x, horizon), fill=colour, width=int(random.integers(1, 4)))


def _draw_object(pen: ImageDraw.ImageDraw, random: np.random.Generator, horizon: int) -> None:
    """Draw a box, a ball, a pole or a picture on the wall."""
    x = float(random.uniform(0, _SIDE))
    wide, high = random.uniform(8, 60), random.uniform(10, 110)
    foot = random.uniform(horizon - 5, _SIDE)
    kind = random.integers(4)
    if kind == 0:
        pen.rectangle((x, foot - high, x + wide, foot), fill=_fill(random), outline=_fill(random))
    elif kind == 1:
        pen.ellipse((x, foot - wide, x + wide, foot), fill=_fill(random))
    elif kind == 2:
        pen.line((x, foot, x + random.normal(0, 8), foot - 1.6 * high), fill=_fill(random),
                 width=int(random.integers(2, 7)))  # fmt: skip
    else:
        top = random.uniform(0, max(1.0, horizon - high / 2))
        pen.rectangle((x, top, x + wide, top + high / 2), fill=_fill(random), outline=_fill(random))


def find_photos(folder: Path) -> Sequence[Path]:
    """Return the photographs below a folder, sorted; refuse a folder without any."""
    photos = sorted(
        file
        for file in folder.rglob("*")
        if file.suffix.lower() in {".jpg", ".jpeg", ".png", ".webp", ".bmp"}
        and not file.name.startswith(".")
    )
    if not photos:
        raise GlimpsesError(f"{folder}: contains no pictures; give --photos a folder of pictures")
    return photos
