"""What stands under the picture of an overlay video: leading classes now, and over time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from PIL import Image, ImageDraw, ImageFont

from glimpses.attention.fonts import font_for

PAPER = (19, 22, 28)
_INK = (240, 242, 245)
_QUIET = (150, 156, 166)
_FAINT = (52, 58, 68)
_RIGHT = (94, 205, 165)
_WRONG = (255, 150, 92)
# Okabe and Ito's colours that stand out on a dark ground; told apart in any colour vision.
_COLOURS = ((86, 180, 233), (230, 159, 0), (240, 228, 66), (204, 121, 167))

_OVERSAMPLING = 4


class Panel:
    """Draws the panel of one clip at any time.

    Everything that does not move is drawn once.

    Attributes:
        height: of the panel in pixels.
    """

    def __init__(
        self,
        width: int,
        scale: float,
        *,
        times: Float[np.ndarray, " T"],
        step_probabilities: Float[np.ndarray, "T C"],
        probabilities: Float[np.ndarray, " C"],
        classes: Sequence[str],
        truth: Sequence[str] = (),
        seconds: float,
    ) -> None:
        """Lay out the panel.

        Args:
            width: of the panel in pixels.
            scale: of letters and lines; 1 makes names 12 pixels high.
            times: when each step was taken, in seconds.
            step_probabilities: class probabilities of every step.
            probabilities: class probabilities of the clip.
            classes: names of the actions.
            truth: what the clip shows, where that is known.
            seconds: length of the clip.
        """
        self._width, self._scale = width, scale
        self._times = times
        self._seconds = max(seconds, float(times[-1]), 1e-3)
        shown = _leading(probabilities, classes, truth)
        self._names = [classes[index] for index in shown]
        self._values = step_probabilities[:, shown]
        self.height = self._px(46 + 26 * max(len(shown), 3) + 8) // 2 * 2
        best = int(probabilities.argmax())
        self._fixed = Image.new("RGB", (width, self.height), PAPER)
        self._draw_header(classes[best], float(probabilities[best]), truth)
        self._draw_names()
        self._draw_timeline()
        self._dots = [self._dot(colour) for colour in _COLOURS[: len(shown)]]

    def draw(self, time: float) -> Image.Image:
        """Draw the panel as it stands at a time in seconds."""
        image = self._fixed.copy()
        pen = ImageDraw.Draw(image)
        now = [float(np.interp(time, self._times, column)) for column in self._values.T]
        left, _, right, _ = self._list
        for row, (value, colour) in enumerate(zip(now, _COLOURS, strict=False)):
            top = self._row(row)
            pen.text((right, top + self._px(12)), f"{value:.0%}", _INK, self._font(12), anchor="rs")
            end = left + round((right - left) * value)
            pen.rectangle((left, top + self._px(17), end, top + self._px(20.5)), colour)
        self._draw_playhead(image, pen, time, now)
        return image

    def _draw_playhead(
        self, image: Image.Image, pen: ImageDraw.ImageDraw, time: float, now: Sequence[float]
    ) -> None:
        left, top, right, bottom = self._plot
        x = round(self._x(time))
        pen.rectangle((x - self._px(0.5), top, x + self._px(0.5), bottom), _INK)
        # Backwards, so that the leading class lies on top.
        for value, dot in reversed(list(zip(now, self._dots, strict=True))):
            y = round(bottom + (top - bottom) * value)
            image.paste(dot, (x - dot.width // 2, y - dot.height // 2), dot)
        text, font = f"{time:.1f} s", self._font(10)
        half = round(font.getlength(text) / 2) + self._px(4)
        middle = min(max(x, left + half), right - half)
        pen.rectangle((middle - half, bottom + 1, middle + half, self.height), PAPER)
        pen.text((middle, bottom + self._px(13)), text, _INK, font, anchor="ms")

    def _draw_header(self, label: str, probability: float, truth: Sequence[str]) -> None:
        pen = ImageDraw.Draw(self._fixed)
        pad, base = self._px(14), self._px(26)
        share = f" {probability:.0%}"
        known = ", ".join(truth)
        right = self._width - pad
        if truth:
            mark = "✓" if label in truth else "✗"
            known = self._fit(f"truth: {known}", 12, (right - pad) * 0.45)
            colour = _RIGHT if label in truth else _WRONG
            pen.text((right, base), mark, colour, self._font(16, mark), anchor="rs")
            right -= self._px(20)
            pen.text((right, base), known, colour, self._font(12, known), anchor="rs")
            right -= round(self._font(12, known).getlength(known)) + self._px(16)
        room = right - pad - self._font(16).getlength(share)
        name = self._fit(label, 16, room, bold=True)
        font = self._font(16, name, bold=True)
        pen.text((pad, base), name, _INK, font, anchor="ls")
        pen.text((pad + font.getlength(name), base), share, _QUIET, self._font(16), anchor="ls")

    def _draw_names(self) -> None:
        pen = ImageDraw.Draw(self._fixed)
        left, _, right, _ = self._list
        room = right - left - self._font(12).getlength("100 %")
        for row, name in enumerate(self._names):
            top = self._row(row)
            text = self._fit(name, 12, room)
            pen.text((left, top + self._px(12)), text, _INK, self._font(12, text), anchor="ls")
            pen.rectangle((left, top + self._px(17), right, top + self._px(20.5)), _FAINT)

    def _draw_timeline(self) -> None:
        left, top, right, bottom = self._plot
        pen = ImageDraw.Draw(self._fixed)
        for share in (0.0, 0.5, 1.0):
            y = round(bottom + (top - bottom) * share)
            pen.line((left, y, right, y), _FAINT)
            pen.text((left - self._px(5), y), f"{share:.0%}", _QUIET, self._font(9), anchor="rm")
        pen.text((left, bottom + self._px(13)), "0", _QUIET, self._font(10), anchor="ls")
        end = f"{self._seconds:.1f} s"
        pen.text((right, bottom + self._px(13)), end, _QUIET, self._font(10), anchor="rs")
        # Pillow draws lines without smoothing: draw them larger and shrink.
        margin = self._px(4)
        box = (left - margin, top - margin, right + margin, bottom + margin)
        size = box[2] - box[0], box[3] - box[1]
        large = self._fixed.crop(box).resize(
            (size[0] * _OVERSAMPLING, size[1] * _OVERSAMPLING), Image.Resampling.NEAREST
        )
        brush = ImageDraw.Draw(large)
        # Before the first step and after the last, the nearest step holds; where a pixel holds
        # several steps, their mean is drawn.
        spans = np.array_split(np.arange(len(self._times)), min(len(self._times), right - left))
        when = np.array([0.0, *(self._times[span].mean() for span in spans), self._seconds])
        means = np.stack([self._values[span].mean(axis=0) for span in spans])
        lines = np.concatenate([means[:1], means, means[-1:]]).T
        for row, line in reversed(list(enumerate(lines))):
            points = [
                (
                    (self._x(float(t)) - box[0] + 0.5) * _OVERSAMPLING,
                    (bottom + (top - bottom) * value - box[1] + 0.5) * _OVERSAMPLING,
                )
                for t, value in zip(when, line, strict=True)
            ]
            thick = round(self._scale * (2.2 if row == 0 else 1.5) * _OVERSAMPLING)
            brush.line(points, _COLOURS[row], thick, joint="curve")
        self._fixed.paste(large.resize(size, Image.Resampling.BOX), box[:2])

    def _dot(self, colour: tuple[int, int, int]) -> Image.Image:
        side = self._px(9) | 1
        large = Image.new("RGBA", (side * _OVERSAMPLING, side * _OVERSAMPLING), (*PAPER, 0))
        pen = ImageDraw.Draw(large)
        edge = side * _OVERSAMPLING - 1
        pen.ellipse((0, 0, edge, edge), PAPER)
        rim = round(1.5 * self._scale * _OVERSAMPLING)
        pen.ellipse((rim, rim, edge - rim, edge - rim), colour)
        return large.resize((side, side), Image.Resampling.LANCZOS)

    @property
    def _list(self) -> tuple[int, int, int, int]:
        """Box of the list of classes: left, top, right, bottom."""
        pad = self._px(14)
        return pad, self._px(42), round(0.42 * self._width), self.height - pad

    @property
    def _plot(self) -> tuple[int, int, int, int]:
        """Box of the timeline: left, top, right, bottom."""
        left = round(0.42 * self._width) + self._px(44)
        return left, self._px(46), self._width - self._px(16), self.height - self._px(24)

    def _row(self, row: int) -> int:
        return self._px(40 + 26 * row)

    def _x(self, time: float) -> float:
        left, _, right, _ = self._plot
        return left + (right - left) * min(max(time / self._seconds, 0.0), 1.0)

    def _px(self, size: float) -> int:
        return round(size * self._scale)

    def _font(self, size: float, text: str = "", *, bold: bool = False) -> ImageFont.FreeTypeFont:
        return ImageFont.truetype(font_for(text, bold=bold), size * self._scale)

    def _fit(self, text: str, size: float, room: float, *, bold: bool = False) -> str:
        """Bring a text to one line and shorten it to a number of pixels."""
        text = " ".join(text.split())
        font = self._font(size, text, bold=bold)
        if font.getlength(text) <= room:
            return text
        while text and font.getlength(text + "…") > room:
            text = text[:-1]
        return text.rstrip() + "…"


def _leading(
    probabilities: Float[np.ndarray, " C"], classes: Sequence[str], truth: Sequence[str]
) -> list[int]:
    """The most probable classes, and the true one even where it is not among them."""
    order = [int(index) for index in np.argsort(-probabilities, kind="stable")]
    shown = order[: len(_COLOURS)]
    if not any(classes[index] in truth for index in shown):
        shown[len(_COLOURS) - 1 :] = [index for index in order if classes[index] in truth][:1] or (
            shown[len(_COLOURS) - 1 :]
        )
    return shown
